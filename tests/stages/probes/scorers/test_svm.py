"""The SVM scorer is scikit-learn's SVC, scored from its tensors alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from stages.probes.scorers import FitReport, SvmScorer
from tests.fitting import options, samples

CLASS_WEIGHT = {"weights": "balanced", "none": None}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 150),
    st.integers(1, 90),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.01, 1.0, 100.0]),
    st.sampled_from(["weights", "none"]),
    st.booleans(),
)
def test_the_decision_function_equals_scikit_learns(
    n: int, dim: int, seed: int, c: float, balance: str, standardise: bool
) -> None:
    rows, labels = samples(seed, n, dim)
    others, _ = samples(seed + 1, 20, dim)
    scorer, report = SvmScorer.fit(
        rows, labels, options(c=c, balance=balance, standardise=standardise)
    )
    scaler = StandardScaler(with_mean=standardise, with_std=standardise)
    scaler.fit(rows.astype(np.float64))
    if standardise:
        np.testing.assert_allclose(scorer.mean, scaler.mean_, rtol=1e-12)
        np.testing.assert_allclose(scorer.scale, scaler.scale_, rtol=1e-9)
    # The same rows to the last bit: the optimiser stops within 1e-3, wherever rounding leads it.
    fitted, asked = ((x.astype(np.float64) - scorer.mean) / scorer.scale for x in (rows, others))
    reference = SVC(C=c, gamma="scale", class_weight=CLASS_WEIGHT[balance]).fit(fitted, labels)
    assert scorer.gamma[0] == pytest.approx(reference._gamma, rel=1e-12)
    size = np.abs(scorer.dual).sum() + abs(scorer.bias[0])
    for ours, theirs in ((rows, fitted), (others, asked)):
        expected = reference.decision_function(theirs)
        np.testing.assert_allclose(scorer.decision(ours), expected, rtol=1e-9, atol=1e-12 * size)
    assert report.converged
    assert 0 <= report.iterations * n - int(reference.n_iter_[0]) < n


def test_a_dual_coefficient_is_at_most_c_times_the_weight_of_its_class() -> None:
    rows, _ = samples(n=180)
    labels = (np.arange(180) % 9 == 0).astype(np.int64)  # 160 and 20 rows: weights 0.5625 and 4.5
    for balance, normal, anomalous in (("none", 0.2, 0.2), ("weights", 0.1125, 0.9)):
        scorer, _ = SvmScorer.fit(rows, labels, options(c=0.2, balance=balance))
        assert -scorer.dual.min() == pytest.approx(normal)
        assert scorer.dual.max() == pytest.approx(anomalous)
        assert scorer.dual.sum() == pytest.approx(0, abs=1e-9)


def test_weights_and_resampling_raise_the_scores_of_the_rarer_class() -> None:
    rows, labels = samples(n=200, share=0.1)
    means = {}
    for balance in ("none", "weights", "resample"):
        scorer, _ = SvmScorer.fit(rows, labels, options(c=0.1, balance=balance))
        means[balance] = scorer.score(rows)[labels == 1].mean()
    assert means["none"] < 0.5 < min(means["weights"], means["resample"])


def test_resampling_repeats_rows_and_depends_on_the_seed() -> None:
    rows, labels = samples()
    few = np.flatnonzero(labels == 1)[:10]
    kept = np.concatenate([np.flatnonzero(labels == 0)[:30], few])
    chosen = options(balance="resample", standardise=False)
    scorer, _ = SvmScorer.fit(rows[kept], labels[kept], chosen)
    order = np.sort(np.concatenate([np.arange(30), np.tile(np.arange(30, 40), 3)]))
    repeated = rows[kept][order].astype(np.float64)
    reference = SVC(gamma="scale").fit(repeated, labels[kept][order])
    expected = reference.decision_function(rows.astype(np.float64))
    np.testing.assert_allclose(scorer.decision(rows), expected, rtol=1e-9, atol=1e-12)
    decisions = [
        SvmScorer.fit(rows, labels, options(balance="resample", seed=seed))[0].decision(rows)
        for seed in (0, 0, 1)
    ]
    assert decisions[0].tobytes() == decisions[1].tobytes()
    assert decisions[0].tobytes() != decisions[2].tobytes()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 10.0]))
def test_the_score_orders_rows_as_the_decision_function_does(seed: int, c: float) -> None:
    scorer, _ = SvmScorer.fit(*samples(seed), options(c=c))
    rows, _ = samples(seed + 1, n=200)
    decision = scorer.decision(rows)
    order = np.argsort(decision)
    scores = scorer.score(rows)[order]
    assert all(low <= high for low, high in pairwise(scores))
    apart = np.diff(decision[order]) > 1e-9
    assert (np.diff(scores)[apart] > 0).all()
    np.testing.assert_array_equal(scores > 0.5, decision[order] > 0)


def test_the_score_is_half_on_the_boundary_and_known_on_the_margins() -> None:
    rows, labels = samples(n=40)
    rows[:, 0] += 30 * labels  # apart: the vectors with a free coefficient lie on the margins
    scorer, _ = SvmScorer.fit(rows, labels, options(c=1000.0))
    free = (np.abs(scorer.dual) > 0) & (np.abs(scorer.dual) < 500)
    vectors = (scorer.support * scorer.scale + scorer.mean).astype(np.float32)[free]
    expected = np.where(scorer.dual[free] > 0, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)))
    np.testing.assert_allclose(scorer.score(vectors), expected, atol=1e-3)


def test_far_from_all_support_vectors_only_the_bias_is_left() -> None:
    scorer, _ = SvmScorer.fit(*samples(), options())
    far = np.full((1, 6), 1e6, dtype=np.float32)
    assert scorer.decision(far)[0] == scorer.bias[0]


def test_iterations_count_as_many_steps_as_there_are_rows() -> None:
    rows, labels = samples(dim=2)
    chosen = {"c": 1e4, "balance": "none"}
    _, whole = SvmScorer.fit(rows, labels, options(**chosen))
    _, early = SvmScorer.fit(rows, labels, options(**chosen, max_iter=1))
    assert whole.converged
    assert 1 < whole.iterations < 1000
    assert early == FitReport(iterations=1, converged=False)
