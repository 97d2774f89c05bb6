"""A small synthetic surveillance data set: H.264 videos of moving shapes, some with an event.

Shapes wander over a textured ground under sensor noise and slowly changing light. In the anomalous
videos something sudden happens once or twice: an explosion, a fight, an intrusion or a fire.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

WIDTH, HEIGHT = 160, 120
"""Size of every video in pixels."""

Picture = NDArray[np.float32]
"""[HEIGHT, WIDTH, 3], 0 to 255."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One video of the data set."""

    path: str
    """Relative to the folder of the videos; its first part is the split."""
    fps: int
    seconds: int
    kind: str = "normal"
    """Name of the class."""
    events_s: tuple[tuple[float, float], ...] = ()
    """(start, end) of every event in seconds."""

    @property
    def split(self) -> str:
        """train or test."""
        return self.path.split("/")[0]

    @property
    def label(self) -> int:
        """0 normal, 1 anomalous."""
        return int(bool(self.events_s))

    @property
    def n_frames(self) -> int:
        """Frames of the video."""
        return self.fps * self.seconds

    @property
    def intervals(self) -> tuple[tuple[int, int], ...]:
        """(first frame, one past the last) of every event."""
        return tuple((round(a * self.fps), round(b * self.fps)) for a, b in self.events_s)


CLIPS: tuple[Clip, ...] = (
    Clip("train/courtyard_01.mp4", 25, 14),
    Clip("train/courtyard_02.mp4", 30, 11),
    Clip("train/street_01.mp4", 25, 12),
    Clip("train/street_02.mp4", 30, 10),
    Clip("train/explosion_01.mp4", 25, 15, "explosion", ((8.2, 11.8),)),
    Clip("train/fight_01.mp4", 30, 12, "fight", ((2.1, 6.4),)),
    Clip("train/fire_01.mp4", 25, 13, "fire", ((6.0, 10.6),)),
    Clip("train/intrusion_01.mp4", 30, 14, "intrusion", ((3.4, 6.2), (9.5, 12.1))),
    Clip("test/courtyard_03.mp4", 25, 13),
    Clip("test/courtyard_04.mp4", 30, 10),
    Clip("test/courtyard_05.mp4", 25, 16),
    Clip("test/street_03.mp4", 30, 12),
    Clip("test/street_04.mp4", 25, 11),
    Clip("test/street_05.mp4", 30, 14),
    Clip("test/explosion_02.mp4", 30, 12, "explosion", ((1.7, 4.3),)),
    Clip("test/explosion_03.mp4", 25, 18, "explosion", ((4.4, 7.0), (13.2, 16.4))),
    Clip("test/fight_02.mp4", 25, 14, "fight", ((8.6, 13.2),)),
    Clip("test/fight_03.mp4", 30, 10, "fight", ((3.3, 6.1),)),
    Clip("test/fire_02.mp4", 30, 15, "fire", ((9.0, 13.9),)),
    Clip("test/intrusion_02.mp4", 25, 16, "intrusion", ((5.2, 8.1),)),
)
"""Every video; the seed changes how they look, never what happens when."""


def write_dataset(folder: Path, seed: int = 0) -> None:
    """Write `folder`/videos/<split>/NAME.mp4 and `folder`/labels.csv.

    The label file has the columns video, split, label, class, start_frame and end_frame, one row
    per interval, with 0-based half-open frame numbers; normal videos have one row without numbers.
    The same seed gives the same bytes with the same libraries.
    """
    for number, clip in enumerate(CLIPS):
        write_video(folder / "videos" / clip.path, clip, [seed, number])
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("video", "split", "label", "class", "start_frame", "end_frame"))
        for clip in CLIPS:
            for start, end in clip.intervals or (("", ""),):
                writer.writerow((clip.path, clip.split, clip.label, clip.kind, start, end))


def write_video(path: Path, clip: Clip, seed: list[int]) -> None:
    """Draw one video and write it as H.264."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _encode(path, clip, _pictures(clip, np.random.default_rng(seed)))


def _encode(path: Path, clip: Clip, pictures: Iterator[NDArray[np.uint8]]) -> None:
    # One thread, no tag of the encoder, and nothing decided by looking ahead: with x264's lookahead
    # about one run in five gave other bytes for the same pictures.
    options = {"preset": "veryfast", "crf": "25", "g": "60", "bf": "2", "threads": "1"}
    options["x264-params"] = "rc-lookahead=0:sync-lookahead=0:mbtree=0:b-adapt=0:scenecut=0"
    with av.open(path, "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=clip.fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, clip.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _pictures(clip: Clip, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """The frames [HEIGHT, WIDTH, 3] of one video, in order."""
    ground = _ground(rng)
    walkers = [_walker(rng) for _ in range(int(rng.integers(3, 7)))]
    noise = rng.normal(0, 5, (16, HEIGHT, WIDTH, 3)).astype(np.float32)
    spots = rng.uniform((40, 35), (WIDTH - 40, HEIGHT - 35), (len(clip.intervals), 2))
    light = rng.uniform((5, 0.15, 0), (12, 0.4, 6))
    for number in range(clip.n_frames):
        time = number / clip.fps
        picture = ground + np.float32(light[0] * math.sin(light[1] * 6.283 * time / 4 + light[2]))
        for walker in walkers:
            _draw_walker(picture, walker, time)
        for (start, end), spot in zip(clip.intervals, spots, strict=True):
            if start <= number < end:
                place = (float(spot[0]), float(spot[1]))
                _EVENTS[clip.kind](picture, (number - start) / (end - start), time, place, rng)
        picture += np.roll(noise[number % 16], int(rng.integers(WIDTH)), axis=1)
        yield np.clip(picture, 0, 255).astype(np.uint8)


def _ground(rng: np.random.Generator) -> Picture:
    """A still background: a tinted gradient, coarse texture, and some pale buildings or lanes."""
    tint = rng.uniform(70, 135, 3)
    slope = np.linspace(-20, 20, HEIGHT)[:, None, None]
    coarse = rng.normal(0, 9, (HEIGHT // 8, WIDTH // 8, 1)).repeat(8, axis=0).repeat(8, axis=1)
    fine = rng.normal(0, 4, (HEIGHT, WIDTH, 1))
    picture = (tint + slope + coarse + fine).astype(np.float32)
    for _ in range(int(rng.integers(2, 5))):
        x, y = rng.integers(0, WIDTH - 30), rng.integers(0, HEIGHT - 20)
        w, h = rng.integers(15, 50), rng.integers(10, 30)
        picture[y : y + h, x : x + w] += np.float32(rng.uniform(-25, 25))
    return picture


@dataclass(frozen=True, slots=True)
class _Walker:
    """A shape that wanders in straight lines and turns back at the border."""

    x: float
    y: float
    vx: float
    vy: float
    size: float
    round: bool
    colour: tuple[float, float, float]


def _walker(rng: np.random.Generator) -> _Walker:
    x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
    vx, vy = rng.uniform(-22, 22), rng.uniform(-9, 9)
    red, green, blue = rng.uniform(25, 200, 3)
    return _Walker(x, y, vx, vy, rng.uniform(5, 10), bool(rng.random() < 0.5), (red, green, blue))


def _draw_walker(picture: Picture, walker: _Walker, time: float) -> None:
    x = _fold(walker.x + walker.vx * time, WIDTH)
    y = _fold(walker.y + walker.vy * time, HEIGHT)
    if walker.round:
        _disc(picture, x, y, walker.size, walker.colour)
    else:
        _box(picture, x, y, walker.size, walker.size * 1.6, walker.colour)


def _fold(value: float, length: float) -> float:
    """A coordinate that runs on, reflected into [0, length]."""
    rest = value % (2 * length)
    return min(rest, 2 * length - rest)


def _disc(
    picture: Picture,
    x: float,
    y: float,
    radius: float,
    colour: tuple[float, float, float],
    opacity: float = 1.0,
) -> None:
    """Paint a disc with a soft edge of two pixels."""
    top, left = max(0, int(y - radius) - 2), max(0, int(x - radius) - 2)
    window = picture[top : int(y + radius) + 3, left : int(x + radius) + 3]
    rows = np.arange(top, top + window.shape[0], dtype=np.float32)[:, None]
    columns = np.arange(left, left + window.shape[1], dtype=np.float32)
    distance = np.hypot(rows - np.float32(y), columns - np.float32(x))
    share = np.clip((np.float32(radius) + 1 - distance) / 2, 0, 1)[..., None] * np.float32(opacity)
    window += share * (np.asarray(colour, dtype=np.float32) - window)


def _box(
    picture: Picture,
    x: float,
    y: float,
    width: float,
    height: float,
    colour: tuple[float, float, float],
) -> None:
    """Paint a rectangle around a point."""
    top, left = max(0, round(y - height / 2)), max(0, round(x - width / 2))
    picture[top : max(0, round(y + height / 2)), left : max(0, round(x + width / 2))] = colour


Event = Callable[[Picture, float, float, tuple[float, float], np.random.Generator], None]
"""Paints an event into a picture: its progress in [0, 1), the time in seconds, its place (x, y)."""


def _explosion(
    picture: Picture, done: float, time: float, spot: tuple[float, float], rng: np.random.Generator
) -> None:
    """A flash, a bright disc that grows fast, and smoke that stays and thins."""
    x, y = spot
    if done < 0.12:
        picture += np.float32(110 * (1 - done / 0.12))
    radius = 8 + 46 * math.sqrt(done)
    _disc(picture, x, y - 12 * done, radius, (70.0, 66.0, 64.0), 0.9 * (1 - done))
    glow = max(0.0, 1 - 1.3 * done)
    flicker = 1 + 0.12 * float(rng.normal())
    _disc(picture, x, y, radius * 0.8 * flicker, (255.0, 140.0, 30.0), glow)
    _disc(picture, x, y, radius * 0.5 * flicker, (255.0, 245.0, 190.0), glow)


def _fight(
    picture: Picture, done: float, time: float, spot: tuple[float, float], rng: np.random.Generator
) -> None:
    """Three shapes that clash around a point, fast and without rhythm."""
    colours = ((190.0, 30.0, 35.0), (25.0, 35.0, 150.0), (20.0, 20.0, 20.0))
    for number, colour in enumerate(colours):
        angle = 6.283 * (time * (1.7 + 0.6 * number) + number / 3)
        reach = 6 + 12 * abs(math.sin(6.283 * time * 1.9 + number))
        x = spot[0] + reach * math.cos(angle) + 3 * float(rng.normal())
        y = spot[1] + 0.7 * reach * math.sin(1.4 * angle) + 3 * float(rng.normal())
        _box(picture, x, y, 9 + 4 * float(rng.random()), 20 - 8 * float(rng.random()), colour)


def _intrusion(
    picture: Picture, done: float, time: float, spot: tuple[float, float], rng: np.random.Generator
) -> None:
    """A tall pale shape that runs across the whole picture and back, much faster than a walker."""
    x = _fold(spot[0] + 130 * time, WIDTH)
    y = spot[1] + 18 * math.sin(6.283 * 0.8 * time)
    stride = 3 * math.sin(6.283 * 3 * time)
    _box(picture, x, y, 11 + stride, 30, (240.0, 235.0, 90.0))
    _disc(picture, x, y - 19, 5, (245.0, 200.0, 160.0))


def _fire(
    picture: Picture, done: float, time: float, spot: tuple[float, float], rng: np.random.Generator
) -> None:
    """Tongues of flame that flicker and spread, with a red glow around them."""
    spread = 6 + 20 * done
    _disc(picture, spot[0], spot[1], 2.2 * spread, (230.0, 70.0, 20.0), 0.35)
    for _ in range(10):
        x = spot[0] + spread * float(rng.uniform(-1, 1))
        rise = float(rng.random())
        colour = (255.0, 90.0 + 140 * (1 - rise), 20.0 + 60 * (1 - rise))
        _disc(picture, x, spot[1] - 1.3 * spread * rise, 2 + 6 * (1 - rise), colour, 0.85)


_EVENTS: dict[str, Event] = {
    "explosion": _explosion,
    "fight": _fight,
    "fire": _fire,
    "intrusion": _intrusion,
}
