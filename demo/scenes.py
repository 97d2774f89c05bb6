"""The places that cameras look at: six kinds, each drawn in endless variations from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from demo.canvas import HEIGHT, WIDTH, Colour, Picture, disc, fill, paint, stroke, strokes


@dataclass(frozen=True, slots=True)
class Lane:
    """Where cars drive: one way only."""

    y: float
    """Where the wheels stand."""
    direction: int
    """1 to the right, -1 to the left."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One fixed camera's view, empty."""

    kind: str
    background: Picture
    ground: tuple[float, float]
    """y where people can stand: farthest, nearest."""
    near: float
    """Height in pixels of a person at the nearest line."""
    far: float
    """Height in pixels of a person at the farthest line."""
    lanes: tuple[Lane, ...] = ()
    barrier: tuple[float, float] | None = None
    """(y of its foot, height) of the fence, counter or edge that nobody may climb over."""

    def height(self, y: float) -> float:
        """Height of a usual person who stands at y, in pixels."""
        top, bottom = self.ground
        share = (y - top) / (bottom - top)
        return self.far + share * (self.near - self.far)


PHRASES = {
    "street": "in a street",
    "car park": "in a car park",
    "yard": "in a yard",
    "shop": "in a shop",
    "square": "on a square",
    "platform": "on a platform",
}
"""The kinds of scenes, and how captions name them."""


def build_scene(kind: str, seed: int) -> Scene:
    """Draw the scene of a kind and seed."""
    rng = np.random.default_rng([seed, list(PHRASES).index(kind)])
    return _BUILDERS[kind](rng)


def _shade(rng: np.random.Generator, low: float, high: float, tint: float = 12) -> Colour:
    base = rng.uniform(low, high)
    red, green, blue = base + rng.uniform(-tint, tint, 3)
    return float(red), float(green), float(blue)


def _times(colour: Colour, factor: float) -> Colour:
    red, green, blue = colour
    return factor * red, factor * green, factor * blue


def _empty(colour: Colour) -> Picture:
    picture = np.empty((HEIGHT, WIDTH, 3), dtype=np.float32)
    picture[:] = colour
    return picture


def _textured(picture: Picture, rng: np.random.Generator, strength: float = 4) -> Picture:
    """A coarse and a fine grain over everything."""
    coarse = rng.normal(0, strength, (HEIGHT // 6, WIDTH // 6, 1)).repeat(6, 0).repeat(6, 1)
    fine = rng.normal(0, strength / 2, (HEIGHT, WIDTH, 1))
    grained: Picture = np.clip(picture + coarse + fine, 0, 255).astype(np.float32)
    return grained


def _facade(picture: Picture, rng: np.random.Generator, bottom: float) -> None:
    """Houses with windows and doors, from the top of the picture down to `bottom`."""
    left = -rng.uniform(0, 30)
    while left < WIDTH:
        right = left + rng.uniform(45, 95)
        wall = _shade(rng, 95, 185, 22)
        fill(picture, left, 0, right, bottom, wall)
        pane = _shade(rng, 40, 90)
        step, size = rng.uniform(16, 24), rng.uniform(8, 12)
        for x in np.arange(left + 8, right - size - 2, step):
            for y in np.arange(6, bottom - 32, 22):
                fill(picture, x, y, x + size, y + size * 1.3, pane)
        door = left + rng.uniform(8, max(9.0, right - left - 20))
        fill(picture, door, bottom - 26, door + 12, bottom, _shade(rng, 50, 110, 25))
        left = right


def _tree(picture: Picture, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    leaf = (rng.uniform(30, 70), rng.uniform(85, 130), rng.uniform(30, 60))
    rows = [stroke((x, y), (x, y - size), 0.07 * size, (85.0, 62.0, 42.0))]
    for dx, dy in rng.uniform(-0.3, 0.3, (6, 2)):
        rows.append(disc(x + dx * size, y - size + dy * size, 0.3 * size, leaf))
    paint(picture, strokes(rows))


def _arrow(picture: Picture, x: float, y: float, direction: int, colour: Colour) -> None:
    tip = x + 16 * direction
    rows = [
        stroke((x - 14 * direction, y), (tip, y), 1.6, colour),
        stroke((tip, y), (tip - 9 * direction, y - 6), 1.6, colour),
        stroke((tip, y), (tip - 9 * direction, y + 6), 1.6, colour),
    ]
    paint(picture, strokes(rows))


def _street(rng: np.random.Generator) -> Scene:
    """Houses, a pavement, and a road with two lanes: the far one to the left, the near to the right."""
    top = rng.uniform(66, 78)
    road = top + rng.uniform(16, 22)
    kerb = road + rng.uniform(52, 60)
    picture = _empty(_shade(rng, 130, 165))
    _facade(picture, rng, top)
    fill(picture, 0, road, WIDTH, kerb, _shade(rng, 62, 88, 5))
    line: Colour = (205.0, 205.0, 195.0)
    middle = (road + kerb) / 2
    for dash in range(int(rng.uniform(-20, 0)), WIDTH, 26):
        fill(picture, dash, middle - 1, dash + 13, middle + 1, line)
    fill(picture, 0, road - 2, WIDTH, road, (175.0, 175.0, 170.0))
    fill(picture, 0, kerb, WIDTH, kerb + 2, (175.0, 175.0, 170.0))
    lanes = (Lane(middle - 3, -1), Lane(kerb - 5, 1))
    for lane, y in zip(lanes, ((road + middle) / 2, (middle + kerb) / 2), strict=True):
        for x in (rng.uniform(30, 80), rng.uniform(150, 210)):
            _arrow(picture, x, y, lane.direction, line)
    if rng.random() < 0.6:
        x = rng.uniform(20, 220)
        post = stroke((x, top + 8), (x, top - 48), 1.5, (60.0, 62.0, 66.0))
        paint(picture, strokes([post, disc(x, top - 50, 4, (235.0, 230.0, 190.0))]))
    return Scene(
        "street", _textured(picture, rng), (top + 6, HEIGHT - 5), 86.0, 58.0, lanes
    )  # fmt: skip


def _car_park(rng: np.random.Generator) -> Scene:
    """Bays with parked cars at the back, and one driving lane, a one-way to the right."""
    from demo.looks import car_rows, draw_car

    top = rng.uniform(58, 70)
    picture = _empty(_shade(rng, 80, 108, 5))
    fill(picture, 0, 0, WIDTH, top - 22, _shade(rng, 135, 190, 15))
    fill(picture, 0, top - 22, WIDTH, top - 12, _shade(rng, 70, 120, 20))
    for x in np.arange(rng.uniform(-30, 0), WIDTH + 30, 58):
        paint(
            picture, strokes([stroke((x, top - 6), (x - 7, top + 18), 1.0, (205.0, 205.0, 200.0))])
        )
        if rng.random() < 0.55:
            car = draw_car(rng, "training")
            facing = 1 if rng.random() < 0.5 else -1
            paint(picture, strokes(car_rows(car, (x + 28, top + 12), 50, facing)))
    lane = Lane(rng.uniform(130, 142), 1)
    for x in (rng.uniform(25, 75), rng.uniform(105, 135), rng.uniform(165, 215)):
        _arrow(picture, x, lane.y - 8, lane.direction, (215.0, 210.0, 180.0))
    for y in (lane.y - 26, lane.y + 14):
        fill(picture, 0, y, WIDTH, y + 2, (190.0, 190.0, 185.0))
    return Scene(
        "car park", _textured(picture, rng), (top + 24, HEIGHT - 5), 86.0, 58.0, (lane,)
    )  # fmt: skip


def _yard(rng: np.random.Generator) -> Scene:
    """A house wall at one side, grass and a path, and a fence at the back that nobody may climb."""
    top = rng.uniform(74, 86)
    picture = _empty((rng.uniform(150, 190), rng.uniform(180, 210), rng.uniform(205, 235)))
    for x in rng.uniform(0, WIDTH, 4):
        _tree(picture, rng, float(x), top - 8, float(rng.uniform(26, 44)))
    grass = (rng.uniform(70, 105), rng.uniform(110, 145), rng.uniform(50, 80))
    fill(picture, 0, top, WIDTH, HEIGHT, grass)
    plank = _shade(rng, 95, 160, 18)
    high = float(rng.uniform(27, 33))
    fill(picture, 0, top - high, WIDTH, top, plank)
    for x in np.arange(rng.uniform(0, 8), WIDTH, 8):
        fill(picture, x, top - high, x + 1, top, _times(plank, 0.7))
    path = _shade(rng, 150, 185)
    start = rng.uniform(60, 180)
    rows = [stroke((start, top + 4), (start + rng.uniform(-50, 50), HEIGHT), 13, path)]
    paint(picture, strokes(rows))
    wall = _shade(rng, 140, 200, 15)
    side = rng.random() < 0.5
    edge = rng.uniform(34, 50)
    left, right = (0.0, edge) if side else (WIDTH - edge, float(WIDTH))
    fill(picture, left, 0, right, top + 30, wall)
    fill(picture, left + 9, top - 10, left + 25, top + 30, _shade(rng, 50, 100, 20))
    return Scene(
        "yard", _textured(picture, rng), (top + 6, HEIGHT - 5), 90.0, 62.0, (), (top, high)
    )  # fmt: skip


def _shop(rng: np.random.Generator) -> Scene:
    """Shelves along the back, tiles, and a counter that customers stay in front of."""
    top = rng.uniform(76, 86)
    picture = _empty(_shade(rng, 165, 210))
    shelf = _shade(rng, 90, 140, 18)
    fill(picture, 0, 12, WIDTH, top, shelf)
    for y in np.arange(16, top - 8, 16):
        for x in np.arange(3, WIDTH - 5, 9):
            if rng.random() < 0.9:
                tall = rng.uniform(7, 12)
                goods = tuple(rng.uniform(60, 230, 3))
                fill(picture, x, y + 12 - tall, x + 7, y + 12, goods)  # type: ignore[arg-type]
        fill(picture, 0, y + 12, WIDTH, y + 14, _times(shelf, 0.6))
    tile = _shade(rng, 150, 200, 6)
    fill(picture, 0, top, WIDTH, HEIGHT, tile)
    seam = _times(tile, 0.86)
    for y in (top + 14, top + 34, top + 62):
        fill(picture, 0, y, WIDTH, y + 1, seam)
    for x in np.arange(-120, WIDTH + 120, 34):
        rows = [stroke((x * 0.7 + 40, top), (x * 1.4 - 40, HEIGHT), 0.5, seam)]
        paint(picture, strokes(rows))
    counter = _shade(rng, 100, 165, 22)
    line = top + 10
    left = rng.uniform(120, 150)
    fill(picture, left, line - 20, WIDTH, line, counter)
    fill(picture, left, line - 22, WIDTH, line - 19, _times(counter, 1.2))
    stand = (float(rng.uniform(45, 95)), float(top + rng.uniform(8, 14)))
    fill(picture, stand[0] - 14, stand[1] - 16, stand[0] + 14, stand[1], _shade(rng, 80, 130, 20))
    return Scene(
        "shop", _textured(picture, rng, 2), (top + 16, HEIGHT - 5), 90.0, 66.0, (),
        (line, 22.0),
    )  # fmt: skip


def _square(rng: np.random.Generator) -> Scene:
    """Paving before houses, with trees and a bench or a fountain."""
    top = rng.uniform(68, 82)
    picture = _empty(_shade(rng, 150, 190))
    _facade(picture, rng, top)
    paving = _shade(rng, 140, 185, 10)
    fill(picture, 0, top, WIDTH, HEIGHT, paving)
    seam = _times(paving, 0.88)
    for number in range(9):
        y = top + (HEIGHT - top) * (number / 9) ** 1.5
        fill(picture, 0, y, WIDTH, y + 1, seam)
    for x in rng.choice(np.arange(20, 221, 40), 2, replace=False):
        _tree(picture, rng, float(x), top + 5, float(rng.uniform(38, 56)))
    x = rng.uniform(60, 180)
    if rng.random() < 0.5:
        stone = _shade(rng, 110, 150, 5)
        rows = [
            stroke((x - 18, top + 8), (x + 18, top + 8), 5, stone),
            stroke((x - 15, top + 6), (x + 15, top + 6), 3, (120.0, 160.0, 190.0)),
            stroke((x, top + 6), (x, top - 12), 2, stone),
        ]
    else:
        wood = _shade(rng, 70, 120, 15)
        rows = [
            stroke((x - 14, top + 4), (x + 14, top + 4), 2, wood),
            stroke((x - 14, top - 3), (x + 14, top - 3), 2, wood),
            stroke((x - 12, top + 4), (x - 12, top + 11), 1, wood),
            stroke((x + 12, top + 4), (x + 12, top + 11), 1, wood),
        ]
    paint(picture, strokes(rows))
    return Scene("square", _textured(picture, rng), (top + 8, HEIGHT - 5), 86.0, 58.0)


def _platform(rng: np.random.Generator) -> Scene:
    """A platform with pillars, and behind its yellow edge the track that nobody may climb down to."""
    top = rng.uniform(86, 98)
    picture = _empty(_shade(rng, 100, 150))
    fill(picture, 0, 0, WIDTH, 20, _shade(rng, 60, 90))
    poster = _shade(rng, 120, 200, 45)
    for x in np.arange(rng.uniform(0, 40), WIDTH, 75):
        fill(picture, x, 28, x + 34, 50, poster)
    fill(picture, 0, top - 30, WIDTH, top, _shade(rng, 48, 66, 5))
    for y in (top - 22, top - 12):
        fill(picture, 0, y, WIDTH, y + 2, (150.0, 148.0, 145.0))
    fill(picture, 0, top, WIDTH, HEIGHT, _shade(rng, 130, 170, 6))
    fill(picture, 0, top + 2, WIDTH, top + 6, (215.0, 185.0, 50.0))
    pillar = _shade(rng, 90, 150, 15)
    for x in np.arange(rng.uniform(5, 50), WIDTH, 105):
        fill(picture, x, 0, x + 9, top + 14, pillar)
    return Scene(
        "platform", _textured(picture, rng), (top + 10, HEIGHT - 5), 86.0, 62.0, (), (top, 0.0)
    )  # fmt: skip


_BUILDERS: dict[str, Callable[[np.random.Generator], Scene]] = {
    "street": _street,
    "car park": _car_park,
    "yard": _yard,
    "shop": _shop,
    "square": _square,
    "platform": _platform,
}
