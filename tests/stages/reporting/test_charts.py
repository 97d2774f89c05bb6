"""The pictures of a whole run."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from stages.reporting.charts import draw_layers, draw_pr, draw_probing, draw_roc


@pytest.mark.parametrize(
    ("numbers", "values", "chosen"),
    [
        ([0, 1], [None, 1.0], 1),
        ([0, 1, 2], [None, None, None], 1),
        ([0, 1, 2, 3], [0.0, 0.5, 0.2, None], 3),
        (range(40), [0.0] * 40, 0),
        ([0, 1, 2], [0.0, 1e300, -1e300], 2),
        ([20], [0.5], 20),
        ([16, 20, 24], [0.5, 0.25, 0.75], 24),
    ],
)
def test_any_layers_can_be_drawn(
    numbers: Sequence[int], values: list[float | None], chosen: int
) -> None:
    text = draw_layers("p", "KL", numbers, values, chosen, 440)
    assert f">layer {chosen}</text>" in text


def test_the_words_of_a_layer_chart_name_highest_and_chosen() -> None:
    text = draw_layers("p", "KL", [0, 1, 2, 3], [None, 0.25, 0.125, 0], 2, 440)
    assert "KL of layers 1 to 3; highest, 0.25, at layer 1. The chosen layer is 2." in text


def test_layers_stand_at_their_numbers() -> None:
    text = draw_layers("p", "KL", [4, 8, 24], [0.5, 0.25, 0.75], 8, 440)
    assert "KL of layers 4, 8, 24; highest, 0.75, at layer 24. The chosen layer is 8." in text
    path = re.search(r'd="M ([\d.]+) [\d.]+  L ([\d.]+) [\d.]+  L ([\d.]+) [\d.]+  " clip', text)
    assert path is not None
    first, second, third = map(float, path.groups())
    assert (third - first) / (second - first) == pytest.approx(20 / 4, rel=1e-3)


def test_roc_and_pr_say_what_chance_is() -> None:
    x, y = np.asarray([0.0, 1.0]), np.asarray([1.0, 0.25])
    assert "dashed: chance" in draw_roc("p", x, y, "50.00")
    assert "dashed: chance, 25.0 % of the frames" in draw_pr("p", x, y, "50.00", 0.25)
    assert "dashed" not in draw_pr("p", x, y, "50.00", None)


def test_the_histogram_stands_with_one_class_and_scores_of_any_range() -> None:
    scores = np.asarray([-4.0, 3.0, 9.0])
    text = draw_probing("p", np.zeros(0), scores, 2.5, 1.5, None)
    assert "0 normal rows, mean unknown; 3 anomalous rows, mean 2.6667" in text
    assert "T = " not in text
    assert "T = 2.800" in draw_probing("p", scores, scores, 2.5, 1.5, 2.8)
