"""Figures of a head, against their definitions written out row by row."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf

from stages.probes.heads import figures

EPS = 1e-6
NAMES = ("lda", "kl", "mmd", "nmi", "separability")
CALLS = {
    "lda": lambda rows, labels: figures.lda(rows, labels, EPS),
    "kl": lambda rows, labels: figures.symmetric_kl(rows, labels, EPS),
    "mmd": figures.mmd,
    "nmi": lambda rows, labels: figures.nmi(rows, labels, starts=10, seed=0),
    "separability": figures.separability,
}


def sample(heads=3, n=30, dim=5, seed=0):
    """Heads whose classes lie apart, each by more than the one before, off the origin."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < 0.4).astype(np.int64)
    labels[:2] = 0, 1
    mix = generator.normal(size=(heads, dim, dim))
    rows = generator.normal(size=(heads, n, dim)) @ mix + 7.0
    rows += labels[:, None] * np.arange(1, heads + 1)[:, None, None] * generator.normal(size=dim)
    return rows, labels


def naive_lda(rows, labels):
    normal, anomalous = rows[labels == 0], rows[labels == 1]
    gap = anomalous.mean(axis=0) - normal.mean(axis=0)
    rest = np.concatenate([normal - normal.mean(axis=0), anomalous - anomalous.mean(axis=0)])
    within = LedoitWolf(assume_centered=True).fit(rest).covariance_
    return gap @ np.linalg.solve(within, gap)


def gaussian_kl(mean_p, cov_p, mean_q, cov_q):
    """KL(p || q) with both determinants."""
    inverse, gap = np.linalg.inv(cov_q), mean_q - mean_p
    determinants = np.linalg.slogdet(cov_q)[1] - np.linalg.slogdet(cov_p)[1]
    return (np.trace(inverse @ cov_p) + gap @ inverse @ gap - len(gap) + determinants) / 2


def naive_kl(rows, labels):
    parts = [rows[labels == value] for value in (0, 1)]
    normal, anomalous = ((p.mean(axis=0), LedoitWolf().fit(p).covariance_) for p in parts)
    return (gaussian_kl(*anomalous, *normal) + gaussian_kl(*normal, *anomalous)) / 2


def naive_mmd(rows, labels):
    squares = [[sum((a - b) ** 2) for b in rows] for a in rows]
    different = [squares[i][j] for i in range(len(rows)) for j in range(i)]
    kernel = np.exp(-np.asarray(squares) / (2 * np.median(different)))
    total, n = 0.0, {value: int((labels == value).sum()) for value in (0, 1)}
    for i, first in enumerate(labels):
        for j, second in enumerate(labels):
            sign = 1 if first == second else -1
            total += sign * kernel[i, j] / (n[first] * n[second])
    return total


def naive_nmi(rows, labels):
    """With the entropies written out, of the clustering by scikit-learn."""
    clusters = KMeans(2, n_init=10, random_state=0).fit(rows).labels_

    def entropy(values):
        shares = np.unique(values, return_counts=True)[1] / len(values)
        return -sum(p * np.log(p) for p in shares)

    joint = entropy(2 * labels + clusters)
    mutual = entropy(labels) + entropy(clusters) - joint
    return mutual / ((entropy(labels) + entropy(clusters)) / 2)


def naive_separability(rows, labels):
    normal, anomalous = rows[labels == 0], rows[labels == 1]
    gap = sum((anomalous.mean(axis=0) - normal.mean(axis=0)) ** 2)
    return gap / (anomalous.var(axis=0).sum() + normal.var(axis=0).sum())


NAIVE = dict(
    zip(NAMES, (naive_lda, naive_kl, naive_mmd, naive_nmi, naive_separability), strict=True)
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "dim"), [(30, 5), (24, 60), (9, 2)])
def test_a_figure_is_what_its_definition_says(name, n, dim):
    rows, labels = sample(n=n, dim=dim)
    found = CALLS[name](rows, labels)
    expected = [NAIVE[name](head, labels) for head in rows]
    assert found.shape == (3,)
    assert len(set(expected)) == 3 or name == "nmi"
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 20, 4), (2, 8, 30), (1, 200, 3)])
def test_a_covariance_is_shrunk_as_by_ledoit_and_wolf(shape):
    rows = np.random.default_rng(3).normal(size=shape) * np.arange(1, shape[2] + 1)
    rows -= rows.mean(axis=1, keepdims=True)
    expected = [LedoitWolf(assume_centered=True).fit(head) for head in rows]
    assert all(0 < model.shrinkage_ <= 1 for model in expected)
    found = figures.shrunk_covariance(rows, EPS)
    np.testing.assert_allclose(found, [m.covariance_ for m in expected], rtol=1e-9, atol=1e-12)


def test_of_two_rows_ledoit_and_wolf_shrink_nothing_and_eps_keeps_the_inverse():
    rows = np.asarray([[[1.0, 2.0, 2.0], [-1.0, -2.0, -2.0]]])
    assert LedoitWolf(assume_centered=True).fit(rows[0]).shrinkage_ == pytest.approx(0, abs=1e-12)
    found = figures.shrunk_covariance(rows, 0.01)[0]
    plain = rows[0].T @ rows[0] / 2
    np.testing.assert_allclose(found, 0.99 * plain + 0.01 * np.trace(plain) / 3 * np.eye(3))


@pytest.mark.parametrize("name", NAMES)
def test_the_classes_have_no_order_and_the_rows_neither(name):
    rows, labels = sample(n=40)
    expected = CALLS[name](rows, labels)
    np.testing.assert_allclose(CALLS[name](rows, 1 - labels), expected, rtol=1e-9)
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_allclose(CALLS[name](rows[:, order], labels[order]), expected, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_moving_turning_and_scaling_a_head_changes_no_figure(name):
    rows, labels = sample()
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0]
    moved = 3.5 * (rows @ turn) - 11.0
    np.testing.assert_allclose(CALLS[name](moved, labels), CALLS[name](rows, labels), rtol=1e-8)


@pytest.mark.parametrize("name", ["lda", "kl", "mmd", "separability"])
def test_the_further_apart_the_classes_the_higher(name):
    base, labels = sample(heads=1)
    base = base - base.mean(axis=1, keepdims=True)
    rows = np.concatenate([base + labels[:, None] * gap for gap in (0.0, 20.0, 40.0)])
    found = CALLS[name](rows, labels)
    assert found[0] < found[1] < found[2]


def test_clusters_that_are_the_classes_tell_all_of_them():
    rows, labels = sample(heads=1)
    assert figures.nmi(rows + 1e4 * labels[:, None], labels, starts=3, seed=5) == pytest.approx([1])


@pytest.mark.parametrize("name", NAMES)
def test_a_head_that_always_says_the_same_has_no_figure_and_spoils_no_other(name):
    rows, labels = sample()
    rows[1] = 0.25
    found = CALLS[name](rows, labels)
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2]], CALLS[name](rows[[0, 2]], labels), rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_head_has_the_same_figures_alone_as_among_others(name):
    rows, labels = sample(heads=4)
    together = CALLS[name](rows, labels)
    alone = [CALLS[name](rows[k : k + 1].copy(), labels)[0] for k in range(4)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
