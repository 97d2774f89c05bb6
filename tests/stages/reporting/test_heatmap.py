"""The map of attention heads."""

from __future__ import annotations

import re

import numpy as np
import pytest

from stages.reporting.heatmap import STEPS, Pair, draw_heads

ALL = [(layer, head) for layer in range(28) for head in range(28)]


def shades(text: str) -> list[int]:
    """How many heads have each shade in the map, lightest first; the key follows in the text."""
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="fill: var\(--model\)[^"]*', text)
    return [path.count("M ") for path in paths]


@pytest.mark.parametrize(
    ("heads", "values", "chosen"),
    [
        ([(0, 0)], [0.5], [(0, 0)]),
        ([(0, 0)], [None], []),
        ([(3, 1), (3, 9)], [None, None], []),
        ([(18, 4), (20, 0), (23, 27)], [0.1, None, 0.3], [(23, 27)]),
        ([(0, 0), (0, 1)], [1e300, -1e300], [(0, 0), (0, 1)]),
        (ALL, [0.25] * 784, [(1, 1), (20, 5)]),
    ],
)
def test_any_heads_can_be_drawn(
    heads: list[Pair], values: list[float | None], chosen: list[Pair]
) -> None:
    text = draw_heads("p", "RSS", heads, values, chosen)
    assert text.startswith("<svg ")
    assert "nan" not in text
    assert ("var(--truth)" in text) == bool(chosen)


def test_the_words_name_the_highest_and_the_chosen() -> None:
    heads = [(18, 4), (20, 0), (23, 27)]
    text = draw_heads("p", "RSS", heads, [0.125, None, 0.25], [(18, 4), (23, 27)])
    assert "RSS by layer and head" in text
    assert "RSS of 3 heads; highest, 0.25, at layer 23 head 27." in text
    assert "Chosen are layer 18 head 4, layer 23 head 27." in text
    assert "head 27. 1 of the heads has none." in text
    assert "have none" in draw_heads("p", "RSS", heads, [None, None, 0.25], [(23, 27)])
    assert "have none" not in draw_heads("p", "RSS", heads, [0.1, 0.2, 0.25], [(23, 27)])
    assert "not known for any head" in draw_heads("p", "RSS", heads, [None] * 3, [])


def test_the_key_names_the_figure_and_what_its_signs_mean() -> None:
    heads = [(0, 0), (0, 1), (1, 0)]
    words = re.findall(
        r"<text[^>]*>([^<]*)</text>", draw_heads("p", "RSS", heads, [1, 3, None], [])
    )
    assert {"RSS", "1", "2", "3", "no figure"} <= {*words}
    assert "chosen" not in words
    words = re.findall(r"<text[^>]*>([^<]*)</text>", draw_heads("p", "KL", heads, [5, 5, 5], heads))
    assert words.count("5") == 1
    assert "KL" in words
    assert "chosen" in words
    assert "no figure" not in words


@pytest.mark.parametrize(("layers", "heads"), [(2, 3), (28, 28), (6, 4)])
def test_no_head_is_broader_than_it_need_be(layers: int, heads: int) -> None:
    pairs = [(layer, head) for layer in range(layers) for head in range(heads)]
    text = draw_heads("p", "RSS", pairs, [0.5] * len(pairs), [])
    (first, *_) = re.findall(r'<path d="([^"]*)"[^>]*style="fill: var\(--model\)', text)
    corners = re.findall(r"[ML] ([\d.]+) ([\d.]+)", first)[:3]
    xs, ys = zip(*((float(x), float(y)) for x, y in corners), strict=True)
    assert 0.5 < (max(xs) - min(xs)) / (max(ys) - min(ys)) < 4


def test_every_head_has_one_shade_and_the_page_stays_small() -> None:
    values = list(np.random.default_rng(0).random(len(ALL)))
    text = draw_heads("p", "RSS", ALL, values, ALL[:5])
    assert sum(shades(text)) == len(ALL) + STEPS  # and the key
    assert len(text) < 120_000


def test_the_shade_follows_the_figure() -> None:
    heads = [(0, 0), (0, 1), (1, 0), (1, 1)]
    text = draw_heads("p", "RSS", heads, [0.0, 1.0, 1.0, 1.0], [])
    drawn = re.findall(
        r'<path d="([^"]*)"[^>]*style="fill: var\(--model\)(?:; opacity: ([\d.]+))?', text
    )
    found = [(path.count("M "), float(opacity or 1)) for path, opacity in drawn[:2]]
    assert found == [(1, 0.06), (3, 1.0)]


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_head_without_a_figure_has_a_cross_in_its_place(missing: int) -> None:
    heads = [(layer, 0) for layer in range(5)]
    text = draw_heads("p", "RSS", heads, [None] * missing + [0.5] * (5 - missing), [(4, 0)])
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--muted\)', text)
    # Two strokes for each in the map, and two for the sign that says what a cross means.
    assert sorted(path.count("M ") for path in paths) == sorted([2, 2 * missing] if missing else [])
