"""Who takes part in an act and where: everything random about it, drawn once from its seed.

Acts of one video that share a seed share their cast: the two who talk are the two who then fight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from demo.looks import Car, Palette, Person, draw_car, draw_person
from demo.scenes import Lane, Scene

LEVELS = (1, 2, 3)
"""Subtlety: 1 is near and plain, 3 far away, smaller, weaker and slower."""


@dataclass(frozen=True, slots=True, eq=False)
class Cast:
    """What an act is played with."""

    scene: Scene
    level: int
    """One of LEVELS."""
    seconds: float
    """How long the act lasts."""
    people: tuple[Person, ...]
    """Seven; an act takes as many as it needs, from the first on."""
    cars: tuple[Car, ...]
    """Two."""
    x: float
    """Middle of the act, in pixels."""
    y: float
    """Its place on the ground."""
    facing: int
    """1 to the right, -1 to the left."""
    chance: tuple[float, ...]
    """Twelve numbers in 0..1 for whatever else an act leaves open."""

    @property
    def height(self) -> float:
        """Height of a usual person at the place of the act, in pixels."""
        return self.scene.height(self.y)

    @property
    def strength(self) -> float:
        """1 for a plain act, less for a subtle one."""
        return {1: 1.0, 2: 0.82, 3: 0.66}[self.level]

    @property
    def lane(self) -> Lane:
        """The lane of the act, in scenes that have any."""
        lanes = self.scene.lanes
        return lanes[int(self.chance[0] * len(lanes))]

    @property
    def car_length(self) -> float:
        """Length of a usual car in that lane, in pixels."""
        return 1.5 * self.scene.height(self.lane.y)


def draw_cast(scene: Scene, seed: int, palette: Palette, level: int, seconds: float) -> Cast:
    """Draw the cast of an act from its seed; level and seconds change nothing else but the depth."""
    rng = np.random.default_rng([seed, 71])
    people = tuple(draw_person(rng, palette) for _ in range(7))
    cars = tuple(draw_car(rng, palette) for _ in range(2))
    x, share, side = float(rng.uniform(70, 170)), float(rng.random()), rng.random()
    low, high = {1: (0.5, 1.0), 2: (0.35, 0.8), 3: (0.2, 0.6)}[level]
    top, bottom = scene.ground
    y = top + (low + share * (high - low)) * (bottom - top)
    chance = tuple(float(value) for value in rng.random(12))
    return Cast(scene, level, seconds, people, cars, x, y, 1 if side < 0.5 else -1, chance)


def wobble(seed: float, time: float, rate: float = 1.0) -> float:
    """A restless number in about -1..1 that changes `rate` times a second; no state."""
    phase = 6.2832 * rate * time
    return (
        0.5 * math.sin(phase + 40 * seed)
        + 0.3 * math.sin(1.73 * phase + 97 * seed)
        + 0.2 * math.sin(3.11 * phase + 211 * seed)
    )


def fold(value: float, low: float, high: float) -> tuple[float, int]:
    """A coordinate that runs on, reflected into [low, high], and its direction there (1 or -1)."""
    length = high - low
    rest = (value - low) % (2 * length)
    return (low + rest, 1) if rest < length else (low + 2 * length - rest, -1)


def ease(value: float) -> float:
    """0 before 0, 1 after 1, smooth between."""
    share = min(1.0, max(0.0, value))
    return share * share * (3 - 2 * share)
