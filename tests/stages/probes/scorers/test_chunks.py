"""Blocks and moments of rows that come in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError
from stages.probes.scorers import chunks
from stages.probes.scorers.chunks import blocks, moments
from tests.fitting import cut, samples


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 6), st.lists(st.integers(0, 60), max_size=6),
    st.integers(1, 40), st.integers(0, 99),
)  # fmt: skip
def test_blocks_hold_every_row_once_whatever_the_cut(
    n: int, dim: int, cuts: list[int], numbers: int, seed: int
) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "BLOCK_NUMBERS", numbers)
        found = [(first, block.copy()) for first, block in blocks(cut(rows, cuts), dim)]
    size = max(1, numbers // dim)
    assert [first for first, _ in found] == list(range(0, n, size))
    assert {len(block) for _, block in found[:-1]} <= {size}
    joined = np.concatenate([block for _, block in found])
    assert joined.dtype == np.float64
    np.testing.assert_array_equal(joined, rows)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 200), st.integers(1, 9), st.floats(-1e4, 1e4), st.floats(1e-3, 1e3),
    st.lists(st.integers(0, 200), max_size=5), st.integers(1, 99), st.integers(0, 99),
)  # fmt: skip
def test_moments_are_those_of_all_rows_and_the_cut_changes_no_bit(
    n: int, dim: int, centre: float, spread: float, cuts: list[int], numbers: int, seed: int
) -> None:
    rows = np.random.default_rng(seed).normal(centre, spread, size=(n, dim)).astype(np.float32)
    rows[:, 0] = centre
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "BLOCK_NUMBERS", numbers)
        mean, scale = moments(cut(rows, cuts), dim)
        whole = moments(lambda: iter([rows]), dim)
    assert (mean.tobytes(), scale.tobytes()) == (whole[0].tobytes(), whole[1].tobytes())
    wide = rows.astype(np.float64)
    expected = wide.std(axis=0)
    expected[expected == 0] = 1.0
    np.testing.assert_allclose(mean, wide.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scale, expected, rtol=1e-9)
    assert (mean[0], scale[0]) == (rows[0, 0], 1.0)  # a constant is met exactly


def test_a_mean_far_from_0_does_not_cancel() -> None:
    """As of the massive activations of language models: the sum of squares would give 0 or noise."""
    rows = (1e7 + np.arange(1000) % 2).astype(np.float32)[:, np.newaxis]
    mean, scale = moments(lambda: iter([rows]), 1)
    assert mean[0] == pytest.approx(1e7 + 0.5, rel=1e-15)
    assert scale[0] == pytest.approx(0.5, rel=1e-12)


def test_chunks_of_another_width_are_refused() -> None:
    rows, _ = samples(n=5, dim=4)
    with pytest.raises(ConfigError, match=r"rows of \[n, 3\] are fitted, a chunk is \[5, 4\]"):
        list(blocks(lambda: iter([rows]), 3))
