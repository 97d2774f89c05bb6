"""Videos to test on: small encoded ones, and the real clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
CLIPS = {
    "bottle-detection": ROOT / "tests/data/bottle-detection.mp4",
    "car-detection": ROOT / "../shared/data/videos/car-detection.mp4",
    "one-by-one-person-detection": ROOT / "../shared/data/videos/one-by-one-person-detection.mp4",
}

Maker = Callable[..., Path]


@pytest.fixture(params=list(CLIPS))
def clip(request: pytest.FixtureRequest) -> Path:
    """Every real clip that is at hand."""
    path = CLIPS[request.param]
    if not path.is_file():
        pytest.skip(f"{path.name} is not at hand: it is looked for in ../shared/data/videos")
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> Maker:
    """Encode moving noise to a file of the given name, whose suffix says the container."""

    def make(name: str, **options: Any) -> Path:
        return encode_video(tmp_path / name, **options)

    return make


def encode_video(
    path: Path,
    frames: int = 48,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    rotation: int | None = None,
    pts: list[int] | None = None,
    sizes: tuple[tuple[int, int], ...] = (),
) -> Path:
    """25 frames a second, or `pts` in milliseconds; every further size of `sizes` begins anew."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=codec_options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.thread_count = 1
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for packet in _packets(stream, frames, size, pts, first=0):
            container.mux(packet)
        for number, other in enumerate(sizes, start=1):
            context = av.CodecContext.create(codec, "w")
            context.width, context.height, context.pix_fmt = *other, pix_fmt
            context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
            for packet in _packets(context, frames, other, None, first=number * frames):
                packet.stream = stream
                container.mux(packet)
    return path


def _packets(
    encoder: Any, frames: int, size: tuple[int, int], pts: list[int] | None, first: int
) -> Iterator[Any]:
    for number, picture in enumerate(pictures(frames, size)):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = first + number if pts is None else pts[number]
        frame.time_base = Fraction(1, 25) if pts is None else Fraction(1, 1000)
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def pictures(frames: int, size: tuple[int, int]) -> Iterator[Any]:
    rng = np.random.default_rng(7)
    width, height = size
    ground = rng.integers(0, 256, (height // 8 + 1, width // 4 + 1, 3), dtype=np.uint8)
    ground = ground.repeat(8, axis=0).repeat(8, axis=1)
    for number in range(frames):
        noise = rng.integers(-6, 7, (height, width, 3))
        picture = np.roll(ground, 2 * number, axis=1)[:height, :width] + noise
        yield np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def encode() -> Maker:
    """`make_video` with a path of one's own."""
    return encode_video


@pytest.fixture(scope="session")
def plain() -> Callable[[Path], Iterator[tuple[Fraction, Any]]]:
    """Decode a file as simply as PyAV allows: (seconds, frame) in the order of output."""

    def decode(path: Path) -> Iterator[tuple[Fraction, Any]]:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield (frame.pts or 0) * frame.time_base, frame

    return decode
