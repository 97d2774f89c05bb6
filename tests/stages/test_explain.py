"""Explain: which frames are shown, what is answered, and what happens where that fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cache.errors import ConfigError, ItemError
from manifests import schema
from manifests.table import read_table, write_table
from stages import explain
from stages.backbones import load as loading
from stages.backbones.contract import Explanation, Picture, Prepared, Prompt
from stages.backbones.reference import BackboneReference
from stages.contract import Job
from stages.explain import Settings, choose_frames
from stages.video import frames
from tests.payload import Folder
from tests.small_backbone import build_backbone

FRAMES = 100
"""Ten segments of ten frames at 10 frames/s."""


@dataclass(eq=False)
class Speaker:
    """A backbone that says which frames it was shown (a picture holds its own number)."""

    failing: dict[int, Exception] = field(default_factory=dict)
    """What to raise where the interval that begins with this frame is in the batch."""
    fits: int = 100
    """Intervals of a batch for which there is memory."""
    asked: list[tuple[tuple[int, ...], int, int]] = field(default_factory=list)
    """First frames of a batch, seed and longest answer of each call."""
    prompts: list[Prompt] = field(default_factory=list)
    times: list[tuple[float, ...]] = field(default_factory=list)

    def prepare(
        self, keyframes: Sequence[Picture], seconds: Sequence[float], prompts: Sequence[Prompt]
    ) -> Prepared:
        numbers = [int(frame[0, 0, 0]) for frame in keyframes]
        # As where times stand in the prompt: more digits, more tokens.
        ids = np.asarray([*numbers, *(0 for _ in str(max(numbers)))], dtype=np.int64)
        self.prompts += prompts
        self.times.append(tuple(seconds))
        return Prepared(np.stack(keyframes), tuple(seconds), (ids,), ("",))

    def explain(
        self, batch: Sequence[Prepared], seed: int, max_new_tokens: int
    ) -> list[Explanation]:
        assert len({item.shape for item in batch}) == 1
        shown = [[int(frame[0, 0, 0]) for frame in item.pictures] for item in batch]
        self.asked.append((tuple(numbers[0] for numbers in shown), seed, max_new_tokens))
        if len(batch) > self.fits:
            raise torch.OutOfMemoryError("no memory left")
        for numbers in shown:
            if numbers[0] in self.failing:
                raise self.failing[numbers[0]]
        return [Explanation(" ".join(map(str, numbers)), "stop", 3) for numbers in shown]

    @property
    def batches(self) -> list[tuple[int, ...]]:
        return [first for first, _, _ in self.asked]


def picture(frame: int) -> NDArray[np.uint8]:
    return np.full((16, 24, 3), frame, dtype=np.uint8)


@pytest.fixture(autouse=True)
def _drawn_video(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        assert list(wanted) == sorted(set(wanted))
        return ((frame, picture(frame)) for frame in wanted)

    monkeypatch.setattr(frames, "read_frames", read)


@pytest.fixture
def speaker(monkeypatch: pytest.MonkeyPatch) -> Speaker:
    speaker = Speaker()
    monkeypatch.setattr(loading, "load", lambda reference: speaker)
    return speaker


def make_job(
    tmp_path: Path,
    intervals: Sequence[tuple[int, int, float]],
    unsound: Sequence[int] = (),
    n_frames: int = FRAMES,
    **settings: Any,
) -> Job[Settings]:
    """A job whose intervals are (first segment, one past the last, peak)."""
    localized, decoded, out = (tmp_path / name for name in ("localized", "decoded", "out"))
    for folder in (localized, decoded, out):
        folder.mkdir()
    bounds = [(10 * first, 10 * end) for first, end, _ in intervals]
    write_table(
        localized / "intervals.parquet",
        schema.INTERVALS,
        {
            "interval": list(range(len(intervals))),
            "start_frame": [start for start, _ in bounds],
            "end_frame": [end for _, end in bounds],
            "start_s": [start / 10 for start, _ in bounds],
            "end_s": [end / 10 for _, end in bounds],
            "peak": [peak for _, _, peak in intervals],
            "mean": [peak for _, _, peak in intervals],
            "threshold": [0.5] * len(intervals),
        },
    )
    numbers = list(range(10))
    write_table(
        localized / "smoothed.parquet",
        schema.SMOOTHED,
        {
            "segment": numbers,
            "start_frame": [10 * n for n in numbers],
            "end_frame": [10 * n + 10 for n in numbers],
            "start_s": [1.0 * n for n in numbers],
            "end_s": [1.0 * n + 1 for n in numbers],
            "score": [0.5] * 10,
            "smoothed": [0.5] * 10,
        },
    )
    write_table(
        decoded / "timeline.parquet",
        schema.TIMELINE,
        {
            "frame": list(range(n_frames)),
            "pts_s": [frame / 10 for frame in range(n_frames)],
            "key": [False] * n_frames,
            "sound": [frame not in unsound for frame in range(n_frames)],
        },
    )
    return Job(
        item="v",
        settings=Settings(**settings),
        out=out,
        inputs={"intervals": Folder(localized), "timeline": Folder(decoded)},
        source=tmp_path / "video.mp4",
        backbone=BackboneReference("none", "", "auto", "sdpa", "cpu", "c0ffee"),
    )


def rows_of(job: Job[Settings]) -> list[dict[str, Any]]:
    table = read_table(job.out / "explanations.parquet", schema.EXPLANATIONS)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_each_interval_is_shown_by_its_midpoints(tmp_path: Path, speaker: Speaker) -> None:
    job = make_job(tmp_path, [(1, 2, 0.9), (4, 8, 0.8)], keyframes=4, seed=3, max_new_tokens=5)
    result = explain.compute(job)
    first, second = rows_of(job)
    assert first == {
        "interval": 0,
        "kind": "anomalous",
        "start_frame": 10,
        "end_frame": 20,
        "start_s": 1.0,
        "end_s": 2.0,
        "frames": "11 13 16 18",
        "prompt": Settings().prompt,
        "text": "11 13 16 18",
        "finish_reason": "stop",
        "tokens": 3,
        "seed": 3,
        "model": "c0ffee",
        "error": "",
    }
    assert second["frames"] == second["text"] == "45 55 65 75"
    assert speaker.asked == [((11, 45), 3, 5)]
    assert speaker.prompts == [Prompt("", Settings().prompt, "")] * 2
    assert speaker.times == [(1.1, 1.3, 1.6, 1.8), (4.5, 5.5, 6.5, 7.5)]
    assert (result.rows, result.notes) == (2, ())
    assert set(result.seconds) == {"read", "forward"}


@given(
    start=st.integers(0, 50),
    length=st.integers(1, 60),
    keyframes=st.integers(1, 20),
    unsound=st.sets(st.integers(1, 110)),
)
def test_an_unsound_frame_gives_its_place_to_the_nearest_earlier_sound_one(
    start: int, length: int, keyframes: int, unsound: set[int]
) -> None:
    sound = [frame not in unsound for frame in range(111)]
    chosen = choose_frames(start, start + length, keyframes, sound)
    assert len(chosen) == keyframes
    for index, frame in enumerate(chosen):
        wanted = start + int((index + 0.5) * length / keyframes + 1e-9)
        assert sound[frame]
        assert frame <= wanted < start + length
        assert not any(sound[frame + 1 : wanted + 1])


def test_nothing_sound_to_show_is_an_item_error(tmp_path: Path, speaker: Speaker) -> None:
    with pytest.raises(ItemError, match="frame 0 is damaged"):
        explain.compute(make_job(tmp_path, [(0, 1, 0.9)], unsound=range(9)))


@pytest.mark.parametrize("which", ["anomalous", "both"])
def test_without_an_interval_no_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.delattr(loading, "load")
    job = make_job(tmp_path, [], which=which)
    result = explain.compute(job)
    assert rows_of(job) == []
    assert result.rows == 0


@pytest.mark.parametrize(
    ("intervals", "span"),
    [
        ([(1, 2, 0.9), (5, 8, 0.8)], (20, 50)),
        ([(2, 4, 0.9), (6, 8, 0.8)], (0, 20)),
        ([(0, 6, 0.9)], (60, 100)),
    ],
)
def test_both_shows_the_longest_normal_stretch_too(
    tmp_path: Path, speaker: Speaker, intervals: list[Any], span: tuple[int, int]
) -> None:
    job = make_job(tmp_path, intervals, which="both", keyframes=2)
    explain.compute(job)
    normal, *others = rows_of(job)
    assert (normal["interval"], normal["kind"]) == (-1, "normal")
    assert (normal["start_frame"], normal["end_frame"]) == span
    assert (normal["start_s"], normal["end_s"]) == (span[0] / 10, span[1] / 10)
    length = span[1] - span[0]
    assert normal["text"] == f"{span[0] + length // 4} {span[0] + 3 * length // 4}"
    assert [row["interval"] for row in others] == list(range(len(intervals)))


def test_a_video_that_is_anomalous_throughout_has_no_normal_stretch(
    tmp_path: Path, speaker: Speaker
) -> None:
    job = make_job(tmp_path, [(0, 10, 0.9)], which="both")
    result = explain.compute(job)
    assert [row["kind"] for row in rows_of(job)] == ["anomalous"]
    assert "no normal stretch" in result.notes[0]


def test_a_normal_stretch_touches_no_interval_that_the_limit_left_out(
    tmp_path: Path, speaker: Speaker
) -> None:
    intervals = [(0, 1, 0.9), (3, 8, 0.6)]
    job = make_job(tmp_path, intervals, which="both", limit=1)
    explain.compute(job)
    assert (rows_of(job)[0]["start_frame"], rows_of(job)[0]["end_frame"]) == (10, 30)


def test_the_highest_peaks_come_first_and_the_rest_is_noted(
    tmp_path: Path, speaker: Speaker
) -> None:
    intervals = [(0, 1, 0.6), (2, 3, 0.9), (4, 5, 0.6), (6, 7, 0.7)]
    job = make_job(tmp_path, intervals, limit=3)
    result = explain.compute(job)
    assert [row["interval"] for row in rows_of(job)] == [0, 1, 3]
    assert result.notes == ("1 of 4 intervals not explained: limit = 3, the highest peaks first",)


def test_system_message_and_frame_format_are_the_explanations_own(
    tmp_path: Path, speaker: Speaker
) -> None:
    form = "Picture {number}: {image}"
    job = make_job(
        tmp_path, [(0, 1, 0.9)], system="Be brief.", prompt="What is this?", frame_format=form
    )
    explain.compute(job)
    assert speaker.prompts == [Prompt("Be brief.", "What is this?", form)]


SEVEN = [(n, n + 1, 0.9) for n in (0, 1, 2, 3, 5, 7, 9)]
"""Intervals whose one keyframe is 5, 15, 25, 35, 55, 75, 95."""


@pytest.mark.parametrize(
    ("batch", "batches"),
    [
        (1, [(15,), (25,), (35,), (55,), (75,), (95,), (5,)]),
        (4, [(15, 25, 35, 55), (5,), (75, 95)]),
        (9, [(5,), (15, 25, 35, 55, 75, 95)]),
    ],
)
def test_intervals_of_equal_shape_are_asked_about_at_once(
    tmp_path: Path, speaker: Speaker, batch: int, batches: list[tuple[int, ...]]
) -> None:
    job = make_job(tmp_path, SEVEN, keyframes=1, batch=batch)
    explain.compute(job)
    assert sorted(speaker.batches) == sorted(batches)
    rows = rows_of(job)
    assert [row["interval"] for row in rows] == list(range(7))
    assert [row["text"] for row in rows] == ["5", "15", "25", "35", "55", "75", "95"]


def test_progress_counts_intervals(tmp_path: Path, speaker: Speaker) -> None:
    said: list[tuple[float, float]] = []
    job = make_job(tmp_path, SEVEN, keyframes=1, batch=4)
    explain.compute(dataclasses.replace(job, progress=lambda *told: said.append(told)))
    assert said == [(4, 7), (5, 7), (7, 7)]


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2"), ValueError("mat1 and mat2"), IndexError("out")]
)
def test_a_generation_that_fails_is_a_row_and_the_rest_goes_on(
    tmp_path: Path, speaker: Speaker, error: Exception
) -> None:
    speaker.failing[25] = error
    job = make_job(tmp_path, [(1, 2, 0.9), (2, 3, 0.9), (4, 5, 0.9)], keyframes=1)
    result = explain.compute(job)
    rows = rows_of(job)
    assert speaker.batches == [(15, 25, 45), (15,), (25,), (45,)]
    assert [row["finish_reason"] for row in rows] == ["stop", "error", "stop"]
    assert [row["text"] for row in rows] == ["15", "", "45"]
    assert rows[1]["tokens"] == 0
    assert rows[1]["error"] == f"{type(error).__name__}: {error}"
    assert [rows[0]["error"], rows[2]["error"]] == ["", ""]
    assert result.notes == ("1 of 3 explanations failed: see their error texts",)


def test_batches_are_halved_where_memory_runs_out_and_stay_small(
    tmp_path: Path, speaker: Speaker
) -> None:
    speaker.fits = 2
    numbers = (15, 25, 35, 45, 55, 65, 75, 85)
    job = make_job(tmp_path, [(n // 10, n // 10 + 1, 0.9) for n in numbers], keyframes=1, batch=5)
    explain.compute(job)
    assert [row["text"] for row in rows_of(job)] == [str(n) for n in numbers]
    assert speaker.batches == [(15, 25, 35, 45, 55), (15, 25), (35, 45), (55,), (65, 75), (85,)]


def test_an_interval_that_does_not_fit_alone_is_a_row(tmp_path: Path, speaker: Speaker) -> None:
    speaker.failing[35] = torch.OutOfMemoryError("no memory left")
    job = make_job(tmp_path, [(1, 2, 0.9), (2, 3, 0.9), (3, 4, 0.9), (4, 5, 0.9)], keyframes=1)
    explain.compute(job)
    rows = rows_of(job)
    assert [row["finish_reason"] for row in rows] == ["stop", "stop", "error", "stop"]
    assert rows[2]["error"] == "OutOfMemoryError: no memory left"


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="torch has no class for it yet")
def test_a_broken_gpu_is_no_row_that_would_be_kept(tmp_path: Path, speaker: Speaker) -> None:
    speaker.failing[15] = torch.AcceleratorError("device-side assert triggered")
    with pytest.raises(torch.AcceleratorError):
        explain.compute(make_job(tmp_path, [(1, 2, 0.9), (2, 3, 0.9)], keyframes=1))


def test_a_wrong_configuration_is_not_a_row(tmp_path: Path, speaker: Speaker) -> None:
    speaker.failing[5] = ConfigError("the question holds an image token")
    with pytest.raises(ConfigError):
        explain.compute(make_job(tmp_path, [(0, 1, 0.9)], keyframes=1))


def test_the_video_must_be_at_hand(tmp_path: Path, speaker: Speaker) -> None:
    job = make_job(tmp_path, [(0, 1, 0.9)])
    with pytest.raises(ItemError, match="not at hand"):
        explain.compute(dataclasses.replace(job, source=None))


def test_a_timeline_of_another_video_is_noticed(tmp_path: Path, speaker: Speaker) -> None:
    with pytest.raises(ItemError, match="timeline has 99 frames"):
        explain.compute(make_job(tmp_path, [(0, 1, 0.9)], n_frames=99))


def test_the_small_backbone_answers_in_batches_as_one_by_one(tmp_path: Path) -> None:
    build_backbone(tmp_path / "small")
    reference = BackboneReference(str(tmp_path / "small"), "", "auto", "sdpa", "cpu", "")
    intervals = [(n, n + 1, 0.9) for n in (0, 2, 4, 6, 8)]
    found = []
    for name, batch in (("a", 1), ("b", 1), ("c", 3), ("d", 5)):
        (tmp_path / name).mkdir()
        job = make_job(tmp_path / name, intervals, max_new_tokens=6, batch=batch)
        explain.compute(dataclasses.replace(job, backbone=reference))
        found.append((job.out / "explanations.parquet").read_bytes())
    assert found == [found[0]] * 4
    rows = rows_of(job)
    assert [row["tokens"] for row in rows] == [6] * 5
    assert {row["finish_reason"] for row in rows} == {"length"}
    assert len({row["text"] for row in rows}) > 1
