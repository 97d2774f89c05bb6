"""Acts that are nothing special: people walk, wait and talk, cars drive by."""

from __future__ import annotations

import math

from demo.canvas import Drawing, disc, stroke, strokes
from demo.cast import Cast, fold, wobble
from demo.looks import Pose, car_rows, person_rows, standing, walking

Drawn = list[Drawing]
STEPS = 9.0
"""Radians of gait a second at walking pace."""


def empty(cast: Cast, time: float) -> Drawn:
    """Nobody is there."""
    return []


def pace_about(cast: Cast, number: int, time: float, y: float, speed: float) -> Drawing:
    """Person `number` walks to and fro at y, `speed` in body heights a second."""
    height = cast.scene.height(y)
    start = 240 * cast.chance[number]
    x, way = fold(start + cast.facing * speed * height * time, 14, 226)
    pose = walking(STEPS * speed / 0.75 * time + 6 * cast.chance[number])
    rows = person_rows(cast.people[number], (x, y), height, cast.facing * way, pose)
    return Drawing(y, strokes(rows))


def walk(cast: Cast, time: float) -> Drawn:
    """One person walks across the scene."""
    return [pace_about(cast, 0, time, cast.y, 0.6 + 0.3 * cast.chance[1])]


def stroll(cast: Cast, time: float) -> Drawn:
    """Three people walk, each their own way."""
    top, bottom = cast.scene.ground
    spread = 0.16 * (bottom - top)
    return [
        pace_about(
            cast, n, time, min(bottom, max(top, cast.y + (n - 1) * spread)), 0.55 + 0.1 * n
        )
        for n in range(3)
    ]  # fmt: skip


def arrive(cast: Cast, time: float) -> Drawn:
    """Two people walk in from both sides, to where they meet."""
    return _to_meet(cast, cast.seconds - time)


def leave(cast: Cast, time: float) -> Drawn:
    """Two people walk away from where they met."""
    return _to_meet(cast, time)


def _to_meet(cast: Cast, far: float) -> Drawn:
    """Two people `far` seconds of walking away from their meeting point."""
    leaving = -1 if far == cast.seconds else 1
    drawn = []
    for number, side in enumerate((-1, 1)):
        x = cast.x + side * (0.24 * cast.height + 0.75 * cast.height * far)
        pose = walking(STEPS * far + number)
        rows = person_rows(cast.people[number], (x, cast.y), cast.height, -side * leaving, pose)
        drawn.append(Drawing(cast.y, strokes(rows)))
    return drawn


def wait(cast: Cast, time: float) -> Drawn:
    """One person stands and waits."""
    pose = standing(wobble(cast.chance[2], time, 0.3))
    rows = person_rows(cast.people[0], (cast.x, cast.y), cast.height, cast.facing, pose)
    return [Drawing(cast.y, strokes(rows))]


def talk(cast: Cast, time: float) -> Drawn:
    """Two people stand facing each other and talk, with a gesture now and then."""
    drawn = []
    for number, side in enumerate((-1, 1)):
        lift = 0.16 * max(0.0, wobble(cast.chance[3 + number], time, 0.7))
        sway = 0.02 * wobble(cast.chance[5 + number], time, 0.4)
        pose = Pose(
            hands=((-0.05, 0.46), (0.13, 0.5 + lift)), hip=(sway, 0.5), neck=(1.5 * sway, 0.82)
        )
        at = (cast.x + side * 0.24 * cast.height, cast.y)
        rows = person_rows(cast.people[number], at, cast.height, -side, pose)
        drawn.append(Drawing(cast.y, strokes(rows)))
    return drawn


def drive(cast: Cast, time: float) -> Drawn:
    """Cars drive by, one after another, the way of their lane."""
    lane, length = cast.lane, cast.car_length
    speed = (70 + 40 * cast.chance[4]) * lane.direction
    span = 240 + length
    x = (240 * cast.chance[5] + speed * time + length / 2) % span - length / 2
    turn = math.floor((240 * cast.chance[5] + speed * time + length / 2) / span)
    rows = car_rows(cast.cars[turn % 2], (x, lane.y), length, lane.direction)
    return [Drawing(lane.y, strokes(rows))]


def cycle(cast: Cast, time: float) -> Drawn:
    """One person rides a bicycle."""
    height, look = cast.height, cast.people[0]
    speed = (1.3 + 0.3 * cast.chance[4]) * height
    x, way = fold(240 * cast.chance[5] + cast.facing * speed * time, 16, 224)
    facing = cast.facing * way
    pedal = 8.0 * time
    pose = Pose(
        feet=(
            (0.02 + 0.09 * math.cos(pedal), 0.2 + 0.09 * math.sin(pedal)),
            (0.02 - 0.09 * math.cos(pedal), 0.2 - 0.09 * math.sin(pedal)),
        ),
        hands=((0.28, 0.56), (0.28, 0.56)),
        hip=(-0.08, 0.52),
        neck=(0.08, 0.82),
    )
    at, tyre = (x, cast.y), (30.0, 30.0, 34.0)
    wheels = []
    for side in (-0.27, 0.27):
        hub = (x + facing * side * height, cast.y - 0.16 * height)
        wheels += [
            disc(*hub, 0.16 * height, tyre),
            disc(*hub, 0.115 * height, (150.0, 150.0, 150.0)),
        ]
    frame = [
        stroke(
            (x - facing * 0.27 * height, cast.y - 0.16 * height),
            (x + facing * 0.2 * height, cast.y - 0.42 * height), 0.025 * height, look.shirt,
        ),
        stroke(
            (x + facing * 0.27 * height, cast.y - 0.16 * height),
            (x + facing * 0.22 * height, cast.y - 0.54 * height), 0.025 * height, look.shirt,
        ),
    ]  # fmt: skip
    return [
        Drawing(cast.y, strokes([*wheels, *frame, *person_rows(look, at, height, facing, pose)]))
    ]
