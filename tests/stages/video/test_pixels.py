"""Stored keyframes: what goes in comes out, and only what is wanted is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError, DamagedArtifact, ItemError
from manifests import schema
from manifests.table import read_table, write_table
from stages.video.pixels import encode_picture, read_pixels, write_pixels

FRAMES = [3 * number + 1 for number in range(70)]


def picture(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    rough = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return rough.repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pixels") / "pixels.parquet"
    assert write_pixels(path, ((frame, picture(frame)) for frame in FRAMES), "webp") == 70
    return path


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.sets(st.sampled_from(FRAMES)).map(sorted))
def test_lossless_pictures_come_back_bit_for_bit(stored: Path, wanted: list[int]) -> None:
    got = list(read_pixels(stored, wanted))
    assert [frame for frame, _ in got] == wanted
    for frame, rgb in got:
        np.testing.assert_array_equal(rgb, picture(frame))


def test_it_is_a_pixels_table(stored: Path) -> None:
    table = read_table(stored, schema.PIXELS)
    assert table["frame"].to_pylist() == FRAMES
    assert pq.read_metadata(stored).num_row_groups == 3, "70 pictures, 32 in a group"


def test_the_same_pictures_give_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.parquet"
    write_pixels(again, ((frame, picture(frame)) for frame in FRAMES), "webp")
    assert again.read_bytes() == stored.read_bytes()


def test_jpeg_is_near_and_keeps_the_resolution_of_colour(tmp_path: Path) -> None:
    path = tmp_path / "pixels.parquet"
    red = np.zeros((32, 32, 3), np.uint8)
    red[:, ::2, 0] = 255
    write_pixels(path, [(5, red)], "jpeg")
    ((frame, rgb),) = read_pixels(path, [5])
    assert frame == 5
    assert np.abs(rgb.astype(int) - red).mean() < 8
    assert rgb[:, ::2, 0].mean() > 230, "4:2:0 would smear single red columns"


def test_a_frame_that_is_not_stored_is_named(stored: Path) -> None:
    got = read_pixels(stored, [1, 2, 4])
    assert next(got)[0] == 1
    with pytest.raises(ItemError, match="frame 2 is not among the stored pixels"):
        next(got)
    with pytest.raises(ItemError, match="frame 9999 "):
        list(read_pixels(stored, [1, 9999]))


def test_wanted_frames_must_be_sorted_and_distinct(stored: Path) -> None:
    with pytest.raises(ValueError, match="sorted, distinct"):
        list(read_pixels(stored, [4, 1]))
    assert list(read_pixels(stored, [])) == []


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pixels.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(DamagedArtifact, match="not a readable Parquet file"):
        list(read_pixels(path, [1]))
    columns = {"frame": [1], "pts_s": [0.0], "jpeg": [b""]}
    write_table(path, schema.THUMBNAILS, columns)
    with pytest.raises(DamagedArtifact, match="holds the table 'thumbnails', expected 'pixels'"):
        list(read_pixels(path, [1]))
    write_table(path, schema.PIXELS, {"frame": [1], "image": [b"junk"]})
    with pytest.raises(DamagedArtifact, match="the picture of frame 1"):
        list(read_pixels(path, [1]))


def test_a_codec_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="use one of webp, jpeg"):
        encode_picture(picture(0), "png")
