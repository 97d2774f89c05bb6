"""LDA, KL and separability of a head, against their definitions and scikit-learn's covariance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.covariance import LedoitWolf

from stages.probes.heads import figures
from tests.stages.probes.heads.samples import heads, sample

EPS = 1e-6
NAMES = ("lda", "kl", "separability")


def found(rows, labels, eps=EPS):
    both = figures.class_moments(rows, labels)
    return {
        "lda": figures.lda(*both, eps),
        "kl": figures.symmetric_kl(*both, eps),
        "separability": figures.separability(*both),
    }


def covariance(rest, eps=EPS):
    """Ledoit and Wolf's, by scikit-learn, of rows whose mean is zero; shrunk by `eps` at least."""
    model = LedoitWolf(assume_centered=True).fit(rest)
    plain = rest.T @ rest / len(rest)
    share = max(model.shrinkage_, eps)
    return (1 - share) * plain + share * np.trace(plain) / len(plain) * np.eye(len(plain))


def gaussian_kl(mean_p, cov_p, mean_q, cov_q):
    """KL(p || q) with both determinants."""
    inverse, gap = np.linalg.inv(cov_q), mean_q - mean_p
    determinants = np.linalg.slogdet(cov_q)[1] - np.linalg.slogdet(cov_p)[1]
    return (np.trace(inverse @ cov_p) + gap @ inverse @ gap - len(gap) + determinants) / 2


def naive(rows, labels, eps=EPS):
    """The formulas as they stand; NaN where a class (for KL) or both have no spread."""
    parts = [rows[labels == value] for value in (0, 1)]
    means = [part.mean(axis=0) for part in parts]
    rests = [part - mean for part, mean in zip(parts, means, strict=True)]
    flat = [bool((part == part[0]).all()) for part in parts]
    gap = means[1] - means[0]
    lda = separability = kl = np.nan
    if not all(flat):
        lda = gap @ np.linalg.solve(covariance(np.concatenate(rests), eps), gap)
        spread = sum(sum(sum(row**2) for row in rest) / len(rest) for rest in rests)
        separability = sum(gap**2) / spread
    if not any(flat):
        normal, anomalous = ((m, covariance(r, eps)) for m, r in zip(means, rests, strict=True))
        kl = (gaussian_kl(*anomalous, *normal) + gaussian_kl(*normal, *anomalous)) / 2
    return {"lda": lda, "kl": kl, "separability": separability}


@pytest.mark.parametrize(("n", "dim"), [(30, 5), (24, 60), (9, 2), (300, 40)])
def test_a_figure_is_what_its_definition_says(n, dim):
    rows, labels = sample(n, dim)
    expected = naive(rows, labels)
    assert found(rows, labels) == pytest.approx(expected, rel=1e-9)
    assert np.isfinite(list(expected.values())).all()


@settings(max_examples=300, deadline=None)
@given(heads())
def test_it_is_so_for_any_rows(head):
    # With 1e-3 the shrunk covariances have inverses that the naive code too knows to nine digits.
    mine, expected = found(*head, eps=1e-3), naive(*head, eps=1e-3)
    for name in NAMES:
        assert mine[name] == pytest.approx(expected[name], rel=1e-8, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("shape", [(20, 4), (8, 30), (200, 3), (60, 128)])
def test_a_covariance_is_shrunk_as_by_ledoit_and_wolf(shape):
    rows = np.random.default_rng(3).normal(size=shape) * np.arange(1, shape[1] + 1)
    labels = np.repeat([0, 1], [len(rows), 1])
    moments, _ = figures.class_moments(np.concatenate([rows, rows[:1]]), labels)
    model = LedoitWolf().fit(rows)
    assert 0 < model.shrinkage_ <= 1
    np.testing.assert_allclose(
        figures.shrunk_covariance(moments, EPS), model.covariance_, rtol=1e-9, atol=1e-12
    )


def test_of_two_rows_ledoit_and_wolf_shrink_nothing_and_eps_keeps_the_inverse():
    rows = np.asarray([[1.0, 2.0, 2.0], [-1.0, -2.0, -2.0], [0.0, 0.0, 0.0]])
    assert LedoitWolf(assume_centered=True).fit(rows[:2]).shrinkage_ == pytest.approx(0, abs=1e-12)
    moments, _ = figures.class_moments(rows, np.asarray([0, 0, 1]))
    plain = rows[:2].T @ rows[:2] / 2
    expected = 0.99 * plain + 0.01 * np.trace(plain) / 3 * np.eye(3)
    np.testing.assert_allclose(figures.shrunk_covariance(moments, 0.01), expected)


def test_moments_are_those_of_the_class():
    rows, labels = sample(40, 3)
    for label, moments in enumerate(figures.class_moments(rows, labels)):
        part = rows[labels == label]
        assert moments.n == len(part)
        np.testing.assert_allclose(moments.mean, part.mean(axis=0))
        np.testing.assert_allclose(moments.covariance, np.cov(part.T, ddof=0))
        lengths = ((part - part.mean(axis=0)) ** 2).sum(axis=1)
        assert moments.fourth == pytest.approx((lengths**2).mean())
        assert moments.variance == pytest.approx(part.var(axis=0).sum())


def test_the_classes_have_no_order_and_the_rows_neither():
    rows, labels = sample(40)
    expected = pytest.approx(found(rows, labels), rel=1e-9)
    order = np.random.default_rng(1).permutation(40)
    assert found(rows, 1 - labels) == expected
    assert found(rows[order], labels[order]) == expected


def test_moving_turning_and_scaling_a_head_changes_no_figure():
    rows, labels = sample()
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0]
    moved = 3.5 * (rows @ turn) - 11.0
    assert found(moved, labels) == pytest.approx(found(rows, labels), rel=1e-8)


def test_the_further_apart_the_classes_the_higher():
    rows, labels = sample(gap=0.0)
    apart = [found(rows + labels[:, None] * gap, labels) for gap in (0.0, 20.0, 40.0)]
    for name in NAMES:
        assert apart[0][name] < apart[1][name] < apart[2][name]


def test_what_has_no_spread_has_no_figure():
    rows, labels = sample()
    assert np.isnan([*found(np.full_like(rows, 0.1), labels).values()]).all()
    # Each class says the same of all its rows: they lie apart, and nothing says how far.
    assert np.isnan([*found(np.repeat(labels[:, None] + 0.1, 5, axis=1), labels).values()]).all()
    rows[labels == 1] = 0.1
    one = found(rows, labels)
    assert np.isnan(one["kl"])
    assert one["lda"] > 0
    assert one["separability"] > 0
