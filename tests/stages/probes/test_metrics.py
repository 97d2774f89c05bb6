"""Figures of weighted runs equal scikit-learn's on the expanded frames."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from stages.probes.metrics import Ranking, figures_of, pr_points, roc_points, thinned

pieces = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.8, 1.0]) | st.floats(0, 1),
        st.booleans(),
        st.integers(1, 30),
    ),
    min_size=2,
    max_size=40,
).filter(lambda found: len({label for _, label, _ in found}) == 2)


def expand(found):
    scores, labels, weights = (np.asarray(part) for part in zip(*found, strict=True))
    return scores, labels, weights, np.repeat(scores, weights), np.repeat(labels, weights)


@settings(max_examples=150, deadline=None)
@given(pieces)
def test_figures_equal_scikit_learns_on_frames(found):
    scores, labels, weights, frame_scores, frame_labels = expand(found)
    figures = figures_of(scores, labels, weights)
    precision, recall, _ = precision_recall_curve(frame_labels, frame_scores)
    assert figures.auc == pytest.approx(roc_auc_score(frame_labels, frame_scores), rel=1e-9)
    assert figures.ap == pytest.approx(
        average_precision_score(frame_labels, frame_scores), rel=1e-9
    )
    assert figures.ap_trapezoid == pytest.approx(auc(recall, precision), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(pieces, st.integers(0, 2**32 - 1))
def test_pieces_of_weight_0_do_not_exist(found, seed):
    scores, labels, weights, *_ = expand(found)
    drawn = np.random.default_rng(seed).integers(0, 3, size=(4, len(weights))) * weights
    batch = Ranking(scores, labels).figures(drawn)
    for row, figures in zip(drawn, batch, strict=True):
        expected = figures_of(scores[row > 0], labels[row > 0], row[row > 0])
        if expected is None:
            assert np.isnan(figures).all()
        else:
            np.testing.assert_allclose(
                figures, [expected.auc, expected.ap, expected.ap_trapezoid], rtol=1e-12
            )


@pytest.mark.parametrize("labels", [[True, True], [False, False], []])
def test_one_label_alone_has_no_figure(labels):
    positive = np.asarray(labels, dtype=np.bool_)
    assert figures_of(np.zeros(len(labels)), positive) is None


def test_equal_scores_say_nothing():
    figures = figures_of(
        np.full(3, 0.5), np.asarray([True, False, False]), np.asarray([30, 40, 50])
    )
    assert figures.auc == 0.5
    assert figures.ap == 0.25


@settings(max_examples=60, deadline=None)
@given(pieces)
def test_the_areas_under_the_points_are_the_figures(found):
    scores, labels, weights, *_ = expand(found)
    figures = figures_of(scores, labels, weights)
    x, y = roc_points(scores, labels, weights)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(figures.auc, rel=1e-9, abs=1e-12)
    recall, precision = pr_points(scores, labels, weights)
    assert (recall[0], precision[0], recall[-1]) == (0, 1, 1)
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
