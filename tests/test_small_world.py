"""The synthetic data set: what the demo and other tests may rely on."""

from __future__ import annotations

import csv
import hashlib
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stages.video.frames import read_frames
from stages.video.timeline import read_timeline
from tests.small_world import CLIPS, HEIGHT, WIDTH, write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world")
    write_dataset(path)
    return path


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_what_there_is() -> None:
    assert Counter((clip.split, clip.label) for clip in CLIPS) == {
        ("train", 0): 4,
        ("train", 1): 4,
        ("test", 0): 6,
        ("test", 1): 6,
    }
    assert {clip.fps for clip in CLIPS} == {25, 30}
    assert all(10 <= clip.seconds <= 20 for clip in CLIPS)
    kinds = {split: {c.kind for c in CLIPS if c.split == split and c.label} for split in ("train", "test")}  # fmt: skip
    assert kinds["train"] == kinds["test"] == {"explosion", "fight", "fire", "intrusion"}
    assert len({clip.path for clip in CLIPS}) == len(CLIPS)


def test_events_last_two_to_five_seconds_and_lie_at_other_places() -> None:
    events = [(clip, start, end) for clip in CLIPS for start, end in clip.intervals]
    assert all(0 < start < end < clip.n_frames for clip, start, end in events)
    assert all(2 <= (end - start) / clip.fps <= 5 for clip, start, end in events)
    middles = [(start + end) / 2 / clip.n_frames for clip, start, end in events]
    assert min(middles) < 0.3
    assert max(middles) > 0.7, "a centre-of-the-video prior must not explain the labels"
    for clip in CLIPS:
        for (_, end), (start, _) in zip(clip.intervals, clip.intervals[1:], strict=False):
            assert start - end > 2 * clip.fps


def test_files_are_h264_of_the_promised_length(folder: Path) -> None:
    videos = sorted(str(p.relative_to(folder / "videos")) for p in folder.rglob("*.mp4"))
    assert videos == sorted(clip.path for clip in CLIPS)
    for clip in CLIPS:
        timeline = read_timeline(folder / "videos" / clip.path, packets_only=True)
        assert timeline.n_frames == clip.n_frames
        assert timeline.fps == pytest.approx(clip.fps)
        assert (timeline.width, timeline.height) == (WIDTH, HEIGHT)
        assert timeline.codec == "h264"


def test_the_label_file(folder: Path) -> None:
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    expected = [["video", "split", "label", "class", "start_frame", "end_frame"]]
    for clip in CLIPS:
        head = [clip.path, clip.split, str(clip.label), clip.kind]
        spans = [[str(start), str(end)] for start, end in clip.intervals]
        expected += [head + span for span in spans or [["", ""]]]
    assert rows == expected
    assert sum(row[0] == "train/intrusion_01.mp4" for row in rows) == 2


def test_something_happens_in_an_event_and_only_there(folder: Path) -> None:
    """Pixels change faster inside an event than outside of it, in every anomalous video."""
    for clip in CLIPS:
        if not clip.label:
            continue
        inside: list[float] = []
        outside: list[float] = []
        before = None
        for number, rgb in read_frames(folder / "videos" / clip.path, range(clip.n_frames)):
            if before is not None:
                moved = np.abs(rgb.astype(np.int16) - before) > 60
                within = any(start <= number < end for start, end in clip.intervals)
                (inside if within else outside).append(float(moved.mean()))
            before = rgb.astype(np.int16)
        assert statistics.mean(inside) > 2 * statistics.mean(outside), clip.path


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = digests(folder)
    chosen = [f"videos/{clip.path}" for clip in CLIPS[:6]]
    monkeypatch.setattr("tests.small_world.CLIPS", CLIPS[:6])
    write_dataset(tmp_path / "same")
    write_dataset(tmp_path / "other", seed=1)
    same, other = digests(tmp_path / "same"), digests(tmp_path / "other")
    assert [same[name] for name in chosen] == [first[name] for name in chosen]
    assert all(other[name] != first[name] for name in chosen)
    assert same["labels.csv"] == other["labels.csv"]
