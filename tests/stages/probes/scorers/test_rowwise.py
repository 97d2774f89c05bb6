"""Sums over a row are right, and the same whatever stands beside the row."""

from __future__ import annotations

from fractions import Fraction
from math import dist, exp, fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from stages.probes.scorers.rowwise import BLOCK, products, sigmoid, squared_distances
from stages.probes.spans import Floats

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
MANY = st.tuples(st.integers(1, 2 * BLOCK + 1), st.integers(1, 70), st.integers(1, 300))


def operands(shape: tuple[int, int, int], seed: int = 0) -> tuple[Floats, Floats]:
    n, m, dim = shape
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, dim)), generator.normal(size=(m, dim))


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_products_and_distances_equal_naive_ones(shape: tuple[int, int, int], seed: int) -> None:
    rows, fixed = operands(shape, seed)
    together, apart = products(rows, fixed), squared_distances(rows, fixed)
    assert together.shape == apart.shape == shape[:2]
    for i, row in enumerate(rows.tolist()):
        for j, other in enumerate(fixed.tolist()):
            dot = fsum(a * b for a, b in zip(row, other, strict=True))
            assert together[i, j] == pytest.approx(dot, rel=1e-12, abs=1e-13)
            assert apart[i, j] == pytest.approx(dist(row, other) ** 2, rel=1e-12, abs=1e-13)


@settings(max_examples=60, deadline=None)
@given(MANY, st.integers(0, 2**32 - 1))
def test_a_row_alone_gives_the_same_bits(shape: tuple[int, int, int], seed: int) -> None:
    rows, fixed = operands(shape, seed)
    at = seed % shape[0]
    for work in (products, squared_distances):
        together = work(rows, fixed)
        assert work(rows[at : at + 1], fixed)[0].tobytes() == together[at].tobytes()
        order = np.random.default_rng(seed).permutation(len(rows))
        assert work(rows[order], fixed).tobytes() == together[order].tobytes()


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_the_number_of_threads_changes_no_bit(limit: int) -> None:
    rows, fixed = operands((3 * BLOCK + 7, 200, 512))
    with threadpool_limits(limits=limit):
        found = squared_distances(rows, fixed)
    assert found.tobytes() == squared_distances(rows, fixed).tobytes()


def test_a_row_that_is_not_finite_spoils_no_other() -> None:
    rows, fixed = operands((5, 30, 7))
    spoilt = rows.copy()
    spoilt[2] = np.nan
    for work in (products, squared_distances):
        found, expected = work(spoilt, fixed), work(rows, fixed)
        assert np.isnan(found[2]).all()
        assert np.delete(found, 2, axis=0).tobytes() == np.delete(expected, 2, axis=0).tobytes()


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 30), st.floats(-9, 9), st.integers(0, 2**32 - 1))
def test_distances_to_many_points_keep_their_digits(m: int, size: float, seed: int) -> None:
    # Points that lie far from the origin, rows that are points, or a hair off.
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(m, 6)) + 10.0**size
    rows = np.concatenate([points[:3], points[3:6] + 1e-6 * generator.normal(size=(3, 6))])
    found = squared_distances(rows, points)
    assert not found[[0, 1, 2], [0, 1, 2]].any()
    exact = [
        [
            sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(row, p, strict=True))
            for p in points.tolist()
        ]
        for row in rows.tolist()
    ]
    for i, j in np.ndindex(found.shape):
        assert found[i, j] == pytest.approx(float(exact[i][j]), rel=1e-10)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 150), st.integers(1, 90), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_of_a_triangular_matrix_zeros_are_left_out(n: int, m: int, step: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows, lower = generator.normal(size=(n, m)), np.tril(generator.normal(size=(m, m)))
    found = products(rows, lower, step=step)
    np.testing.assert_allclose(found, rows @ lower.T, rtol=1e-11, atol=1e-11)
    at = seed % n
    assert products(rows[at : at + 1], lower, step=step)[0].tobytes() == found[at].tobytes()


def test_the_sigmoid_is_stable_at_both_ends() -> None:
    found = sigmoid(np.asarray([-1e4, -745.0, 0.0, 1.5, 745.0, 1e4]))
    assert found[0] == 0.0
    assert found[2] == 0.5
    assert found[3] == pytest.approx(1 / (1 + exp(-1.5)), rel=1e-15)
    assert found[-1] == 1.0
