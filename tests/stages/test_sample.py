"""The sample stage: the plan of a video from its timeline, and the pixels where asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.digest import write_json
from cache.errors import ItemError
from cache.fields import recipe_of
from manifests import schema
from manifests.table import read_table, write_table
from stages import sample
from stages.contract import Job
from stages.video.frames import read_frames
from stages.video.pixels import read_pixels
from tests.payload import Folder

BOTTLE = Path(__file__).parents[1] / "data/bottle-detection.mp4"


def timeline(folder: Path, n: int, unsound: tuple[int, ...] = (), stated: int | None = None) -> Any:
    """What decode leaves: n frames at uneven times, the video ends half a second after the last."""
    folder.mkdir()
    pts = times(n)
    columns = {
        "frame": range(n),
        "pts_s": pts,
        "key": [frame % 50 == 0 for frame in range(n)],
        "sound": [frame not in unsound for frame in range(n)],
    }
    write_table(folder / "timeline.parquet", schema.TIMELINE, columns)
    video = {"n_frames": n if stated is None else stated, "duration_s": pts[-1] + 0.5}
    write_json(folder / "video.json", video)
    return Folder(folder)


def times(n: int) -> list[float]:
    return [round(0.04 * frame + 0.01 * (frame % 3), 6) for frame in range(n)]


def run(
    tmp_path: Path,
    decoded: Any,
    source: Path | None = None,
    *,
    unit: str = "segment",
    **options: Any,
) -> Any:
    out = tmp_path / "out"
    out.mkdir()
    inputs, values = {"timeline": decoded}, {"unit": unit}
    return sample.compute(
        Job("v", sample.Settings(**options), out, inputs=inputs, values=values, source=source)
    )


def test_recipe() -> None:
    assert recipe_of(sample.Settings()) == {
        "segment_frames": 24,
        "keyframes": 8,
        "rule": "midpoints",
        "unit": "segment",
        "pixels": "none",
    }


def test_segments_cover_the_video_and_the_short_last_one_is_kept(tmp_path: Path) -> None:
    result = run(tmp_path, timeline(tmp_path / "in", 60))
    rows = read_table(tmp_path / "out/segments.parquet", schema.SEGMENTS).to_pylist()
    pts = times(60)
    assert rows == [
        {"segment": 0, "start_frame": 0, "end_frame": 24, "start_s": 0.0, "end_s": pts[24]},
        {"segment": 1, "start_frame": 24, "end_frame": 48, "start_s": pts[24], "end_s": pts[48]},
        {"segment": 2, "start_frame": 48, "end_frame": 60, "start_s": pts[48], "end_s": pts[59] + 0.5},
    ]  # fmt: skip
    assert result.rows == 3
    assert result.notes == ()


def test_keyframes_of_every_segment(tmp_path: Path) -> None:
    run(tmp_path, timeline(tmp_path / "in", 52))
    rows = read_table(tmp_path / "out/keyframes.parquet", schema.KEYFRAMES).to_pylist()
    first = [1, 4, 7, 10, 13, 16, 19, 22]
    frames = [*first, *(24 + frame for frame in first), 48, 48, 49, 49, 50, 50, 51, 51]
    assert [row["frame"] for row in rows] == frames
    assert [(row["segment"], row["k"]) for row in rows] == [(s, k) for s in range(3) for k in range(8)]  # fmt: skip
    assert [row["pts_s"] for row in rows] == [times(52)[frame] for frame in frames]
    assert not any(row["substituted"] for row in rows)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "segments.parquet",
        "keyframes.parquet",
    }


def test_a_whole_video_is_one_segment_with_keyframes_of_all_of_it(tmp_path: Path) -> None:
    result = run(tmp_path, timeline(tmp_path / "in", 60, (11, 12)), unit="video", keyframes=5)
    segments = read_table(tmp_path / "out/segments.parquet", schema.SEGMENTS).to_pylist()
    end_s = times(60)[59] + 0.5
    assert segments == [
        {"segment": 0, "start_frame": 0, "end_frame": 60, "start_s": 0.0, "end_s": end_s}
    ]
    rows = read_table(tmp_path / "out/keyframes.parquet", schema.KEYFRAMES).to_pylist()
    # The middles of five parts of 12 frames; 18 is sound, and only what is not is replaced.
    assert [row["frame"] for row in rows] == [6, 18, 30, 42, 54]
    assert result.rows == 1
    assert result.notes == ()


def test_a_keyframe_of_a_whole_video_may_be_replaced_by_one_from_far_before(tmp_path: Path) -> None:
    decoded = timeline(tmp_path / "in", 200, tuple(range(40, 160)))
    run(tmp_path, decoded, unit="video", keyframes=2)
    rows = read_table(tmp_path / "out/keyframes.parquet", schema.KEYFRAMES).to_pylist()
    assert [(row["frame"], row["substituted"]) for row in rows] == [(39, True), (39, True)]


def test_another_plan(tmp_path: Path) -> None:
    run(tmp_path, timeline(tmp_path / "in", 48), segment_frames=48, keyframes=4, rule="endpoints")
    rows = read_table(tmp_path / "out/keyframes.parquet", schema.KEYFRAMES)
    assert rows["frame"].to_pylist() == [0, 16, 31, 47]


def test_an_unsound_keyframe_is_replaced_flagged_and_told(tmp_path: Path) -> None:
    result = run(tmp_path, timeline(tmp_path / "in", 48, unsound=(12, 13, 30)))
    rows = read_table(tmp_path / "out/keyframes.parquet", schema.KEYFRAMES).to_pylist()
    replaced = [row for row in rows if row["substituted"]]
    assert [(row["segment"], row["k"], row["frame"]) for row in replaced] == [(0, 4, 11)]
    assert replaced[0]["pts_s"] == times(48)[11]
    assert result.notes == ("1 unsound keyframes replaced by earlier ones",)


def test_a_segment_without_a_sound_frame_fails_by_name(tmp_path: Path) -> None:
    decoded = timeline(tmp_path / "in", 72, unsound=tuple(range(24, 48)))
    with pytest.raises(ItemError, match=r"segment 1 \(frames 24 to 47\)"):
        run(tmp_path, decoded)


def test_a_timeline_that_disagrees_with_its_video(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match=r"has 48 rows and video\.json states 50 frames"):
        run(tmp_path, timeline(tmp_path / "in", 48, stated=50))


@pytest.mark.parametrize("codec", ["webp", "jpeg"])
def test_stored_pixels_are_the_frames_of_the_plan(tmp_path: Path, codec: str) -> None:
    reports: list[float] = []
    out = tmp_path / "out"
    out.mkdir()
    inputs = {"timeline": timeline(tmp_path / "in", 30, unsound=(4,))}
    settings = sample.Settings(pixels=codec)
    job = Job(
        "v",
        settings,
        out,
        inputs,
        values={"unit": "segment"},
        source=BOTTLE,
        progress=lambda a, b: reports.append(a / b),
    )
    sample.compute(job)
    plan = read_table(out / "keyframes.parquet", schema.KEYFRAMES)["frame"].to_pylist()
    frames = sorted(set(plan))
    assert 3 in frames, "it stands in for frame 4"
    stored = dict(read_pixels(out / "pixels.parquet", frames))
    assert list(stored) == frames
    for frame, rgb in read_frames(BOTTLE, frames):
        difference = np.abs(stored[frame].astype(int) - rgb)
        assert difference.max() == 0 if codec == "webp" else 0 < difference.mean() < 2
    assert reports[-1] == 1


def test_pixels_need_the_file(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match='pixels = "webp" needs the video file'):
        run(tmp_path, timeline(tmp_path / "in", 30), pixels="webp")


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    decoded = timeline(tmp_path / "in", 30)
    run(tmp_path / "a", decoded, BOTTLE, pixels="jpeg")
    run(tmp_path / "b", decoded, BOTTLE, pixels="jpeg")
    for path in (tmp_path / "a/out").iterdir():
        assert path.read_bytes() == (tmp_path / "b/out" / path.name).read_bytes()
