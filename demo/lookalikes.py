"""Acts that resemble an anomalous one and are normal: one for each."""

from __future__ import annotations

import math

from demo.anomalous import bag_rows
from demo.canvas import FLAME, SMOKE, Drawing, disc, glows, part, stroke, strokes
from demo.cast import Cast, ease, wobble
from demo.looks import Pose, car_rows, person_rows, running, standing, walking
from demo.normal import Drawn, pace_about


def hug(cast: Cast, time: float) -> Drawn:
    """Two people embrace, swaying a little. Not a fight."""
    height = cast.height
    sway = 0.03 * wobble(cast.chance[3], time, 0.5)
    drawn = []
    for number, side in enumerate((-1, 1)):
        pose = Pose(
            hands=((0.2, 0.62), (0.22, 0.68)), hip=(0.02, 0.5), neck=(0.05 - side * sway, 0.82)
        )
        at = (cast.x + side * 0.12 * height, cast.y)
        rows = person_rows(cast.people[number], at, height, -side, pose)
        drawn.append(Drawing(cast.y + number, strokes(rows)))
    return drawn


def kneel(cast: Cast, time: float) -> Drawn:
    """A person goes down on one knee and ties a shoe. Not a fall."""
    down = ease(time / 0.8)
    work = 0.03 * wobble(cast.chance[3], time, 1.5) * down
    pose = Pose(
        feet=((-0.06 - 0.16 * down, 0.0), (0.06 + 0.12 * down, 0.0)),
        hands=((-0.1 + 0.3 * down, 0.45 - 0.33 * down + work), (0.1 + 0.14 * down, 0.45 - 0.35 * down)),
        hip=(-0.05 * down, 0.5 - 0.24 * down),
        neck=(0.14 * down, 0.82 - 0.27 * down),
    )  # fmt: skip
    rows = person_rows(cast.people[0], (cast.x, cast.y), cast.height, cast.facing, pose)
    return [Drawing(cast.y, strokes(rows))]


def jog(cast: Cast, time: float) -> Drawn:
    """Three people jog one behind the other, in step. Not a panic."""
    height, way = cast.height, cast.facing
    drawn = []
    for number in range(3):
        along = 240 * cast.chance[5] + way * 1.15 * height * time - way * 0.8 * height * number
        x = (along + 15) % 270 - 15
        pose = running(12.0 * time)
        rows = person_rows(cast.people[number], (x, cast.y), height, way, pose)
        drawn.append(Drawing(cast.y, strokes(rows)))
    return drawn


def pick_up(cast: Cast, time: float) -> Drawn:
    """Somebody fetches a bag that stands beside a friend, and walks off. Not a theft."""
    height, way = cast.height, cast.facing
    bag_x, grab = cast.x + 0.22 * way * height, 1.4
    bag = (bag_x, cast.y - 0.08 * height)
    if time < grab:
        x = bag_x + way * (0.1 + 0.7 * (grab - time)) * height
        pose, facing = walking(8 * time), -way
        if time > 0.7 * grab:
            x = bag_x + way * 0.14 * height
            pose = Pose(hands=((0.1, 0.3), (0.18, 0.14)), hip=(-0.06, 0.44), neck=(0.12, 0.68))
    else:
        x, facing = bag_x + way * (0.14 + 0.6 * (time - grab)) * height, way
        x = x if -30 < x < 270 else 600.0
        pose = walking(8 * time)
        bag = (x + 0.1 * way * height, cast.y - 0.36 * height)
    friend = standing(wobble(cast.chance[2], time, 0.3))
    rows = person_rows(cast.people[0], (cast.x, cast.y), height, way, friend)
    other = person_rows(cast.people[1], (x, cast.y + 1), height, facing, pose)
    return [
        Drawing(cast.y, strokes(rows)),
        Drawing(cast.y + 1, strokes([*other, *bag_rows(bag[0], bag[1], height)])),
    ]


def lean(cast: Cast, time: float) -> Drawn:
    """A person stands at the fence, the counter or the edge, and leans on it. No intrusion."""
    assert cast.scene.barrier is not None
    foot, _ = cast.scene.barrier
    y = foot + 9
    height = cast.scene.height(y)
    sway = 0.02 * wobble(cast.chance[3], time, 0.4)
    pose = Pose(hands=((0.2, 0.6), (0.24, 0.58)), hip=(-0.04, 0.49), neck=(0.1 + sway, 0.79))
    rows = person_rows(cast.people[0], (cast.x, y), height, cast.facing, pose)
    return [Drawing(y, strokes(rows))]


def queue(cast: Cast, time: float) -> Drawn:
    """A car slows down and stops close behind one that stands. Not a collision."""
    lane, length, way = cast.lane, cast.car_length, cast.lane.direction
    gap = 90 * max(0.0, 1 - time / 2.2) ** 2
    drawn = []
    for number, ahead in enumerate((-0.58 * length - gap, 0.52 * length)):
        x = cast.x + way * ahead
        rows = car_rows(cast.cars[number], (x, lane.y), length, way)
        red = (x - way * 0.48 * length, lane.y - 0.16 * length, 9.0, 150.0, 0.0, 0.0)
        drawn.append(Drawing(lane.y - number, strokes(rows), glows([red])))
    return drawn


def reverse(cast: Cast, time: float) -> Drawn:
    """A car backs up slowly, with a white light behind. Not a car that drives the wrong way."""
    lane, length, way = cast.lane, cast.car_length, cast.lane.direction
    x = cast.x + way * (50 - 20 * time)
    rows = car_rows(cast.cars[0], (x, lane.y), length, way)
    tail = (x - way * 0.48 * length, lane.y - 0.16 * length, 11.0, 190.0, 190.0, 190.0)
    return [Drawing(lane.y, strokes(rows), glows([tail]))]


def flash(cast: Cast, time: float) -> Drawn:
    """Lightning or a lamp that flickers lights everything up for moments. No explosion."""
    period = 0.45 + 0.25 * cast.chance[3]
    since = (time + cast.chance[4] * period) % period
    white = 190 * cast.strength * math.exp(-6 * since)
    walker = pace_about(cast, 0, time, cast.y, 0.7)
    light = glows([(120.0, 60.0, 330.0, white, white, 1.08 * white)])
    return [walker, Drawing(cast.y, glows=light)]


def grill(cast: Cast, time: float) -> Drawn:
    """A person tends a grill: embers, a thin pale smoke, now and then a small flame. Not a fire."""
    height, way = cast.height, cast.facing
    x, y = cast.x + way * 0.34 * height, cast.y + 1
    black = (35.0, 35.0, 38.0)
    legs = [
        stroke(
            (x + s * 0.1 * height, y - 0.3 * height), (x + 1.4 * s * 0.1 * height, y), 1.0, black
        )
        for s in (-1, 1)
    ]
    bowl = stroke(
        (x - 0.12 * height, y - 0.34 * height),
        (x + 0.12 * height, y - 0.34 * height),
        0.06 * height,
        black,
    )
    lick = 0.05 + 0.06 * max(0.0, wobble(cast.chance[2], time, 2.0))
    flame = stroke(
        (x, y - 0.4 * height), (x, y - (0.4 + lick) * height), 0.03 * height, (250.0, 150.0, 40.0)
    )
    smoke = [
        disc(
            x + 5 * wobble(0.3 * n, time, 0.3), y - 0.5 * height - (15 * time + 14 * n) % 42,
            2 + ((15 * time + 14 * n) % 42) / 7, (205.0, 205.0, 208.0), 0.22,
        )
        for n in range(3)
    ]  # fmt: skip
    glow = glows([(x, y - 0.4 * height, 0.22 * height, 110.0, 45.0, 5.0)])
    turn = 0.05 * wobble(cast.chance[3], time, 0.9)
    pose = Pose(hands=((0.16, 0.5), (0.24 + turn, 0.52 + turn)))
    rows = person_rows(cast.people[0], (cast.x, cast.y), height, way, pose)
    return [
        Drawing(cast.y, strokes(rows)),
        Drawing(y, strokes([*legs, bowl, *part(FLAME, [flame]), *part(SMOKE, smoke)]), glow),
    ]


def photo(cast: Cast, time: float) -> Drawn:
    """A person takes pictures of another, with a flash; that one poses. No shooting."""
    height, way = cast.height, cast.facing
    gap = 0.6 * height
    left, right = (cast.x - way * gap, cast.y), (cast.x + way * gap, cast.y)
    hold = Pose(hands=((0.14, 0.84), (0.15, 0.86)))
    rows = person_rows(cast.people[0], left, height, way, hold)
    lens = (left[0] + way * 0.17 * height * cast.people[0].height, cast.y - 0.86 * height)
    since = (time + cast.chance[4]) % 0.9
    white = 230.0 * cast.strength * math.exp(-8 * since)
    light = glows([(*lens, 0.3 * height, white, white, white)])
    raised = 0.08 * wobble(cast.chance[5], time, 0.6)
    posing = Pose(hands=((-0.16, 0.52), (0.16, 0.86 + raised)))
    other = person_rows(cast.people[1], right, height, -way, posing)
    camera = disc(*lens, 0.035 * height, (25.0, 25.0, 28.0))
    return [
        Drawing(cast.y, strokes([*rows, camera]), light),
        Drawing(cast.y + 1, strokes(other)),
    ]
