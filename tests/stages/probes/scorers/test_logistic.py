"""The logistic scorer is scikit-learn's, with scores of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages.probes.scorers import LogisticScorer, Rows
from stages.probes.spans import Floats, Ints
from tests.fitting import options, samples


def naive_loss(
    scorer: LogisticScorer, rows: Rows, labels: Ints, c: float, balanced: bool
) -> tuple[float, Floats]:
    """Row by row, from the definition."""
    loss, gradient, n = 0.0, np.zeros(rows.shape[1] + 1), len(rows)
    for row, label in zip(rows.astype(np.float64), labels, strict=True):
        x = np.append((row - scorer.mean) / scorer.scale, 1.0)
        p = 1 / (1 + np.exp(-x @ np.append(scorer.weight, scorer.bias)))
        count = n / (2 * (labels == label).sum()) if balanced else 1.0
        loss -= count * np.log(p if label else 1 - p) / n
        gradient += count * (p - label) * x / n
    gradient[:-1] += scorer.weight / (c * n)
    return loss + scorer.weight @ scorer.weight / (2 * c * n), gradient


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 10.0]), st.booleans())
def test_coefficients_and_scores_equal_scikit_learns(seed: int, c: float, balanced: bool) -> None:
    rows, labels = samples(seed)
    balance, weights = ("weights", "balanced") if balanced else ("none", None)
    scorer, report = LogisticScorer.fit(rows, labels, options(c=c, balance=balance))
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(C=c, class_weight=weights, max_iter=1000)
    ).fit(rows.astype(np.float64), labels)
    np.testing.assert_allclose(scorer.weight, reference[-1].coef_[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scorer.bias, reference[-1].intercept_, rtol=1e-6, atol=1e-9)
    expected = reference.predict_proba(rows.astype(np.float64))[:, 1]
    np.testing.assert_allclose(scorer.score(rows), expected, rtol=1e-6)
    assert (report.iterations, report.converged) == (int(reference[-1].n_iter_[0]), True)
    loss, gradient = naive_loss(scorer, rows, labels, c, balanced)
    assert report.loss == pytest.approx(loss, rel=1e-12)
    assert report.gradient == pytest.approx(np.abs(gradient).max(), rel=1e-9, abs=1e-15)
    assert report.gradient < 1e-4


def test_without_standardisation_the_rows_are_fitted_as_they_are() -> None:
    rows, labels = samples()
    scorer, _ = LogisticScorer.fit(rows, labels, options(standardise=False, balance="none"))
    reference = LogisticRegression(C=1.0, max_iter=1000).fit(rows.astype(np.float64), labels)
    np.testing.assert_allclose(scorer.weight, reference.coef_[0], rtol=1e-6)
    assert scorer.mean.tolist() == [0.0] * 6
    assert scorer.scale.tolist() == [1.0] * 6


@pytest.mark.parametrize("value", [0.1, -3e4, 1e-30, 0.0])
def test_a_constant_dimension_has_no_weight(value: float) -> None:
    rows, labels = samples()
    rows[:, 3] = value
    scorer, _ = LogisticScorer.fit(rows, labels, options())
    assert scorer.weight[3] == 0.0


def test_resampling_makes_the_classes_equally_frequent() -> None:
    rows, labels = samples(n=103, share=0.15)
    scorer, _ = LogisticScorer.fit(rows, labels, options(balance="resample"))
    again, _ = LogisticScorer.fit(rows, labels, options(balance="resample"))
    other, _ = LogisticScorer.fit(rows, labels, options(balance="resample", seed=1))
    assert scorer.weight.tobytes() == again.weight.tobytes()
    assert scorer.weight.tobytes() != other.weight.tobytes()
    weighted, _ = LogisticScorer.fit(rows, labels, options(balance="weights"))
    plain, _ = LogisticScorer.fit(rows, labels, options(balance="none"))
    assert abs(scorer.bias[0] - weighted.bias[0]) < abs(scorer.bias[0] - plain.bias[0])


def test_resampling_by_a_whole_number_equals_repeating_the_rows() -> None:
    rows, labels = samples()
    few = np.flatnonzero(labels == 1)[:10]
    kept = np.concatenate([np.flatnonzero(labels == 0)[:30], few])
    scorer, _ = LogisticScorer.fit(
        rows[kept], labels[kept], options(balance="resample", standardise=False)
    )
    order = np.sort(np.concatenate([np.arange(30), np.tile(np.arange(30, 40), 3)]))
    repeated = rows[kept][order].astype(np.float64)
    reference = LogisticRegression(C=1.0, max_iter=1000).fit(repeated, labels[kept][order])
    np.testing.assert_allclose(scorer.weight, reference.coef_[0], rtol=1e-6)


def test_a_fit_that_stops_early_says_so() -> None:
    _, report = LogisticScorer.fit(*samples(), options(max_iter=1))
    assert (report.iterations, report.converged) == (1, False)
    assert report.gradient is not None
    assert report.gradient > 1e-3
