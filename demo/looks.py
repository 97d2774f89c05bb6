"""How people and cars look, and how they are drawn.

What a test video shows is dressed in colours that no training clip has: `Palette` says which.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from demo.canvas import ARM, CAR, FRONT, HEAD, LEG, REAR, TRUNK, Colour, disc, part, stroke

Palette = Literal["training", "held out"]

HELD_OUT_HUES = ((0.08, 0.16), (0.42, 0.52), (0.76, 0.86))
"""Shares of the colour circle that training clips never use for clothes and cars."""

Point = tuple[float, float]
Rows = list[tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Person:
    """One person's clothes and build."""

    shirt: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    height: float
    """Relative to the usual one."""


@dataclass(frozen=True, slots=True)
class Car:
    """One car's paint and size."""

    paint: Colour
    length: float
    """Relative to the usual one."""
    tall: bool
    """A van."""


@dataclass(frozen=True, slots=True)
class Pose:
    """A body in units of its height; x points ahead, y up, from the point between the feet."""

    feet: tuple[Point, Point] = ((-0.06, 0.0), (0.06, 0.0))
    hands: tuple[Point, Point] = ((-0.1, 0.45), (0.1, 0.45))
    hip: Point = (0.0, 0.5)
    neck: Point = (0.0, 0.82)
    turn: float = 0.0
    """Rotation about the feet in radians: pi / 2 lies on the ground, ahead."""


def draw_person(
    rng: np.random.Generator, palette: Palette, height: tuple[float, float] = (0.9, 1.1)
) -> Person:
    """Dress somebody at random."""
    shade = rng.uniform(0.35, 1.0)
    skin = (235 * shade, 190 * shade, 155 * shade)
    hair = (60 * rng.uniform(0.2, 2), 45 * rng.uniform(0.2, 1.5), 30.0)
    shirt, trousers = _cloth(rng, palette, 0.5, 1.0), _cloth(rng, palette, 0.12, 0.4)
    return Person(shirt, trousers, skin, hair, rng.uniform(*height))


def draw_car(rng: np.random.Generator, palette: Palette) -> Car:
    """Paint a car at random."""
    return Car(_cloth(rng, palette), rng.uniform(0.9, 1.1), bool(rng.random() < 0.3))


def _cloth(
    rng: np.random.Generator, palette: Palette, darkest: float = 0.2, brightest: float = 0.95
) -> Colour:
    hue, brightness = _hue(rng, palette), rng.uniform(darkest, brightest)
    red, green, blue = colorsys.hsv_to_rgb(hue, rng.uniform(0.25, 0.9), brightness)
    return 255 * red, 255 * green, 255 * blue


def _hue(rng: np.random.Generator, palette: Palette) -> float:
    while True:
        hue = float(rng.random())
        inside = any(low <= hue < high for low, high in HELD_OUT_HUES)
        if inside == (palette == "held out"):
            return hue


def person_rows(look: Person, at: Point, height: float, facing: int, pose: Pose) -> Rows:
    """The strokes of a person who stands at a point of the ground.

    `height` is that of a usual person there, in pixels; `facing` is 1 (right) or -1.
    """
    size = height * look.height
    cos, sin = math.cos(pose.turn), math.sin(pose.turn)

    def place(point: Point) -> Point:
        x, y = point[0] * cos + point[1] * sin, point[1] * cos - point[0] * sin
        return at[0] + facing * size * x, at[1] - size * y

    hip, neck = place(pose.hip), place(pose.neck)
    ahead = pose.neck[0] - pose.hip[0]
    head = place((pose.neck[0] + 0.3 * ahead, pose.neck[1] + 0.09))
    hair = place((pose.neck[0] + 0.3 * ahead - 0.015, pose.neck[1] + 0.13))
    shoulder = place((pose.neck[0], pose.neck[1] - 0.03))
    sleeve = tuple(0.8 * value for value in look.shirt)
    far, near = (place(point) for point in pose.hands)
    legs = [stroke(hip, place(foot), 0.05 * size, look.trousers) for foot in pose.feet]
    return [
        *part(ARM, [stroke(shoulder, far, 0.035 * size, (sleeve[0], sleeve[1], sleeve[2]))]),
        *part(LEG, legs),
        *part(TRUNK, [stroke(hip, neck, 0.085 * size, look.shirt)]),
        *part(HEAD, [disc(*hair, 0.075 * size, look.hair), disc(*head, 0.07 * size, look.skin)]),
        *part(ARM, [stroke(shoulder, near, 0.035 * size, (sleeve[0], sleeve[1], sleeve[2]))]),
        *part(ARM, [disc(*near, 0.035 * size, look.skin)]),
    ]


def standing(sway: float = 0.0) -> Pose:
    """Somebody stands, shifting their weight by `sway` in -1..1."""
    return Pose(hip=(0.01 * sway, 0.5), neck=(0.02 * sway, 0.82))


def walking(phase: float) -> Pose:
    """A step of walking; `phase` counts steps in radians."""
    swing = math.sin(phase)
    lift = 0.05 * max(0.0, math.cos(phase)), 0.05 * max(0.0, -math.cos(phase))
    return Pose(
        feet=((0.17 * swing, lift[0]), (-0.17 * swing, lift[1])),
        hands=((-0.14 * swing, 0.47), (0.14 * swing, 0.47)),
        neck=(0.03, 0.82),
    )


def running(phase: float) -> Pose:
    """A step of running: long strides, bent arms, the body leaning ahead."""
    swing = math.sin(phase)
    lift = 0.16 * max(0.0, math.cos(phase)), 0.16 * max(0.0, -math.cos(phase))
    hop = 0.03 * abs(math.cos(phase))
    return Pose(
        feet=((0.3 * swing, lift[0]), (-0.3 * swing, lift[1])),
        hands=((0.1 - 0.2 * swing, 0.62 + hop), (0.1 + 0.2 * swing, 0.62 + hop)),
        hip=(0.02, 0.5 + hop),
        neck=(0.13, 0.8 + hop),
    )


def car_rows(look: Car, at: Point, length: float, facing: int, tilt: float = 0.0) -> Rows:
    """The strokes of a car whose wheels stand at a point of the ground.

    `length` is that of a usual car there, in pixels; `tilt` rotates it, in radians.
    """
    size = length * look.length
    cos, sin = math.cos(tilt), math.sin(tilt)

    def place(x: float, y: float) -> Point:
        return at[0] + facing * size * (x * cos - y * sin), at[1] - size * (x * sin + y * cos)

    top = 0.36 if look.tall else 0.3
    back = -0.36 if look.tall else -0.2
    dark = tuple(0.55 * value for value in look.paint)
    glass: Colour = (150.0, 170.0, 185.0)
    wheels = [disc(*place(x, 0.06), 0.075 * size, (25.0, 25.0, 28.0)) for x in (-0.28, 0.28)]
    rows = [
        stroke(place(-0.45, 0.02), place(0.45, 0.02), 0.03 * size, (35.0, 35.0, 38.0), 0.5),
        stroke(place(back, top - 0.06), place(0.14, top - 0.06), 0.075 * size, look.paint),
        stroke(place(back + 0.04, top - 0.06), place(0.13, top - 0.06), 0.045 * size, glass),
        stroke(place(-0.4, 0.15), place(0.4, 0.15), 0.1 * size, look.paint),
        stroke(place(-0.42, 0.08), place(0.42, 0.08), 0.03 * size, (dark[0], dark[1], dark[2])),
        *wheels,
    ]
    front = disc(*place(0.46, 0.15), 0.05 * size, (255.0, 250.0, 215.0))
    rear = disc(*place(-0.47, 0.16), 0.045 * size, (225.0, 25.0, 25.0))
    return [*part(CAR, rows), *part(FRONT, [front]), *part(REAR, [rear])]
