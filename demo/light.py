"""Time of day, weather, and the camera's noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.canvas import HEIGHT, WIDTH, Colour, Picture, paint, stroke, strokes

TIMES = {
    "day": ((1.0, 1.0, 1.0), "by day"),
    "evening": ((0.82, 0.66, 0.55), "in the evening"),
    "night": ((0.47, 0.5, 0.62), "at night"),
}
"""Times of day: what each colour is multiplied by, and how captions say it."""
WEATHERS = {"clear": "", "rain": " in rain", "snow": " in snow"}
"""Weathers, and how captions say it."""


@dataclass(frozen=True, slots=True)
class Light:
    """Time of day and weather of one video, and how its light drifts."""

    time: str
    weather: str
    drift: tuple[float, float, float]
    """Share, period in seconds and phase of a slow change."""
    cloud: tuple[float, float]
    """When a cloud comes (seconds), and what share of the light it takes."""
    grain: float
    """Standard deviation of the camera's noise."""

    @property
    def told(self) -> str:
        """How captions say it."""
        return TIMES[self.time][1] + WEATHERS[self.weather]

    def gain(self, time: float) -> Colour:
        """What each colour is multiplied by at a time."""
        share, period, phase = self.drift
        level = 1 + share * math.sin(6.2832 * time / period + phase)
        level -= self.cloud[1] / (1 + math.exp(-(time - self.cloud[0]) / 0.6))
        red, green, blue = TIMES[self.time][0]
        return red * level, green * level, blue * level


def draw_light(rng: np.random.Generator, indoors: bool) -> Light:
    """Draw a time of day and a weather; there is no weather indoors."""
    time = str(rng.choice(list(TIMES), p=(0.5, 0.2, 0.3)))
    weather = str(rng.choice(list(WEATHERS), p=(0.6, 0.25, 0.15)))
    drift = (float(rng.uniform(0, 0.08)), float(rng.uniform(6, 20)), float(rng.uniform(0, 6.28)))
    cloud = (float(rng.uniform(2, 25)), float(rng.uniform(0.1, 0.3)) if rng.random() < 0.3 else 0.0)
    grain = float(rng.uniform(2, 4)) + 3 * (time == "night")
    return Light(time, "clear" if indoors else weather, drift, cloud, grain)


def fall_down(picture: Picture, weather: str, time: float) -> None:
    """Paint rain or snow into a picture."""
    if weather == "clear":
        return
    rain = weather == "rain"
    count, speed = (38, 330.0) if rain else (60, 45.0)
    seeds = _DROPS[:count]
    depth = 0.6 + 0.8 * seeds[:, 2]
    x = (seeds[:, 0] * (WIDTH + 40) + (8.0 if rain else 12.0) * time * depth) % (WIDTH + 40) - 20
    y = (seeds[:, 1] * (HEIGHT + 20) + speed * time * depth) % (HEIGHT + 20) - 10
    if rain:
        rows = [
            stroke((a, b), (a - 1.2, b - 11 * d), 0.35, (200.0, 205.0, 215.0), 0.45)
            for a, b, d in zip(x, y, depth, strict=True)
        ]
        for row in rows:
            paint(picture, strokes([row]))
        return
    for a, b, d in zip(x, y, depth, strict=True):
        column, line, wide = int(a), int(b), 2 if d > 1 else 1
        picture[max(0, line) : max(0, line + wide), max(0, column) : max(0, column + wide)] = 232


def add_noise(picture: Picture, grain: float, frame: int) -> None:
    """Add the camera's noise of one frame."""
    field = _NOISE[frame % len(_NOISE)]
    shift = (frame * 7919) % WIDTH
    picture[:, shift:] += grain * field[:, : WIDTH - shift]
    picture[:, :shift] += grain * field[:, WIDTH - shift :]


_DROPS: NDArray[np.float64] = np.random.default_rng(5).random((60, 3))
_NOISE: NDArray[np.float32] = (
    np.random.default_rng(6).standard_normal((6, HEIGHT, WIDTH, 3)).astype(np.float32)
)
