"""Pictures: resized in uint8, normalised by table, and their settings found in the right file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cache.errors import ConfigError
from stages.backbones import pictures

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
Table = Callable[[list[float], list[float], float], NDArray[np.float32]]
Resize = Callable[[NDArray[Any], int, int], NDArray[np.uint8]]
RESIZERS = (pictures.resize_pillow, pictures.resize_torch)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("resize", RESIZERS)
@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_a_keyframe_is_an_rgb_picture(resize: Resize, picture: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[height, width, 3\]"):
        resize(picture, 2, 2)


@pytest.mark.parametrize("resize", RESIZERS)
@pytest.mark.parametrize("size", [(30, 40), (13, 77), (120, 90)])
def test_resizing_is_bicubic_and_antialiased(resize: Resize, size: tuple[int, int]) -> None:
    # Between the two axes the kernels cut at 0 and 255: here nothing gets there.
    picture = noise(60, 80, 3) // 4 + 96
    found = resize(picture, *size)
    assert found.dtype == np.uint8
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    exact = torch.nn.functional.interpolate(planes, size=size, mode="bicubic", antialias=True)
    expected = exact.clamp(0, 255)[0].permute(1, 2, 0).numpy()
    assert found.shape == expected.shape
    # They round once per axis.
    assert np.abs(found - expected).max() <= 2


@pytest.mark.parametrize("resize", RESIZERS)
def test_a_picture_of_the_right_size_stays_as_it_is(resize: Resize) -> None:
    picture = noise(20, 30, 3)
    np.testing.assert_array_equal(resize(picture, 20, 30), picture)


@pytest.mark.parametrize("resize", RESIZERS)
def test_a_view_into_a_larger_picture_is_resized_like_its_copy(resize: Resize) -> None:
    large = noise(50, 60, 3)
    for view in (large[3:33, 5:45], np.rot90(large), large[:, ::-1]):
        np.testing.assert_array_equal(resize(view, 16, 18), resize(view.copy(), 16, 18))


@pytest.mark.parametrize("table", [pictures.pillow_table, pictures.fused_table])
def test_a_table_holds_what_becomes_of_every_byte(table: Table) -> None:
    found = table(MEAN, STD, 1 / 255)
    assert found.shape == (3, 256)
    assert found.dtype == np.float32
    for channel in range(3):
        exact = (np.arange(256) / 255 - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(found[channel], exact, rtol=1e-6, atol=1e-6)


def test_normalising_looks_every_value_up() -> None:
    shown = torch.from_numpy(noise(2, 3, 4, 5, 3))
    table = torch.from_numpy(pictures.fused_table(MEAN, STD, 1 / 255))
    found = pictures.normalise(shown, table)
    assert (found.shape, found.dtype) == ((2, 3, 3, 4, 5), torch.float32)
    for place in np.ndindex(2, 3, 4, 5):
        segment, frame, row, column = place
        for channel in range(3):
            expected = table[channel, int(shown[(*place, channel)])]
            assert found[segment, frame, channel, row, column] == expected


FILES = {
    "preprocessor_config.json": {"from": "images"},
    "video_preprocessor_config.json": {"from": "videos"},
    "processor_config.json": {
        "image_processor": {"from": "joint images"},
        "video_processor": {"from": "joint videos"},
    },
}


@pytest.mark.parametrize(
    ("there", "image", "video"),
    [
        (["preprocessor_config.json"], "images", "images"),
        (["preprocessor_config.json", "video_preprocessor_config.json"], "images", "videos"),
        (list(FILES), "joint images", "joint videos"),
    ],
)
def test_settings_are_those_of_the_newest_place(
    tmp_path: Path, there: list[str], image: str, video: str
) -> None:
    for name in there:
        (tmp_path / name).write_text(json.dumps(FILES[name]))
    assert pictures.preprocessor(tmp_path)["from"] == image
    assert pictures.video_preprocessor(tmp_path)["from"] == video


@pytest.mark.parametrize("content", [None, "[]", '{"processor_class": "Other"}'])
def test_a_checkpoint_without_settings_is_refused(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "processor_config.json").write_text(content)
    for find in (pictures.preprocessor, pictures.video_preprocessor):
        with pytest.raises(ConfigError, match="no image preprocessor"):
            find(tmp_path)


def test_a_setting_that_is_not_followed_is_named(tmp_path: Path) -> None:
    pictures.require(tmp_path, {"resample": 3}, {"resample": 3, "do_resize": True})
    with pytest.raises(ConfigError, match="has resample = 2, only 3 is supported"):
        pictures.require(tmp_path, {"resample": 2}, {"resample": 3})


@pytest.mark.parametrize("lost", ["image_mean", "image_std"])
def test_a_missing_mean_is_named(tmp_path: Path, lost: str) -> None:
    settings: dict[str, Any] = {"image_mean": MEAN, "image_std": STD}
    assert pictures.mean_and_std(tmp_path, settings) == (MEAN, STD)
    del settings[lost]
    with pytest.raises(ConfigError, match=lost):
        pictures.mean_and_std(tmp_path, settings)
