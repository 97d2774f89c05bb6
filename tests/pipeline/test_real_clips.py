"""Real camera footage, through the commands that a person would give."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from manifests.schema import KEYFRAMES, RUN_SCORES, VIDEOS
from manifests.table import read_table
from tests.conftest import Called, Demo

Hiprobe = Callable[..., Called]
DATA = Path(__file__).parent.parent / "data"
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "videos"
CLIPS = ("bottle-detection", "car-detection", "one-by-one-person-detection")


def clip(name: str) -> Path:
    for folder in (DATA, SHARED):
        if (path := folder / f"{name}.mp4").exists():
            return path
    pytest.skip(f"{name}.mp4 is not in tests/data, and ../shared/data/videos is not here")


def times_of(path: Path) -> list[float]:
    """Presentation times by plain decoding, from the first frame's."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        start = stream.start_time or 0
        return [float((f.pts - start) * stream.time_base) for f in container.decode(stream)]


def init(hiprobe: Hiprobe, folder: Path, *words: object) -> Path:
    config = folder / "clips.toml"
    called = hiprobe("init", "folder", "--videos", "videos", *words)
    assert called.code == 0
    config.write_text(called.out)
    return config


@pytest.mark.parametrize("name", CLIPS)
def test_frames_and_seconds_are_right_for_every_frame_rate(
    name: str, demo: Demo, hiprobe: Hiprobe, tmp_path: Path
) -> None:
    """A folder without labels is scored with the scorer that the demonstration fitted."""
    (tmp_path / "videos").mkdir()
    shutil.copy(clip(name), tmp_path / "videos")
    config = init(
        hiprobe, tmp_path, "--backbone", demo.folder / "backbone", "--scorer",
        demo.folder / "scorer",
    )  # fmt: skip
    # Every other keyframe is enough here; a scorer of other features would be refused.
    done = hiprobe("run", config, "--quiet", "--json", "--set", "explain.max_new_tokens=2")
    assert done.code == 0, done.out
    assert set(done.value()["off"]) == {
        "moments", "statistics", "heads", "crossvalidate", "select", "fit", "forward_selected",
        "evaluate", "projection",
    }  # fmt: skip

    results = tmp_path / "runs" / "clips"
    times = times_of(tmp_path / "videos" / f"{name}.mp4")
    video = read_table(results / "videos.parquet", VIDEOS).to_pylist()[0]
    assert video["n_frames"] == len(times)
    step = float(np.median(np.diff(times)))
    assert video["fps"] == pytest.approx(1 / step, rel=0.02)
    rows = read_table(results / "scores.parquet", RUN_SCORES).to_pylist()
    for row in rows:
        start, end = row["start_frame"], row["end_frame"]
        assert start == 24 * row["segment"]
        assert end == min(start + 24, len(times))
        assert row["start_s"] == pytest.approx(times[start], abs=1e-6)
        after = times[end] if end < len(times) else times[-1] + step
        assert row["end_s"] == pytest.approx(after, abs=0.6 * step)
    assert rows[-1]["end_frame"] == len(times)
    plan = next((tmp_path / "hiprobe-store" / "sample").glob("*/*"))
    for row in read_table(plan / "keyframes.parquet", KEYFRAMES).to_pylist():
        assert row["pts_s"] == pytest.approx(times[row["frame"]], abs=1e-6)
        assert not row["substituted"]
    assert (results / "report.html").stat().st_size > 10_000


def test_without_labels_and_scorer_the_run_stops_after_the_features_and_says_so(
    demo: Demo, hiprobe: Hiprobe, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    with_sound = tmp_path / "videos" / "a.clip#1=x.MP4"
    shutil.copy(next(demo.folder.glob("data/videos/test/*.mp4")), with_sound)
    config = init(hiprobe, tmp_path, "--backbone", demo.folder / "backbone")
    done = hiprobe("run", config, "--quiet")
    assert done.code == 0
    assert "off: moments, statistics, select, fit, score" in done.out
    assert "no training video has a label" in done.out
    videos = read_table(tmp_path / "runs" / "clips" / "videos.parquet", VIDEOS).to_pylist()
    assert [v["video_id"] for v in videos] == ["a.clip#1=x"]
    again: dict[str, Any] = hiprobe("run", config, "--quiet", "--json").value()
    assert not any(again["built"].values())


def test_the_notice_of_the_clip_is_beside_it() -> None:
    notice = (DATA / "NOTICE.md").read_text()
    assert "CC-BY-4.0" in notice.replace("CC BY 4.0", "CC-BY-4.0")
    assert "bottle-detection.mp4" in notice
