"""Time of day, weather, and the camera's noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.canvas import HEIGHT, WIDTH, Colour, Picture

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
    """Paint rain or snow into a picture of any size."""
    if weather == "clear":
        return
    rain = weather == "rain"
    count, speed, slant = (45, 330.0, 8.0) if rain else (60, 45.0, 12.0)
    seeds = _DROPS[:count]
    depth = 0.6 + 0.8 * seeds[:, 2]
    x = (seeds[:, 0] * (WIDTH + 40) + slant * time * depth) % (WIDTH + 40) - 20
    y = (seeds[:, 1] * (HEIGHT + 20) + speed * time * depth) % (HEIGHT + 20) - 10
    # Every drop is a few points: a streak that leans in the wind, or a flake of two rows.
    along = np.linspace(0, 1, 12 if rain else 2)[:, None]
    x, y = x - 1.2 * along * rain, y - (11 * depth if rain else 1) * along
    height, width = picture.shape[:2]
    column, row = (x / WIDTH * width).astype(np.intp), (y / HEIGHT * height).astype(np.intp)
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    colour = np.array((200, 205, 215) if rain else (232, 232, 232), dtype=np.float32)
    behind = picture[row[seen], column[seen]]
    picture[row[seen], column[seen]] += np.float32(0.32 if rain else 0.9) * (colour - behind)


def add_noise(picture: Picture, grain: float, frame: int) -> None:
    """Add the camera's noise of one frame to a picture of any size."""
    height, width = picture.shape[:2]
    field = _NOISE[frame % len(_NOISE), :height, :width]
    shift = (frame * 7919) % width
    picture[:, shift:] += grain * field[:, : width - shift]
    picture[:, :shift] += grain * field[:, width - shift :]


_DROPS: NDArray[np.float64] = np.random.default_rng(5).random((60, 3))
_NOISE: NDArray[np.float32] = (
    np.random.default_rng(6).standard_normal((6, HEIGHT, WIDTH, 3)).astype(np.float32)
)
