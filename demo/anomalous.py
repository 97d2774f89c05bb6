"""Acts that a guard would want to be told of.

They mirror classes of UCF-Crime and XD-Violence: RoadAccidents (collision, wrong way), Explosion,
Arson (fire), Fighting, Assault (fall), Riot (panic), Stealing and Robbery (theft), Burglary
(intrusion), Shooting.
"""

from __future__ import annotations

import math

from demo.canvas import FLAME, SMOKE, Drawing, disc, glows, part, stroke, strokes
from demo.cast import Cast, ease, fold, wobble
from demo.looks import Pose, car_rows, person_rows, running, walking
from demo.normal import Drawn

BAG = (120.0, 60.0, 30.0)


def fight(cast: Cast, time: float) -> Drawn:
    """Two people strike and shove each other, fast and without rhythm."""
    height, power = cast.height, cast.strength
    drawn = []
    for number, side in enumerate((-1, 1)):
        own = cast.chance[3 + number]
        lunge = wobble(own, time, 1.5)
        step = 0.2 + 0.09 * power * wobble(cast.chance[6], time, 1.1) + 0.05 * power * lunge
        blow = max(0.0, wobble(own + 0.3, time, 2.2)) * power
        other = max(0.0, wobble(own + 0.7, time, 2.4)) * power
        pose = Pose(
            feet=((-0.2, 0.0), (0.16 + 0.05 * lunge, 0.05 * max(0.0, lunge))),
            hands=((0.1 + 0.25 * other, 0.66), (0.14 + 0.3 * blow, 0.7 + 0.12 * blow)),
            hip=(-0.02, 0.46),
            neck=(0.1 + 0.14 * power * lunge, 0.78),
        )
        at = (cast.x + side * step * height, cast.y)
        rows = person_rows(cast.people[number], at, height, -side, pose)
        drawn.append(Drawing(cast.y + number, strokes(rows)))
    return drawn


def fall(cast: Cast, time: float) -> Drawn:
    """A person collapses and stays on the ground."""
    down = min(1.0, time / (0.5 + 0.25 * cast.level)) ** 2
    stir = 0.03 * wobble(cast.chance[3], time, 0.6)
    pose = Pose(
        hands=((-0.2 + stir, 0.6), (0.2, 0.75 + stir)),
        hip=(0.03, 0.5 - 0.04 * down),
        turn=1.5 * down,
    )
    at = (cast.x - cast.facing * 0.3 * cast.height * down, cast.y)
    rows = person_rows(cast.people[0], at, cast.height, cast.facing, pose)
    return [Drawing(cast.y, strokes(rows))]


def panic(cast: Cast, time: float) -> Drawn:
    """People run apart from one point, every one another way."""
    top, bottom = cast.scene.ground
    drawn = []
    for number in range(6 - cast.level):
        way = 1 if number % 2 else -1
        y = min(bottom, max(top, cast.y + (number - 2) * 0.1 * (bottom - top)))
        height = cast.scene.height(y)
        speed = (1.3 + 0.5 * cast.chance[number]) * height
        x, turned = fold(cast.x + 5 * number + way * speed * time, -8, 248)
        pose = running(15.0 * time + 9 * cast.chance[number])
        rows = person_rows(cast.people[number], (x, y), height, way * turned, pose)
        drawn.append(Drawing(y, strokes(rows)))
    return drawn


def theft(cast: Cast, time: float) -> Drawn:
    """Somebody snatches the bag beside a person who waits, and runs off with it."""
    height, way = cast.height, cast.facing
    bag_x, grab = cast.x + 0.22 * way * height, 1.0
    if time < grab:
        x = bag_x + way * (0.1 + 1.1 * (grab - time)) * height
        pose, facing = walking(11 * time), -way
        bag = (bag_x, cast.y - 0.08 * height)
        if time > 0.75 * grab:
            pose = Pose(hands=((0.1, 0.3), (0.2, 0.14)), hip=(-0.08, 0.42), neck=(0.14, 0.66))
    else:
        x = bag_x + way * (0.1 + 1.25 * (time - grab)) * height
        x, facing = (x, way) if -30 < x < 270 else (600.0, way)
        pose = running(15 * time)
        bag = (x + 0.22 * way * height, cast.y - 0.5 * height)
    thief = person_rows(cast.people[1], (x, cast.y + 1), height, facing, pose)
    alarm = ease((time - grab) / 0.3)
    wave = 0.08 * wobble(cast.chance[5], time, 2.0) * alarm
    victim = Pose(
        hands=(
            (-0.1 - 0.1 * alarm, 0.45 + 0.5 * alarm - wave),
            (0.1 + 0.15 * alarm, 0.45 + 0.5 * alarm + wave),
        ),
        neck=(0.1 * alarm, 0.82),
    )
    rows = person_rows(cast.people[0], (cast.x, cast.y), height, way, victim)
    return [
        Drawing(cast.y, strokes(rows)),
        Drawing(cast.y + 1, strokes([*thief, *bag_rows(bag[0], bag[1], height)])),
    ]


def bag_rows(x: float, y: float, height: float) -> list[tuple[float, ...]]:
    """A bag around a point."""
    wide = 0.07 * height
    handle = stroke((x - wide / 2, y - 1.3 * wide), (x + wide / 2, y - 1.3 * wide), 1.0, BAG)
    return [stroke((x - wide, y), (x + wide, y), 0.085 * height, BAG), handle]


def intrusion(cast: Cast, time: float) -> Drawn:
    """Somebody climbs over the fence or the counter, or down to the track."""
    assert cast.scene.barrier is not None
    foot, high = cast.scene.barrier
    height = cast.scene.height(foot + 4)
    look, way = cast.people[0], cast.facing
    done = time / min(cast.seconds, 3.5 + cast.level)
    if not high:  # a track: nothing to climb, only an edge to step over
        y = foot + 6 - 18 * ease(done / 0.3)
        x, turned = fold(cast.x + way * 0.6 * height * time, 14, 226)
        rows = person_rows(look, (x, y), height, way * turned, walking(8 * time))
        return [Drawing(y, strokes(rows))]
    top = foot - high
    if done < 0.45:
        y = foot + 3 - (high + 3) * ease(done / 0.45)
        reach = 0.06 * wobble(cast.chance[3], time, 2.0)
        pose = Pose(
            feet=((-0.12, 0.06 + reach), (0.12, 0.1 - reach)),
            hands=((0.2, 0.95 - reach), (-0.15, 0.95 + reach)),
        )
    elif done < 0.7:
        y = top
        lean = ease((done - 0.45) / 0.2)
        pose = Pose(
            feet=((-0.25, 0.0), (0.22, 0.06)),
            hands=((0.3, 0.05), (0.36, 0.05)),
            hip=(-0.05, 0.26),
            neck=(0.2 + 0.1 * lean, 0.42),
        )
    else:
        y = top + (high + 5) * ease((done - 0.7) / 0.12)
        pose = Pose(
            feet=walking(7 * time).feet, hands=((0.2, 0.3), (0.24, 0.34)), hip=(-0.05, 0.4),
            neck=(0.16, 0.64),
        )  # fmt: skip
    walked = 0.55 * height * max(0.0, time - 0.8 * min(cast.seconds, 3.5 + cast.level))
    x, turned = fold(cast.x + way * walked, 20, 220)
    rows = person_rows(look, (x, y), height, way * turned, pose)
    return [Drawing(max(y, foot), strokes(rows))]


def collision(cast: Cast, time: float) -> Drawn:
    """Two cars crash and stand wrecked, tilted, smoking, with warning lights."""
    lane, length = cast.lane, cast.car_length
    power, way = cast.strength, cast.lane.direction
    jolt = math.exp(-3 * time)
    arrive = max(0.0, 0.35 - time) * 220
    x, y = cast.x, lane.y
    drawn = []
    spots = ((-0.46, 0.13, way), (0.44, -0.16, -way if cast.chance[7] < 0.5 else way))
    for number, (side, tilt, facing) in enumerate(spots):
        hit = ease((time - 0.3) / 0.15)
        at = (
            x
            + way * (side * length + (12 * side) * hit * (1 - jolt))
            - way * arrive * (1 - number),
            y - number * 7 * hit,
        )
        turn = power * tilt * hit * (1 + 0.8 * jolt * math.sin(30 * time))
        rows = car_rows(cast.cars[number], at, length, facing, turn)
        drawn.append(Drawing(y - number, strokes(rows)))
    drawn.append(_debris(cast, x, y, time - 0.35))
    smoke = [
        disc(
            x + 8 * wobble(0.1 * n, time, 0.2),
            y - 0.25 * length - (14 * time + 11 * n) % 44,
            (4 + 1.3 * ((14 * time + 11 * n) % 44) / 6) * power, (175.0, 175.0, 178.0), 0.3 * power,
        )
        for n in range(4)
    ]  # fmt: skip
    blink = 150.0 * (math.sin(9 * time) > 0) * (time > 0.4)
    lights = [
        (x + s * length, y - 0.16 * length, 12.0, blink, 0.6 * blink, 0.0) for s in (-0.9, 0.9)
    ]
    if time > 0.35:
        drawn.append(Drawing(y + 1, strokes(part(SMOKE, smoke)), glows(lights)))
    return drawn


def _debris(cast: Cast, x: float, y: float, time: float) -> Drawing:
    """What flies off at an impact and then lies about."""
    rows = []
    for number, chance in enumerate(cast.chance):
        if time <= 0:
            break
        speed = 90 * (chance - 0.5) * cast.strength
        flight = min(time, 0.8)
        rise = max(0.0, 60 * (0.4 + cast.chance[-1 - number]) * flight - 90 * flight * flight)
        at = (x + speed * flight, y + 3 * math.sin(9 * chance) - rise)
        rows.append(disc(*at, 1.3 + chance, (50.0, 50.0, 55.0)))
    return Drawing(y + 2, strokes(rows))


def wrong_way(cast: Cast, time: float) -> Drawn:
    """A car drives against the way of its lane."""
    lane, length = cast.lane, cast.car_length
    way = -lane.direction
    speed = (75 + 35 * cast.chance[4]) * way
    span = 240 + length
    x = (240 * cast.chance[5] + speed * time + length / 2) % span - length / 2
    rows = car_rows(cast.cars[0], (x, lane.y), length, way)
    return [Drawing(lane.y, strokes(rows))]


def explosion(cast: Cast, time: float) -> Drawn:
    """A ball of fire bursts, rolls up and turns into dark smoke over small flames."""
    size = 0.9 * cast.height * cast.strength
    x, y = cast.x, cast.y
    grow = 1 - math.exp(-4 * time)
    heat = math.exp(-1.3 * time)
    smoke, balls, lights = [], [], []
    for n in range(7):
        angle, own = 0.9 * n, cast.chance[n]
        reach = size * grow * (0.35 + 0.4 * own)
        rise = size * (0.25 + 0.35 * own) * min(time, 3)
        cx = x + reach * math.cos(angle) + 4 * wobble(own, time, 0.5)
        cy = y - 0.3 * size - 0.6 * reach * abs(math.sin(angle)) - rise
        dark = 55 + 20 * own
        smoke.append(disc(cx, cy, size * (0.25 + 0.3 * grow), (dark, dark, dark), 0.75))
        ball = size * (0.2 + 0.25 * own) * grow * heat
        balls.append(
            disc(cx, y - 0.3 * size - 0.6 * rise, ball, (255.0, 130 + 80 * own, 40.0), heat)
        )
    lights.append((x, y - 0.4 * size, 3.2 * size, 230 * heat, 130 * heat, 40 * heat))
    if time < 0.25 and cast.level < 3:
        white = 150 * (1 - time / 0.25)
        lights.append((x, y, 320.0, white, white, 0.9 * white))
    burn = _flames(cast, x, y, 0.22 * size, time)
    rows = [*part(SMOKE, smoke), *part(FLAME, balls), *burn]
    return [Drawing(y, strokes(rows), glows(lights)), _debris(cast, x, y, time)]


def fire(cast: Cast, time: float) -> Drawn:
    """Flames flicker and spread on the ground, under dark smoke."""
    size = cast.height * cast.strength * (0.32 + 0.35 * ease(time / cast.seconds))
    x, y = cast.x, cast.y
    rows = [
        disc(
            x + 0.3 * size * wobble(0.2 * n, time, 0.3),
            y - size - (0.6 * size * time + 0.5 * size * n) % (2.2 * size),
            0.4 * size, (70.0, 66.0, 64.0), 0.28,
        )
        for n in range(5)
    ]  # fmt: skip
    flicker = 1 + 0.2 * wobble(cast.chance[2], time, 4)
    lights = [(x, y - 0.5 * size, 2.6 * size, 120 * flicker, 55 * flicker, 10.0)]
    return [
        Drawing(y, strokes([*part(SMOKE, rows), *_flames(cast, x, y, size, time)]), glows(lights))
    ]


def _flames(cast: Cast, x: float, y: float, size: float, time: float) -> list[tuple[float, ...]]:
    """Tongues of flame as wide as `size` to both sides of a point."""
    rows = []
    for n in range(9):
        own = cast.chance[n]
        flick = 0.75 + 0.35 * wobble(own, time, 3.5)
        foot = x + size * (n - 4) / 4.5
        tall = size * (1.15 - abs(n - 4) / 6) * flick
        tip = (foot + 0.25 * size * wobble(own + 0.5, time, 2), y - tall)
        rows.append(stroke((foot, y), tip, 0.16 * size, (240.0, 90 + 50 * own, 20.0), 0.9))
        middle = (foot, y - 0.45 * tall)
        rows.append(stroke((foot, y), middle, 0.1 * size, (255.0, 215.0, 90.0), 0.9))
    return part(FLAME, rows)


def shooting(cast: Cast, time: float) -> Drawn:
    """A person with an outstretched arm fires; the other is hit and goes down."""
    height, way = cast.height, cast.facing
    gap = 0.6 * height
    left, right = (cast.x - way * gap, cast.y), (cast.x + way * gap, cast.y)
    kick = 0.04 * max(0.0, math.sin(15 * time))
    aim = Pose(hands=((0.34, 0.76 + kick), (0.36, 0.77 + kick)), neck=(-0.03, 0.82))
    shooter = person_rows(cast.people[0], left, height, way, aim)
    muzzle = (left[0] + way * 0.44 * height * cast.people[0].height, cast.y - 0.78 * height)
    hot = 230.0 * (math.sin(15 * time) > 0.2)
    down = min(1.0, max(0.0, time - 0.4) / 0.7) ** 2
    hit = Pose(
        hands=((0.05, 0.55), (0.08, 0.6)), hip=(-0.03, 0.48), neck=(-0.12, 0.8), turn=-1.5 * down
    )
    victim = person_rows(cast.people[1], right, height, -way, hit)
    flash = glows([(*muzzle, 0.26 * height * cast.strength, hot, 0.9 * hot, 0.5 * hot)])
    gun = stroke((muzzle[0] - 0.1 * way * height, muzzle[1]), muzzle, 1.2, (30.0, 30.0, 30.0))
    return [
        Drawing(cast.y, strokes([*shooter, gun]), flash),
        Drawing(cast.y + 1, strokes(victim)),
    ]
