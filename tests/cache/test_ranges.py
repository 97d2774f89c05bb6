"""Numbers as text: what is said can be read back as the same numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.ranges import ranges_of


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], ""),
        ([7], "7"),
        ([0, 1], "0, 1"),
        ([0, 1, 2], "0 to 2"),
        ([0, 2, 3, 4, 9], "0, 2 to 4, 9"),
        (range(33), "0 to 32"),
    ],
)
def test_three_in_a_row_are_a_range(numbers: list[int], text: str) -> None:
    assert ranges_of(numbers) == text


@given(st.sets(st.integers(0, 60), min_size=1).map(sorted))
def test_what_is_said_can_be_read_back(numbers: list[int]) -> None:
    read: list[int] = []
    for part in ranges_of(numbers).split(", "):
        first, _, last = part.partition(" to ")
        read += range(int(first), int(last or first) + 1)
    assert read == numbers
