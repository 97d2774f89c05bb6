"""Distances to the class means against naive computations and scikit-learn's own."""

from __future__ import annotations

from itertools import pairwise
from math import dist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf, ledoit_wolf
from sklearn.neighbors import NearestCentroid

from cache.errors import DamagedArtifact
from stages.probes.scorers import SCORERS, DistanceScorer, MahalanobisScorer, Rows
from stages.probes.spans import Floats, Ints
from tests.fitting import options, samples

BOTH = pytest.mark.parametrize("kind", ["distance", "mahalanobis"])
SIZES = (st.integers(5, 80), st.integers(1, 60), st.integers(0, 2**32 - 1), st.booleans())


def standardised(rows: Rows, fitted: Rows, standardise: bool) -> Floats:
    wide, given_rows = rows.astype(np.float64), fitted.astype(np.float64)
    if not standardise:
        return wide
    scale = np.where(np.ptp(given_rows, axis=0) > 0, given_rows.std(axis=0), 1.0)
    found: Floats = (wide - given_rows.mean(axis=0)) / scale
    return found


@settings(max_examples=25, deadline=None)
@given(*SIZES)
def test_the_score_is_the_share_of_the_distance_to_the_normal_mean(
    n: int, dim: int, seed: int, standardise: bool
) -> None:
    (rows, labels), (others, _) = samples(seed, n, dim), samples(seed + 1, 15, dim)
    scorer, _ = DistanceScorer.fit(rows, labels, options(standardise=standardise))
    fitted, asked = (standardised(x, rows, standardise) for x in (rows, others))
    normal, anomalous = (fitted[labels == k].mean(axis=0).tolist() for k in (0, 1))
    expected = [
        dist(row, normal) / (dist(row, normal) + dist(row, anomalous)) for row in asked.tolist()
    ]
    np.testing.assert_allclose(scorer.score(others), expected, rtol=1e-9, atol=1e-12)
    nearest = NearestCentroid().fit(fitted, labels).predict(asked)
    np.testing.assert_array_equal(scorer.score(others) > 0.5, nearest == 1)


def around(rows: Floats, labels: Ints, balance: str) -> Floats:
    """Deviations from the class means, in which both classes weigh the same or every row does."""
    found = np.empty_like(rows)
    for k in (0, 1):
        part = rows[labels == k]
        weight = len(rows) / (2 * len(part)) if balance == "weights" else 1.0
        found[labels == k] = np.sqrt(weight) * (part - part.mean(axis=0))
    return found


@settings(max_examples=25, deadline=None)
@given(*SIZES, st.sampled_from(["weights", "none"]))
def test_mahalanobis_distances_equal_scikit_learns(
    n: int, dim: int, seed: int, standardise: bool, balance: str
) -> None:
    (rows, labels), (others, _) = samples(seed, n, dim), samples(seed + 1, 15, dim)
    scorer, _ = MahalanobisScorer.fit(
        rows, labels, options(standardise=standardise, balance=balance)
    )
    fitted, asked = (standardised(x, rows, standardise) for x in (rows, others))
    model = LedoitWolf(assume_centered=True).fit(around(fitted, labels, balance))
    normal, anomalous = (
        np.sqrt(model.mahalanobis(asked - fitted[labels == k].mean(axis=0))) for k in (0, 1)
    )
    expected = normal / (normal + anomalous)
    # scikit-learn inverts the covariance; where it is nearly singular, that costs digits.
    np.testing.assert_allclose(scorer.score(others), expected, rtol=1e-8)


@pytest.mark.parametrize("balance", ["weights", "none", "resample"])
def test_the_whitening_makes_the_covariance_within_the_classes_the_identity(balance: str) -> None:
    rows, labels = samples(n=4000, dim=4, share=0.25)
    rows[:, 1] += rows[:, 2]
    rows[labels == 1, 3] *= 4
    scorer, _ = MahalanobisScorer.fit(rows, labels, options(balance=balance))
    white = ((rows - scorer.mean) / scorer.scale) @ scorer.whitening.T
    normal, anomalous = (np.cov(white[labels == k].T, ddof=0) for k in (0, 1))
    share = labels.mean() if balance == "none" else 0.5
    np.testing.assert_allclose((1 - share) * normal + share * anomalous, np.eye(4), atol=0.05)


def test_the_balance_decides_how_much_a_class_counts_in_the_covariance() -> None:
    rows, labels = samples(n=400, share=0.1)
    rows[labels == 1, 3] += 20 * np.sin(np.arange(labels.sum()), dtype=np.float32)
    widths = {}
    for balance in ("none", "weights", "resample"):
        scorer, _ = MahalanobisScorer.fit(rows, labels, options(standardise=False, balance=balance))
        covariance = np.linalg.inv(scorer.whitening.T @ scorer.whitening)
        widths[balance] = covariance[3, 3]
    assert widths["weights"] > 3 * widths["none"]
    assert widths["resample"] == pytest.approx(widths["weights"], rel=0.05)


@BOTH
def test_the_score_rises_from_0_at_the_normal_mean_to_1_at_the_anomalous_one(kind: str) -> None:
    rows, labels = samples(dim=4)
    rows = np.round(rows)  # means that float32 holds nearly exactly
    scorer, _ = SCORERS[kind].fit(rows, labels, options())
    normal, anomalous = (rows[labels == k].mean(axis=0, dtype=np.float64) for k in (0, 1))
    steps = np.linspace(0, 1, 11)[:, np.newaxis]
    path = (normal + steps * (anomalous - normal)).astype(np.float32)
    scores = scorer.score(path)
    np.testing.assert_allclose(scores, steps[:, 0], atol=1e-5)
    assert all(low < high for low, high in pairwise(scores))


@BOTH
def test_a_row_far_from_both_means_is_undecided(kind: str) -> None:
    scorer, _ = SCORERS[kind].fit(*samples(), options())
    assert scorer.score(np.full((1, 6), 1e7, dtype=np.float32))[0] == pytest.approx(0.5, abs=1e-5)


def test_the_balance_does_not_change_a_mean() -> None:
    rows, labels = samples(n=103, share=0.15)
    scores = [
        DistanceScorer.fit(rows, labels, options(balance=balance, seed=seed))[0].score(rows)
        for balance, seed in (("weights", 0), ("none", 0), ("resample", 0), ("resample", 1))
    ]
    assert len({each.tobytes() for each in scores}) == 1


@BOTH
def test_standardised_distances_do_not_depend_on_the_units_of_a_dimension(kind: str) -> None:
    rows, labels = samples()
    units = np.asarray([1, 1e3, 1e-3, 1, 50, 7], dtype=np.float32)
    scorer, _ = SCORERS[kind].fit(rows, labels, options())
    scaled, _ = SCORERS[kind].fit(rows * units, labels, options())
    np.testing.assert_allclose(scaled.score(rows * units), scorer.score(rows), rtol=1e-5)


@pytest.mark.parametrize("balance", ["weights", "none", "resample"])
def test_classes_that_do_not_vary_leave_euclidean_distances(balance: str) -> None:
    labels = np.asarray([0, 0, 0, 1, 1], dtype=np.int64)
    rows = np.where(labels[:, np.newaxis] == 1, 0.1, [0.7, -3.3, 1e-3]).astype(np.float32)
    others, _ = samples(n=30, dim=3)
    plain, _ = DistanceScorer.fit(rows, labels, options())
    scorer, _ = MahalanobisScorer.fit(rows, labels, options(balance=balance))
    assert scorer.whitening.tolist() == np.eye(3).tolist()
    np.testing.assert_allclose(scorer.score(others), plain.score(others), rtol=1e-12)


def test_a_covariance_that_is_not_shrunk_and_is_singular_can_be_inverted_still() -> None:
    along = np.asarray([1.0, 1.0, 1.0], dtype=np.float32)
    apart = np.asarray([1.0, -1.0, 0.0], dtype=np.float32)
    rows = np.stack([along, -along, apart + along, apart - along])
    labels = np.asarray([0, 0, 1, 1], dtype=np.int64)
    covariance, shrinkage = ledoit_wolf(np.stack([along, -along] * 2), assume_centered=True)
    assert shrinkage == 0
    assert np.linalg.matrix_rank(covariance) == 1
    scorer, _ = MahalanobisScorer.fit(rows, labels, options(standardise=False))
    # Along the direction in which classes vary a step counts little, across it everything.
    np.testing.assert_allclose(scorer.score(rows), [0, 0, 1, 1], atol=0.01)
    plain, _ = DistanceScorer.fit(rows, labels, options(standardise=False))
    assert plain.score(rows)[0] > 0.4


def test_in_more_dimensions_than_rows_the_covariance_is_shrunk_and_regular() -> None:
    rows, labels = samples(n=20, dim=300)
    scorer, _ = MahalanobisScorer.fit(rows, labels, options())
    covariance = np.linalg.inv(scorer.whitening.T @ scorer.whitening)
    values = np.linalg.eigvalsh(covariance)
    assert values.min() > 0.01 * values.max()
    scores = scorer.score(rows)
    assert scores[labels == 0].max() < scores[labels == 1].min()


def test_a_whitening_that_is_not_triangular_is_none_of_ours() -> None:
    rows, labels = samples(n=60, dim=9)
    tensors = MahalanobisScorer.fit(rows, labels, options())[0].tensors()
    assert not np.triu(tensors["whitening"], 1).any()
    tensors["whitening"] = tensors["whitening"].T.copy()
    with pytest.raises(DamagedArtifact, match="above its diagonal"):
        MahalanobisScorer.from_tensors(tensors)
