"""The demonstration's data set: real H.264 files whose labels are where things happen."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import pytest

from demo.acts import BY_NAME
from demo.clips import SCENES_BEFORE
from demo.dataset import TEST, TRAIN, draw_dataset, write_dataset
from demo.script import ANOMALOUS
from demo.video import write_video
from tests.demo.stories import story_of


@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_videos_of_each_split_are_anomalous_and_every_kind_is_tested(seed: int) -> None:
    videos = draw_dataset(seed)
    for split, count in (("train", TRAIN), ("test", TEST)):
        mine = [video for video in videos if video.split == split]
        assert len(mine) == count
        assert sum(bool(video.story.intervals) for video in mine) == count / 2
    tested = {v.kind for v in videos if v.split == "test" and v.story.intervals}
    assert tested == set(ANOMALOUS)
    for video in videos:
        assert 10 <= video.story.n_frames / video.story.fps <= 60
        assert video.story.fps in (25, 30)
    assert len({video.path for video in videos}) == len(videos)


def test_no_scene_was_trained_on_or_is_in_both_splits() -> None:
    videos = draw_dataset(0)
    seeds = [video.story.scene_seed for video in videos]
    assert len(set(seeds)) == len(seeds)
    assert all(seed >= SCENES_BEFORE for seed in seeds)
    assert all(video.story.palette == "held out" for video in videos)


def test_look_alikes_are_in_normal_and_in_anomalous_videos() -> None:
    for video in draw_dataset(0):
        alike = [act for act in video.story.acts if act.told_as.group == "look-alike"]
        if not video.story.intervals:
            assert alike, video.path


def test_files_are_h264_of_the_frames_that_the_labels_speak_of(tmp_path: Path) -> None:
    videos = draw_dataset(0, train=2, test=2)
    write_dataset(tmp_path, videos)
    rows = list(csv.DictReader((tmp_path / "labels.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["video"] for row in rows} == {video.path for video in videos}
    for video in videos:
        with av.open(str(tmp_path / "videos" / video.path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.average_rate == video.story.fps
            assert sum(1 for _ in container.decode(video=0)) == video.story.n_frames
        mine = [row for row in rows if row["video"] == video.path]
        spans = [(int(r["start_frame"]), int(r["end_frame"])) for r in mine if r["start_frame"]]
        assert spans == [(start, end) for start, end, _ in video.story.intervals]
        assert {row["label"] for row in mine} == {str(int(bool(spans)))}
        assert {row["class"] for row in mine} == {video.kind}
    told = list(csv.DictReader((tmp_path / "acts.csv").read_text(encoding="utf-8").splitlines()))
    for video in videos:
        acts = [row for row in told if row["video"] == video.path]
        borders = [0, *(int(row["end_frame"]) for row in acts)]
        assert [int(row["start_frame"]) for row in acts] == borders[:-1]  # every frame once
        assert borders[-1] == video.story.n_frames
        spans = [
            (int(r["start_frame"]), int(r["end_frame"])) for r in acts if r["group"] == "anomalous"
        ]
        assert spans == [(start, end) for start, end, _ in video.story.intervals]
        assert all(row["caption"].startswith(BY_NAME[row["kind"]].told) for row in acts)


def test_another_data_set_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "videos" / "test").mkdir(parents=True)
    (tmp_path / "videos" / "test" / "own.mp4").touch()
    for seed in (0, 1):
        write_dataset(tmp_path, videos := draw_dataset(seed, train=0, test=2))
    left = {path.relative_to(tmp_path / "videos").as_posix() for path in tmp_path.rglob("*.mp4")}
    assert left == {*(video.path for video in videos), "test/own.mp4"}
    assert {v.path for v in draw_dataset(0, train=0, test=2)} != {v.path for v in videos}


def test_the_same_story_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        write_video(tmp_path / name, story_of("fire", "walk"))
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
