"""What everything in the world is drawn with: strokes with round ends, and glows.

A drawing is data: two small arrays. Only `paint` touches pixels, so a frame can be drawn alone,
without those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 240, 180
"""Size of every video in pixels."""

Picture = NDArray[np.float32]
"""[HEIGHT, WIDTH, 3], RGB, 0 to 255."""
Strokes = NDArray[np.float32]
"""[strokes, 10]: x and y of both ends, radius, red, green, blue, opacity, part. Pixels, 0..255, 0..1,
and what it is a part of: one of the numbers below."""
HEAD, TRUNK, LEG, ARM, CAR, FRONT, REAR, FLAME, SMOKE, THING = range(10)
PARTS = 10
Glows = NDArray[np.float32]
"""[glows, 6]: x, y, radius, and the red, green, blue that its middle adds."""
Colour = tuple[float, float, float]
"""Red, green, blue, 0 to 255."""

NO_STROKES: Strokes = np.zeros((0, 10), dtype=np.float32)
NO_GLOWS: Glows = np.zeros((0, 6), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """One actor or effect at one time."""

    depth: float
    """y of its foot on the ground: what is nearer covers what is farther."""
    strokes: Strokes = field(default_factory=lambda: NO_STROKES)
    """In the order in which they are painted."""
    glows: Glows = field(default_factory=lambda: NO_GLOWS)
    """Light of its own, which night does not dim."""


def stroke(
    start: tuple[float, float],
    end: tuple[float, float],
    radius: float,
    colour: Colour,
    opacity: float = 1.0,
) -> tuple[float, ...]:
    """One row of `Strokes`."""
    return (*start, *end, radius, *colour, opacity, THING)


def disc(
    x: float, y: float, radius: float, colour: Colour, opacity: float = 1.0
) -> tuple[float, ...]:
    """One row of `Strokes` whose ends are the same point."""
    return (x, y, x, y, radius, *colour, opacity, THING)


def part(number: int, rows: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The same rows as parts of something: one of the numbers above."""
    return [(*row[:-1], number) for row in rows]


def strokes(rows: Sequence[tuple[float, ...]]) -> Strokes:
    """Rows as an array."""
    return np.asarray(rows, dtype=np.float32).reshape(-1, 10)


def glows(rows: Sequence[tuple[float, ...]]) -> Glows:
    """Rows of (x, y, radius, red, green, blue) as an array."""
    return np.asarray(rows, dtype=np.float32).reshape(-1, 6)


def paint(picture: Picture, drawn: Strokes) -> None:
    """Paint strokes over a picture of any size, in their order, with soft edges of one pixel."""
    if not len(drawn):
        return
    reach = drawn[:, 4] + 1
    low = np.minimum(drawn[:, 0:2], drawn[:, 2:4]) - reach[:, None]
    high = np.maximum(drawn[:, 0:2], drawn[:, 2:4]) + reach[:, None]
    left, top = (max(0, int(value)) for value in low.min(axis=0))
    right, bottom = (
        min(most, int(value) + 2)
        for value, most in zip(high.max(axis=0), picture.shape[1::-1], strict=True)
    )
    if left >= right or top >= bottom:
        return
    covered = _coverage(drawn, left, top, right, bottom)
    window = picture[top:bottom, left:right]
    for share, row in zip(covered, drawn, strict=True):
        window += share[..., None] * (row[5:8] - window)


def _coverage(drawn: Strokes, left: int, top: int, right: int, bottom: int) -> Picture:
    """How much of each pixel each stroke covers, [strokes, rows, columns]."""
    x = np.arange(left, right, dtype=np.float32)[None, None, :] - drawn[:, 0, None, None]
    y = np.arange(top, bottom, dtype=np.float32)[None, :, None] - drawn[:, 1, None, None]
    dx, dy = (drawn[:, i, None, None] - drawn[:, i - 2, None, None] for i in (2, 3))
    along = (x * dx + y * dy) / np.maximum(dx * dx + dy * dy, np.float32(1e-6))
    np.clip(along, 0, 1, out=along)
    distance = np.hypot(x - along * dx, y - along * dy)
    share = np.clip(drawn[:, 4, None, None] + np.float32(0.5) - distance, 0, 1)
    shares: Picture = share * drawn[:, 8, None, None]
    return shares


def shine(picture: Picture, lights: Glows) -> None:
    """Add glows to a picture; their light falls off to nothing at the radius."""
    for x, y, radius, *colour in lights:
        left, right = max(0, int(x - radius)), min(picture.shape[1], int(x + radius) + 2)
        top, bottom = max(0, int(y - radius)), min(picture.shape[0], int(y + radius) + 2)
        if left >= right or top >= bottom:
            continue
        columns = np.arange(left, right, dtype=np.float32) - x
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] - y
        share = np.clip(1 - (columns * columns + rows * rows) / (radius * radius), 0, None)
        picture[top:bottom, left:right] += (share * share)[..., None] * np.float32(colour)


def fill(
    picture: Picture, left: float, top: float, right: float, bottom: float, colour: Colour
) -> None:
    """Paint an upright rectangle with whole pixels, for backgrounds."""
    rows = slice(max(0, round(top)), max(0, round(bottom)))
    picture[rows, max(0, round(left)) : max(0, round(right))] = colour
