"""MMD of a head, against the sum over all pairs of rows written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.probes.heads import discrepancy
from stages.probes.heads.discrepancy import mmd, pairs_of, room_for
from tests.stages.probes.heads.samples import centred, heads, sample


def found(rows, labels):
    return mmd(centred(rows), pairs_of(labels), room_for(len(rows)))


def naive(rows, labels):
    """The mean of the kernel within each class, less twice that between them."""
    squares = [[sum((a - b) ** 2) for b in rows] for a in rows]
    different = [squares[i][j] for i in range(len(rows)) for j in range(i)]
    scale = np.median(different)
    if scale == 0:
        return np.nan
    total, n = 0.0, {value: int((labels == value).sum()) for value in (0, 1)}
    for i, first in enumerate(labels):
        for j, second in enumerate(labels):
            sign = 1 if first == second else -1
            total += sign * np.exp(-squares[i][j] / (2 * scale)) / (n[first] * n[second])
    return total


@pytest.mark.parametrize(
    ("n", "dim"), [(30, 5), (31, 60), (2, 3), (3, 1), (64, 2), (65, 3), (150, 16)]
)
def test_it_is_what_its_definition_says(n, dim):
    rows, labels = sample(n, dim)
    assert found(rows, labels) == pytest.approx(naive(rows, labels), rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(heads())
def test_it_is_so_for_any_rows(head):
    rows, labels = head
    assert found(rows, labels) == pytest.approx(
        naive(rows, labels), rel=1e-7, abs=1e-10, nan_ok=True
    )


def test_the_classes_have_no_order_and_the_rows_neither():
    rows, labels = sample(40)
    expected = pytest.approx(found(rows, labels), rel=1e-9)
    order = np.random.default_rng(1).permutation(40)
    assert found(rows, 1 - labels) == expected
    assert found(rows[order], labels[order]) == expected
    assert found(2.5 * rows - 9, labels) == expected


def test_the_further_apart_the_classes_the_higher_and_never_negative():
    rows, labels = sample(gap=0.0)
    apart = [found(rows + labels[:, None] * gap, labels) for gap in (0.0, 5.0, 10.0)]
    assert 0 <= apart[0] < apart[1] < apart[2] <= 2
    # Both classes hold the same rows: nothing but roundings is left.
    assert 0 <= found(np.concatenate([rows, rows]), np.repeat([0, 1], 30)) < 1e-12


def test_where_most_rows_are_the_same_there_is_no_width():
    rows, labels = sample(20)
    rows[:18] = rows[0]
    assert np.isnan(found(rows, labels))
    assert np.isnan(found(np.full((20, 3), 0.1), labels))
    # Far off, what rounding leaves of a distance of zero is no width either.
    assert np.isnan(found(rows + 1e6, labels))


def test_memory_that_was_used_before_changes_nothing():
    (one, labels), (other, _) = sample(30, 5), sample(30, 5, seed=4)
    pairs, room = pairs_of(labels), room_for(30)
    first = mmd(centred(one), pairs, room)
    mmd(centred(other), pairs, room)
    assert mmd(centred(one), pairs, room) == first


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0]) | st.floats(0, 9), min_size=1, max_size=80),
    st.integers(1, 120),
    st.booleans(),
)
def test_the_median_is_exact_wherever_it_lies(few, repeats, ordered):
    values = np.asarray(few * repeats)
    if ordered:
        values.sort()
    before = values.copy()
    assert discrepancy._median(values, np.empty_like(values)) == np.median(values)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("peak", [-1e6, 1e6])
@pytest.mark.parametrize("n", [9000, 9001])
def test_the_median_is_exact_where_no_sample_looks(n, peak):
    values = np.random.default_rng(n).random(n)
    for place in (1, 2, 3):
        values[place :: n // discrepancy.SAMPLED] = peak
    assert discrepancy._median(values, np.empty_like(values)) == np.median(values)
