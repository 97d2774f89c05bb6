"""Reading ahead: the same results in the same order, many waited for at once, few held."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.ahead import ahead

WAIT_S = 20.0


@given(st.lists(st.integers()), st.integers(0, 9))
def test_it_gives_what_a_map_gives(items: list[int], threads: int) -> None:
    assert list(ahead(lambda item: item * 3, items, threads)) == [item * 3 for item in items]


def test_as_many_as_there_are_threads_wait_together() -> None:
    together = threading.Barrier(4, timeout=WAIT_S)
    assert len(list(ahead(lambda item: together.wait(), range(12), 4))) == 12


def test_no_more_is_begun_than_was_said() -> None:
    begun: list[int] = []
    found = ahead(lambda item: begun.append(item), range(100), 3)
    for taken in range(1, 20):
        next(found)
        time.sleep(0.002)
        assert len(begun) <= taken + 3


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_comes_in_its_place_and_ends_it(threads: int) -> None:
    def read(item: int) -> int:
        if item in (5, 7):
            raise ValueError(f"item {item}")
        return item

    found = ahead(read, range(1000), threads)
    assert [next(found) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="item 5"):
        next(found)


def test_whoever_stops_listening_leaves_no_thread() -> None:
    before = threading.active_count()
    found = ahead(lambda item: item, range(1000), 4)
    next(found)
    found.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + WAIT_S
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() <= before
