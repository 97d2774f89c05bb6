"""Logistic regression over chunks: scikit-learn's coefficients, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from cache.errors import ConfigError
from stages.probes.scorers import LogisticScorer, Rows, fit_logistic
from tests.fitting import cut, options, samples

BALANCES = st.sampled_from(["weights", "resample", "none"])


def problem(seed: int, n: int, dim: int, share: float, apart: float, constant: bool) -> tuple:
    rows, labels = samples(seed, n, dim, share)
    rows[:, 0] += apart * labels
    if constant and dim > 1:
        rows[:, 1] = 3.3
    return rows, labels


PROBLEMS = st.builds(
    problem, st.integers(0, 2**32 - 1), st.integers(20, 500), st.integers(1, 64),
    st.sampled_from([0.03, 0.3, 0.5]), st.sampled_from([0.0, 1.0, 30.0]), st.booleans(),
)  # fmt: skip
STRENGTHS = st.floats(-3, 3).map(lambda power: 10.0**power)


@settings(max_examples=80, deadline=None)
@given(PROBLEMS, STRENGTHS, BALANCES)
def test_the_coefficients_are_those_of_the_fit_in_memory(
    made: tuple, c: float, balance: str
) -> None:
    """From noise to classes that one dimension parts; scikit-learn stops at the same step."""
    rows, labels = made
    chosen = options(c=c, balance=balance)
    memory, reported = LogisticScorer.fit(rows, labels, chosen)
    found, report = fit_logistic(lambda: iter([rows]), labels, rows.shape[1], chosen)
    np.testing.assert_allclose(found.weight, memory.weight, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.bias, memory.bias, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.mean, memory.mean, rtol=1e-12)
    np.testing.assert_allclose(found.scale, memory.scale, rtol=1e-12)
    assert (report.iterations, report.converged) == (reported.iterations, reported.converged)


@settings(max_examples=20, deadline=None)
@given(PROBLEMS, BALANCES)
def test_rows_that_are_not_standardised_end_at_the_same_loss(made: tuple, balance: str) -> None:
    """They are ill-conditioned: roundings lead to other steps, and both end within the tolerance."""
    rows, labels = made
    chosen = options(balance=balance, standardise=False)
    memory, reported = LogisticScorer.fit(rows, labels, chosen)
    found, report = fit_logistic(lambda: iter([rows]), labels, rows.shape[1], chosen)
    assert report.loss == pytest.approx(reported.loss, rel=1e-4, abs=1e-5)
    assert np.abs(found.score(rows) - memory.score(rows)).max() < 0.02
    assert set(found.scale) == {1.0}


def test_both_are_near_the_minimum_itself() -> None:
    """With the tolerance of the optimiser, not only equal to one another."""
    rows, labels = samples(n=300, dim=20)
    found, report = fit_logistic(lambda: iter([rows]), labels, 20, options())
    exact = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-10, max_iter=10000)
    exact.fit((rows - found.mean) / found.scale, labels)
    np.testing.assert_allclose(found.weight, exact.coef_[0], atol=5e-3)
    assert report.gradient is not None
    assert report.gradient < 1e-4


@settings(max_examples=30, deadline=None)
@given(PROBLEMS, BALANCES, st.lists(st.integers(0, 500), max_size=8))
def test_how_the_rows_are_cut_changes_no_bit(made: tuple, balance: str, cuts: list[int]) -> None:
    rows, labels = made
    chosen = options(balance=balance)
    whole, one = fit_logistic(lambda: iter([rows]), labels, rows.shape[1], chosen)
    pieces, two = fit_logistic(cut(rows, cuts), labels, rows.shape[1], chosen)
    assert one == two
    for name, values in whole.tensors().items():
        assert pieces.tensors()[name].tobytes() == values.tobytes(), name


def test_resampling_counts_a_row_as_often_as_it_is_drawn() -> None:
    rows, labels = samples(n=103, share=0.15)
    chosen = options(balance="resample", seed=5)
    memory, _ = LogisticScorer.fit(rows, labels, chosen)
    found, _ = fit_logistic(lambda: iter([rows]), labels, 6, chosen)
    other, _ = fit_logistic(lambda: iter([rows]), labels, 6, options(balance="resample", seed=6))
    np.testing.assert_allclose(found.weight, memory.weight, rtol=1e-9)
    assert np.abs(found.weight - other.weight).max() > 1e-4


def test_memory_does_not_grow_with_the_rows() -> None:
    """512 MB of rows that are made as they are asked for; benchmarks/fitting.py does it with 4 GB."""
    dim, size, count = 1024, 2048, 64
    base = np.random.default_rng(0).normal(size=(size, dim)).astype(np.float32)
    labels = np.tile((base[:, 0] > 0.5).astype(np.int64), count)

    def chunks() -> Iterator[Rows]:
        return (base for _ in range(count))

    tracemalloc.start()
    found, report = fit_logistic(chunks, labels, dim, options(max_iter=1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count * base.nbytes == 512 * 2**20
    assert peak < 20 * 2**20
    assert report.iterations == 1
    once, _ = fit_logistic(lambda: iter([base]), labels[:size], dim, options(max_iter=1, c=count))
    np.testing.assert_allclose(found.weight, once.weight, rtol=1e-6, atol=1e-9)


def test_a_fit_that_stops_early_says_so() -> None:
    rows, labels = samples()
    _, report = fit_logistic(lambda: iter([rows]), labels, 6, options(max_iter=1))
    assert (report.iterations, report.converged) == (1, False)
    assert report.gradient is not None
    assert report.gradient > 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_named(value: float) -> None:
    rows, labels = samples(n=40)
    rows[31, 2] = value
    for standardise in (True, False):
        with pytest.raises(ConfigError, match="row 31 of the rows to fit is not finite"):
            fit_logistic(cut(rows, [10, 25]), labels, 6, options(standardise=standardise))


@pytest.mark.parametrize("n", [39, 41])
def test_as_many_rows_as_labels_must_come(n: int) -> None:
    (rows, _), (_, labels) = samples(n=40), samples(n=n)
    with pytest.raises(ConfigError, match=f"40 rows came, {n} are labelled"):
        fit_logistic(lambda: iter([rows]), labels, 6, options())
