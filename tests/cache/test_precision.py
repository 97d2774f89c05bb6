"""Bits and numbers: every pattern of two bytes is the float32 that it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.precision import from_bfloat16_bits, from_float16_bits, to_bfloat16_bits, widen

PATTERNS = np.arange(1 << 16, dtype=np.uint16)


def same_bits(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Equal bit for bit, so that -0 is not 0; of a NaN only that it is one, and its sign."""
    assert found.dtype == np.float32
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    np.testing.assert_array_equal(found.view(np.uint32)[~nan], expected.view(np.uint32)[~nan])


def test_every_pattern_of_float16_is_widened_exactly() -> None:
    same_bits(from_float16_bits(PATTERNS), PATTERNS.view(np.float16).astype(np.float32))


def test_every_pattern_of_bfloat16_is_widened_exactly() -> None:
    expected = np.asarray([np.float32(0)] * len(PATTERNS))
    expected.view(np.uint16)[1::2] = PATTERNS  # the upper half of a little-endian float32
    same_bits(from_bfloat16_bits(PATTERNS), expected)
    finite = ~np.isnan(expected)
    np.testing.assert_array_equal(to_bfloat16_bits(expected)[finite], PATTERNS[finite])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@given(rows=st.integers(0, 90), width=st.sampled_from([1, 7, 1000, 70_000]))
def test_rows_of_any_number_and_width_are_widened_into_their_place(
    dtype: str, rows: int, width: int
) -> None:
    rows = rows if width < 70_000 else rows % 3
    bits = np.random.default_rng(rows).integers(0, 1 << 16, (rows, width), dtype=np.uint16)
    bits &= 0xBBFF  # finite in both formats of two bytes
    given_ = bits if dtype == "bfloat16" else bits.view(np.float16)
    if dtype == "float32":
        given_ = bits.astype(np.float32)
    out = np.full((rows, 2, width), np.nan, dtype=np.float32)
    widen(given_, dtype, out[:, 1])
    if dtype == "bfloat16":
        expected = (bits.astype(np.uint32) << 16).view(np.float32)
    else:
        expected = given_.astype(np.float32)
    np.testing.assert_array_equal(out[:, 1], expected)
    assert np.isnan(out[:, 0]).all()
