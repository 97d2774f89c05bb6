"""Keyframes as a model sees them: resized as uint8 on the CPU, normalised by table on the device.

A resize in float differs from the uint8 kernel by up to 3 levels in a fifth of the values, so it is
done where the libraries do it. A byte has 256 values: what each becomes is computed once, by the
library's own formula, and looked up. That is exact on every device, and sends a quarter of the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cache.errors import ConfigError
from stages.backbones.contract import Picture

BICUBIC = int(Image.Resampling.BICUBIC)


def check_picture(picture: Picture) -> None:
    """Raise ValueError unless it is uint8 [height, width, 3]."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"a keyframe is uint8 [height, width, 3], got {picture.dtype} {list(picture.shape)}"
        )


def resize_pillow(picture: Picture, height: int, width: int) -> Picture:
    """Bicubic with antialiasing, by Pillow: [height, width, 3]."""
    check_picture(picture)
    small = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(small)


def resize_torch(picture: Picture, height: int, width: int) -> Picture:
    """Bicubic with antialiasing, by torch's uint8 kernel (what torchvision calls)."""
    check_picture(picture)
    if picture.shape[:2] == (height, width):
        return picture
    planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(
        planes, size=(height, width), mode="bicubic", align_corners=False, antialias=True
    )
    return small[0].permute(1, 2, 0).contiguous().numpy()


def preprocessor(folder: Path) -> dict[str, Any]:
    """Settings of the image preprocessor, looked for where the library looks, in its order.

    Its part of processor_config.json, then preprocessor_config.json. Raises ConfigError where there
    is none.
    """
    return _settings(
        folder, _joint(folder, "image_processor"), _read(folder, "preprocessor_config.json")
    )


def video_preprocessor(folder: Path) -> dict[str, Any]:
    """Settings of the video preprocessor, looked for where the library looks, in its order.

    Its part of processor_config.json, video_preprocessor_config.json, and for older checkpoints
    preprocessor_config.json. Raises ConfigError where there is none.
    """
    names = ("video_preprocessor_config.json", "preprocessor_config.json")
    return _settings(
        folder, _joint(folder, "video_processor"), *(_read(folder, name) for name in names)
    )


def _settings(folder: Path, *found: Any) -> dict[str, Any]:
    """The first that is there."""
    for settings in found:
        if isinstance(settings, dict):
            return settings
    raise ConfigError(
        f"backbone {folder.name} has no image preprocessor (preprocessor_config.json expected)"
    )


def _joint(folder: Path, part: str) -> Any:
    """One part of processor_config.json, where releases since 5.0 put all preprocessors."""
    whole = _read(folder, "processor_config.json")
    return whole.get(part) if isinstance(whole, dict) else None


def _read(folder: Path, name: str) -> Any:
    path = folder / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def require(folder: Path, settings: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise ConfigError where a preprocessor's setting is one that the family does not follow."""
    for name, value in expected.items():
        if settings.get(name, value) != value:
            raise ConfigError(
                f"backbone {folder.name}: the preprocessor has {name} = {settings[name]}, "
                f"only {value} is supported"
            )


def mean_and_std(folder: Path, settings: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """image_mean and image_std, three numbers each. Raises ConfigError where one is missing."""
    try:
        mean, std = settings["image_mean"], settings["image_std"]
    except KeyError as error:
        raise ConfigError(f"backbone {folder.name}: the preprocessor has no {error}") from error
    return [float(v) for v in mean], [float(v) for v in std]


def pillow_table(mean: list[float], std: list[float], scale: float) -> NDArray[np.float32]:
    """What each byte of each channel becomes, [3, 256], as the library's Pillow processors do it."""
    # The order of roundings is the library's: product in float64, the rest in float32.
    scaled = (np.arange(256, dtype=np.float64) * scale).astype(np.float32)
    table = (scaled[:, None] - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(table.T)


def fused_table(mean: list[float], std: list[float], scale: float) -> NDArray[np.float32]:
    """The same as the library's torchvision processors do it: the scale goes into mean and std."""
    # In their order, with their roundings: float32 throughout, the inverse scale in float64.
    shift = torch.tensor(mean) * (1.0 / scale)
    spread = torch.tensor(std) * (1.0 / scale)
    values = torch.arange(256, dtype=torch.float32)[None]
    table: NDArray[np.float32] = ((values - shift[:, None]) / spread[:, None]).numpy()
    return table


def normalise(pictures: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """uint8 [..., height, width, 3] to float32 [..., 3, height, width] by `table` [3, 256]."""
    planes = pictures.movedim(-1, -3)
    channels = [table[channel][planes[..., channel, :, :].int()] for channel in range(3)]
    return torch.stack(channels, dim=-3)
