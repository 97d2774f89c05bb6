"""Small pictures for people, taken on the way."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.video.thumbnails import Thumbnails
from stages.video.timeline import read_timeline


def opened(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image), formats=("JPEG",))


def nearest(image: bytes, path: Path, plain) -> int:
    """The frame of the video that a thumbnail shows: the one that differs least from it."""
    small = opened(image)
    errors = []
    for _, frame in plain(path):
        whole = Image.fromarray(frame.to_ndarray(format="rgb24"))
        same_size = whole.resize(small.size, Image.Resampling.BOX)
        errors.append(np.abs(np.asarray(small, dtype=int) - np.asarray(same_size)).mean())
    return int(np.argmin(errors))


def test_they_are_evenly_spaced_and_of_the_height_asked_for(clip: Path) -> None:
    thumbnails = Thumbnails(12, 90)
    timeline = read_timeline(clip, witness=thumbnails.show)
    n = timeline.n_frames
    assert thumbnails.frames == [int((i + 0.5) * n / 12) for i in range(12)]
    for image in thumbnails.images:
        assert opened(image).size == (round(90 * timeline.width / timeline.height), 90)


def test_they_show_the_frames_that_they_name(make_video, plain) -> None:
    path = make_video("b.mp4", frames=20, codec_options={"bf": "2"})
    thumbnails = Thumbnails(4, 32)
    read_timeline(path, witness=thumbnails.show)
    assert thumbnails.frames == [2, 7, 12, 17]
    assert [nearest(image, path, plain) for image in thumbnails.images] == thumbnails.frames


@pytest.mark.parametrize(("frames", "expected"), [(1, [0]), (3, [0, 1, 2])])
def test_short_videos_have_fewer(make_video, frames: int, expected: list[int]) -> None:
    thumbnails = Thumbnails(12, 16)
    read_timeline(make_video("b.mp4", frames=frames), witness=thumbnails.show)
    assert thumbnails.frames == expected


def test_they_stand_upright(make_video) -> None:
    thumbnails = Thumbnails(2, 48)
    read_timeline(make_video("b.mp4", frames=4, rotation=90), witness=thumbnails.show)
    assert {opened(image).size for image in thumbnails.images} == {(32, 48)}


def test_key_frames_alone_are_enough_where_nothing_else_is_decoded(make_video, plain) -> None:
    path = make_video("b.mp4", codec_options={"bf": "2", "g": "10", "x264-params": "scenecut=0"})
    thumbnails = Thumbnails(4, 64)
    thumbnails.read_key_frames(path)
    assert thumbnails.frames == [0, 10, 30, 40], "the last key frames before 6, 18, 30 and 42"
    assert thumbnails.missed == 0
    assert [nearest(image, path, plain) for image in thumbnails.images] == thumbnails.frames
