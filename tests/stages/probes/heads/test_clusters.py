"""Two clusters by K-means and their mutual information with the labels, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from stages.probes.heads import clusters
from stages.probes.heads.clusters import nmi, two_means
from tests.stages.probes.heads.samples import centred, heads, sample


def inertia(rows, second):
    parts = [rows[second == side] for side in (False, True)]
    return sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts)


def plus_plus(rows, starts, seed):
    """The rows that each start begins with: any, and one by its squared distance to that."""
    generator = np.random.default_rng(seed)
    first, share = generator.integers(len(rows), size=starts), generator.random(starts)
    for one, u in zip(first, share, strict=True):
        squares = [sum((row - rows[one]) ** 2) for row in rows]
        sums = np.cumsum(squares)
        yield one, next(i for i, total in enumerate(sums) if total > u * sums[-1])


def lloyd(rows, one, other):
    """By scikit-learn, from two given rows on."""
    model = KMeans(2, init=rows[[one, other]], n_init=1, tol=0, algorithm="lloyd").fit(rows)
    return model.labels_ == 1


@pytest.mark.parametrize(("n", "dim", "starts"), [(40, 3, 10), (9, 12, 4), (120, 6, 1), (2, 2, 3)])
def test_the_clusters_are_the_best_of_the_starts(n, dim, starts):
    rows = centred(sample(n, dim)[0])
    found = two_means(rows, starts=starts, seed=5)
    each = [lloyd(rows, *pair) for pair in plus_plus(rows, starts, 5)]
    expected = min(each, key=lambda second: inertia(rows, second))
    assert inertia(rows, found) == pytest.approx(inertia(rows, expected), rel=1e-12)
    assert (found == expected).all() or (found != expected).all()


@settings(max_examples=150, deadline=None)
@given(heads(), st.integers(1, 8), st.integers(0, 99))
def test_it_is_so_for_any_rows(head, starts, seed):
    rows = centred(head[0])
    assume(rows.any())
    found = two_means(rows, starts=starts, seed=seed)
    assert found.any()
    assert not found.all()
    # Where rows repeat, means can lie at equal distances, and rounding decides where a start ends.
    if len(np.unique(rows, axis=0)) == len(rows):
        best = min(inertia(rows, lloyd(rows, *pair)) for pair in plus_plus(rows, starts, seed))
        assert inertia(rows, found) == pytest.approx(best, rel=1e-9)
    # No row is nearer to the other mean than to its own.
    means = [rows[found == side].mean(axis=0) for side in (False, True)]
    away = np.stack([((rows - mean) ** 2).sum(axis=1) for mean in means])
    assert (
        away[found.astype(int), range(len(rows))] <= away.min(axis=0) * (1 + 1e-9) + 1e-12
    ).all()


def test_the_second_row_is_drawn_by_its_squared_distance():
    rows = centred(np.asarray([[0.0], [1.0], [3.0], [4.0], [10.0]]))
    (first, second), many = clusters._spread_starts(rows, 40_000, 3), 40_000
    for row in rows[:, 0]:
        at = first[:, 0] == row
        assert at.sum() == pytest.approx(many / 5, rel=0.05)
        expected = (rows[:, 0] - row) ** 2 / ((rows[:, 0] - row) ** 2).sum()
        shares = [(second[at, 0] == other).mean() for other in rows[:, 0]]
        np.testing.assert_allclose(shares, expected, atol=0.02)


def test_where_all_rows_are_the_same_there_are_no_clusters():
    assert two_means(np.zeros((9, 3)), starts=2, seed=0) is None
    rows = np.zeros((9, 3))
    rows[4, 1] = 9.0
    found = two_means(centred(rows), starts=10, seed=0)
    assert sorted(np.bincount(found).tolist()) == [1, 8]


def test_more_starts_never_end_worse():
    rows = centred(sample(60, 4, seed=9)[0])
    ends = [inertia(rows, two_means(rows, starts=1, seed=seed)) for seed in range(12)]
    assert len({round(end, 6) for end in ends}) > 1
    assert inertia(rows, two_means(rows, starts=40, seed=0)) == pytest.approx(min(ends), rel=1e-9)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_mutual_information_is_that_of_scikit_learn(pairs):
    labels, second = (np.asarray(column) for column in zip(*pairs, strict=True))
    assume(0 < labels.sum() < len(labels) and 0 < second.sum() < len(second))
    expected = normalized_mutual_info_score(labels, second)
    assert nmi(labels.astype(np.int64), second) == pytest.approx(expected, abs=1e-12)


def test_clusters_that_are_the_classes_tell_all_of_them():
    labels = np.repeat([0, 1], [4, 9])
    assert nmi(labels, labels == 1) == nmi(labels, labels == 0) == pytest.approx(1)
    assert nmi(np.asarray([0, 0, 1, 1]), np.asarray([True, False, True, False])) == 0
    rows, labels = sample(gap=1e4)
    assert nmi(labels, two_means(centred(rows), starts=3, seed=5)) == pytest.approx(1)
