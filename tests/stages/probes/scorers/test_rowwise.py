"""Sums over a row are right, and the same whatever stands beside the row."""

from __future__ import annotations

from math import dist, exp, fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.probes.scorers.rowwise import BLOCK, products, sigmoid, squared_distances
from stages.probes.spans import Floats

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 2 * BLOCK + 1), st.integers(1, 40))


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


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_a_row_alone_gives_the_same_bits(shape: tuple[int, int, int], seed: int) -> None:
    rows, fixed = operands(shape, seed)
    at = seed % shape[0]
    for work in (products, squared_distances):
        assert work(rows[at : at + 1], fixed)[0].tobytes() == work(rows, fixed)[at].tobytes()


def test_distances_keep_their_digits_far_from_the_origin() -> None:
    rows, fixed = np.asarray([[1e9, 1e9 + 1]]), np.asarray([[1e9, 1e9]])
    assert squared_distances(rows, fixed).tolist() == [[1.0]]


def test_the_sigmoid_is_stable_at_both_ends() -> None:
    found = sigmoid(np.asarray([-1e4, -745.0, 0.0, 1.5, 745.0, 1e4]))
    assert found[0] == 0.0
    assert found[2] == 0.5
    assert found[3] == pytest.approx(1 / (1 + exp(-1.5)), rel=1e-15)
    assert found[-1] == 1.0
