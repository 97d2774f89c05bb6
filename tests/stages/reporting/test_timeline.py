"""The picture of one video."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.reporting.timeline import MOST_STEPS, Curve, draw_video, thin


def curve_of(values: list[float], threshold: float = 0.5) -> Curve:
    scores = np.asarray(values, dtype=np.float64)
    start = np.arange(len(scores), dtype=np.float64)
    return Curve(start, start + 1, scores, scores, threshold)


def draw(curve: Curve) -> str:
    return draw_video("v", "t", "d", curve, [(1.0, 2.0)], [(0.5, 1.5)], "none")


def test_a_short_video_keeps_every_segment() -> None:
    curve = curve_of([0.1, 0.9, 0.3])
    x, y = thin(curve, curve.score)
    assert x.tolist() == [0.5, 1.5, 2.5]
    assert y.tolist() == [0.1, 0.9, 0.3]


@settings(max_examples=50, deadline=None)
@given(st.integers(MOST_STEPS + 1, 5 * MOST_STEPS), st.integers(0, 2**32 - 1))
def test_a_long_video_keeps_the_extremes_of_every_group(segments: int, seed: int) -> None:
    values = np.random.default_rng(seed).random(segments)
    curve = curve_of(values.tolist())
    x, y = thin(curve, curve.score)
    assert len(x) <= 2 * MOST_STEPS
    assert (np.diff(x) > 0).all()
    for first in range(0, segments, curve.step):
        inside = (x > first) & (x < first + curve.step)
        group = values[first : first + curve.step]
        assert y[inside].min() == group.min()
        assert y[inside].max() == group.max()


def test_the_peak_is_the_first_highest_smoothed_score() -> None:
    assert curve_of([0.1, 0.9, 0.9]).peak == 1


@pytest.mark.parametrize("segments", [1, 2, 400, 20_000])
def test_a_picture_stays_small(segments: int) -> None:
    values = np.random.default_rng(0).random(segments).tolist()
    assert len(draw(curve_of(values)).encode()) < 40_000


def test_scores_beyond_zero_and_one_fit_in() -> None:
    text = draw(curve_of([-3.0, 5.0, 2.0], threshold=7.25))
    assert "T = 7.250" in text


def test_a_video_without_length_is_drawn() -> None:
    moment = np.zeros(1)
    assert "<svg" in draw(Curve(moment, moment, moment + 0.4, moment + 0.4, 0.5))


def test_detected_and_annotated_differ_in_place_colour_and_pattern() -> None:
    text = draw(curve_of([0.1, 0.9, 0.3]))
    assert "fill: var(--model)" in text, "detected: filled"
    assert "<pattern" in text, "annotated: hatched"
    assert "stroke: var(--truth)" in text
    assert text.index(">annotated</text>") != text.index(">detected</text>")
    assert ">none</text>" not in text


def test_an_empty_strip_says_why() -> None:
    text = draw_video("v", "t", "d", curve_of([0.1]), [], [], "labelled <normal>")
    assert ">none above T</text>" in text
    assert ">labelled &lt;normal&gt;</text>" in text
