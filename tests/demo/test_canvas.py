"""Strokes: what they cover, and what they are parts of."""

from __future__ import annotations

import numpy as np

from demo.canvas import (
    CAR,
    FLAME,
    FRONT,
    HEAD,
    HEIGHT,
    LEG,
    REAR,
    SMOKE,
    WIDTH,
    disc,
    paint,
    stroke,
    strokes,
)
from tests.demo.stories import story_of


def test_a_stroke_covers_the_pixels_within_its_radius() -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)
    paint(picture, strokes([stroke((60.0, 50.0), (90.0, 80.0), 6.0, (200.0, 100.0, 50.0))]))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    along = np.clip(((x - 60) * 30 + (y - 50) * 30) / 1800, 0, 1)
    distance = np.hypot(x - 60 - 30 * along, y - 50 - 30 * along)
    assert np.all(picture[distance < 5.4] == (200, 100, 50))
    assert np.all(picture[distance > 6.6] == 0)


def test_what_lies_outside_of_the_picture_is_cut_off() -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)
    paint(picture, strokes([disc(-50.0, -50.0, 10.0, (9.0, 9.0, 9.0))]))
    assert not picture.any()
    paint(picture, strokes([disc(0.0, 0.0, 10.0, (9.0, 9.0, 9.0))]))
    assert picture[0, 0, 0] == 9
    assert not picture[12:, 12:].any()


def test_strokes_say_what_they_are_parts_of() -> None:
    def parts(kind: str) -> set[int]:
        played = story_of(kind).played(20)
        return {int(number) for drawing in played for number in drawing.strokes[:, 9]}

    assert parts("walk") >= {HEAD, LEG}
    assert parts("drive") == {CAR, FRONT, REAR}
    assert parts("fire") == {FLAME, SMOKE}
