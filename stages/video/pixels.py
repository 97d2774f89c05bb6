"""Stored keyframes: encoded pictures in a Parquet table, written and read as a stream."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from cache.errors import ConfigError, DamagedArtifact, ItemError
from manifests import schema
from manifests.table import arrow_schema, footer_of

_OPTIONS: dict[str, dict[str, Any]] = {
    "webp": {"format": "WEBP", "lossless": True, "quality": 80, "method": 4, "exact": True},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
_GROUP = 32
"""Pictures per row group: what is in memory at one time, and what one read fetches."""


def encode_picture(rgb: NDArray[np.uint8], codec: str) -> bytes:
    """Encode one picture [height, width, 3]: "webp" is lossless, "jpeg" quality 95 at 4:4:4.

    Raises ConfigError for another codec.
    """
    if codec not in _OPTIONS:
        raise ConfigError(f'pixels = "{codec}" is not known; use one of {", ".join(_OPTIONS)}')
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, **_OPTIONS[codec])
    return buffer.getvalue()


def write_pixels(path: Path, pictures: Iterable[tuple[int, NDArray[np.uint8]]], codec: str) -> int:
    """Write (frame, rgb) pairs, sorted by frame, as a `pixels` table; returns how many.

    The video is never held as a whole. The file is finished only when the call returns.
    """
    target = arrow_schema(schema.PIXELS, {"codec": codec})
    frames: list[int] = []
    images: list[bytes] = []
    written = 0
    with pq.ParquetWriter(path, target, compression="none") as writer:
        for frame, rgb in pictures:
            frames.append(frame)
            images.append(encode_picture(rgb, codec))
            if len(frames) == _GROUP:
                written += _flush(writer, target, frames, images)
        if frames:
            written += _flush(writer, target, frames, images)
    return written


def read_pixels(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (frame number, rgb [height, width, 3], uint8) for every wanted frame, in order.

    The contract is that of `read_frames`: `wanted` is sorted and distinct, one row group is held at
    a time. Raises ItemError naming the first frame that is not stored, and DamagedArtifact for a
    file that is no `pixels` table.
    """
    numbers = [int(number) for number in wanted]
    if numbers != sorted(set(numbers)) or (numbers and numbers[0] < 0):
        raise ValueError("wanted frames must be sorted, distinct and not negative")
    if not numbers:
        return
    left = list(reversed(numbers))
    for frame, image in _stored(path, frozenset(numbers)):
        if frame > left[-1]:
            break
        left.pop()
        yield frame, _decode(path, frame, image)
    if left:
        raise ItemError(
            f"frame {left[-1]} is not among the stored pixels: they were sampled by another plan; "
            "run the sample stage again"
        )


def _stored(path: Path, wanted: frozenset[int]) -> Iterator[tuple[int, bytes]]:
    """The stored pictures that are wanted; row groups without any are not read."""
    try:
        name = footer_of(path).get("table", "")
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedArtifact(f"{path.name} is not a readable Parquet file: {error}") from error
    if name != schema.PIXELS.name:
        raise DamagedArtifact(f"{path.name} holds the table {name!r}, expected 'pixels'")
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            frames = file.read_row_group(group, columns=["frame"])["frame"].to_pylist()
            if wanted.isdisjoint(frames):
                continue
            images = file.read_row_group(group, columns=["image"])["image"]
            for frame, image in zip(frames, images, strict=True):
                if frame in wanted:
                    yield frame, image.as_py()


def _decode(path: Path, frame: int, image: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(image), formats=("WEBP", "JPEG")) as picture:
            return np.asarray(picture.convert("RGB"), dtype=np.uint8)
    except OSError as error:
        raise DamagedArtifact(f"{path.name}: the picture of frame {frame}: {error}") from error


def _flush(writer: Any, target: Any, frames: list[int], images: list[bytes]) -> int:
    """Write what has gathered as one row group, and empty the lists."""
    count = len(frames)
    columns = [pa.array(frames, pa.int32()), pa.array(images, pa.binary())]
    writer.write_table(pa.Table.from_arrays(columns, schema=target))
    frames.clear()
    images.clear()
    return count
