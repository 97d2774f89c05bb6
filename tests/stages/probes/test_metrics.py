"""Figures of weighted runs equal scikit-learn's on the expanded frames."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from stages.probes.metrics import (
    FEW,
    Figures,
    Ranking,
    areas,
    figures_of,
    pr_points,
    roc_points,
    thinned,
)

pieces = st.lists(
    st.tuples(
        st.sampled_from([-3.0, 0.0, 0.1, 0.25, 0.5, 0.8, 1.0]) | st.floats(0, 1),
        st.booleans(),
        st.integers(1, 30),
    ),
    min_size=2,
    max_size=40,
).filter(lambda found: len({label for _, label, _ in found}) == 2)


def expand(found):
    scores, labels, weights = (np.asarray(part) for part in zip(*found, strict=True))
    return scores, labels, weights, np.repeat(scores, weights), np.repeat(labels, weights)


def of_scikit_learn(labels, scores):
    precision, recall, _ = precision_recall_curve(labels, scores)
    area = auc(recall, precision)
    return [roc_auc_score(labels, scores), average_precision_score(labels, scores), area]


def as_list(figures):
    return [figures.auc, figures.ap, figures.ap_trapezoid]


@settings(max_examples=150, deadline=None)
@given(pieces)
def test_figures_equal_scikit_learns_on_frames(found):
    scores, labels, weights, frame_scores, frame_labels = expand(found)
    expected = of_scikit_learn(frame_labels, frame_scores)
    figures = figures_of(scores, labels, weights)
    np.testing.assert_allclose(as_list(figures), expected, rtol=1e-12, atol=1e-15)


@settings(max_examples=60, deadline=None)
@given(pieces)
def test_figures_equal_what_their_definitions_say(found):
    scores, labels, weights, frame_scores, frame_labels = expand(found)
    high, low = frame_scores[frame_labels], frame_scores[~frame_labels]
    pairs = (high[:, None] > low).mean() + (high[:, None] == low).mean() / 2
    points = [(0.0, 1.0)]  # recall and precision, one threshold after the other
    for threshold in sorted(set(frame_scores.tolist()), reverse=True):
        said = frame_scores >= threshold
        points.append((frame_labels[said].sum() / frame_labels.sum(), frame_labels[said].mean()))
    steps = list(pairwise(points))
    figures = figures_of(scores, labels, weights)
    assert figures.auc == pytest.approx(pairs, rel=1e-12)
    assert figures.ap == pytest.approx(sum((r - q) * p for (q, _), (r, p) in steps), rel=1e-12)
    area = sum((r - q) * (p + o) / 2 for (q, o), (r, p) in steps)
    assert figures.ap_trapezoid == pytest.approx(area, rel=1e-12)


def test_figures_by_hand():
    # From the top: a hit, a miss, a hit, a miss.
    figures = figures_of(np.asarray([0.9, 0.8, 0.7, 0.1]), np.asarray([True, False, True, False]))
    assert figures.auc == 3 / 4  # of four pairs, one is wrong
    assert figures.ap == pytest.approx((1 + 2 / 3) / 2)
    # Trapezoids from (0, 1) to (1/2, 1) and from (1/2, 1/2) to (1, 2/3).
    assert figures.ap_trapezoid == pytest.approx(1 / 2 + (1 / 2 + 2 / 3) / 4)


@settings(max_examples=60, deadline=None)
@given(pieces, st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 5, 100]))
def test_weightings_together_equal_each_by_itself_without_what_weighs_nothing(found, seed, at_once):
    scores, labels, weights, *_ = expand(found)
    drawn = np.random.default_rng(seed).integers(0, 3, size=(FEW + 3, len(weights))) * weights
    ranking = Ranking(scores, labels)
    for some in (drawn[:3], drawn):  # few weightings and many are summed up in two ways
        counts = np.stack([ranking.counts(row) for row in some], axis=-1)
        blocks = (counts[i : i + at_once] for i in range(0, len(counts), at_once))
        totals = (some[:, labels].sum(axis=1), some[:, ~labels].sum(axis=1))
        together = areas(blocks, *(total.astype(np.float64) for total in totals))
        for row, figures in zip(some[-5:], together[-5:], strict=True):
            expected = figures_of(scores[row > 0], labels[row > 0], row[row > 0])
            if expected is None:
                assert np.isnan(figures).all()
            else:
                np.testing.assert_allclose(figures, as_list(expected), rtol=1e-12)


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_one_label_alone_has_no_figure(labels):
    positive = np.asarray(labels, dtype=np.bool_)
    assert figures_of(np.zeros(len(labels)), positive) is None


def test_a_label_that_weighs_nothing_is_not_there():
    scores, labels = np.asarray([0.2, 0.4]), np.asarray([True, False])
    assert figures_of(scores, labels, np.asarray([1, 0])) is None
    assert figures_of(scores, labels, np.asarray([0, 1])) is None


def test_equal_scores_say_nothing():
    figures = figures_of(
        np.full(3, 0.5), np.asarray([True, False, False]), np.asarray([30, 40, 50])
    )
    assert figures == Figures(auc=0.5, ap=0.25, ap_trapezoid=(1 + 0.25) / 2)


@settings(max_examples=60, deadline=None)
@given(pieces)
def test_the_areas_under_the_points_are_the_figures(found):
    scores, labels, weights, *_ = expand(found)
    figures = figures_of(scores, labels, weights)
    counts = Ranking(scores, labels).counts(weights)
    x, y = roc_points(counts, float(weights[~labels].sum()))
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert min(np.diff(x).min(), np.diff(y).min()) >= 0
    assert np.trapezoid(y, x) == pytest.approx(figures.auc, rel=1e-9, abs=1e-12)
    recall, precision = pr_points(counts)
    assert (recall[0], precision[0], recall[-1]) == (0, 1, 1)
    assert np.diff(recall).min() >= 0
    assert np.trapezoid(precision, recall) == pytest.approx(figures.ap_trapezoid, rel=1e-9)


def test_thinning_keeps_both_ends_and_the_shape():
    x = np.linspace(0, 1, 20_000)
    y = np.sqrt(x)
    few_x, few_y = thinned(x, y, 500)
    assert 400 < len(few_x) <= 500
    assert (few_x[0], few_x[-1], few_y[-1]) == (0, 1, 1)
    assert np.all(np.diff(few_x) > 0)
    assert np.trapezoid(few_y, few_x) == pytest.approx(np.trapezoid(y, x), abs=1e-4)
    np.testing.assert_array_equal(thinned(x[:9], y[:9], 500)[0], x[:9])
