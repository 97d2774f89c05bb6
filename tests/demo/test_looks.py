"""Clothes: what is held out of training is never worn in it."""

from __future__ import annotations

import colorsys

import numpy as np

from demo.looks import HELD_OUT_HUES, Palette, draw_car, draw_person


def _hues(palette: Palette) -> list[float]:
    rng = np.random.default_rng(0)
    people = [draw_person(rng, palette) for _ in range(200)]
    worn = [colour for one in people for colour in (one.shirt, one.trousers)]
    worn += [draw_car(rng, palette).paint for _ in range(100)]
    return [colorsys.rgb_to_hsv(*(value / 255 for value in colour))[0] for colour in worn]


def _held_out(hue: float) -> bool:
    return any(low - 1e-9 <= hue < high + 1e-9 for low, high in HELD_OUT_HUES)


def test_training_and_held_out_clothes_share_no_hue() -> None:
    assert not any(_held_out(hue) for hue in _hues("training"))
    assert all(_held_out(hue) for hue in _hues("held out"))
