"""Reading ahead: the same results in the same order, many waited for at once, few held."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import ahead as reading_ahead
from cache.ahead import SHORT_S, TRIED, ahead

WAIT_S = 20.0


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads from the first item on: whether they are worth it is not asked."""
    monkeypatch.setattr(reading_ahead, "TRIED", 0)
    monkeypatch.setattr(reading_ahead, "SHORT_S", -1.0)


@given(st.lists(st.integers()), st.integers(0, 9))
def test_it_gives_what_a_map_gives(items: list[int], threads: int) -> None:
    assert list(ahead(lambda item: item * 3, items, threads)) == [item * 3 for item in items]


def test_as_many_as_there_are_threads_wait_together(at_once: None) -> None:
    together = threading.Barrier(4, timeout=WAIT_S)
    assert len(list(ahead(lambda item: together.wait(), range(12), 4))) == 12


def test_no_more_is_begun_than_was_said(at_once: None) -> None:
    begun: list[int] = []
    found = ahead(lambda item: begun.append(item), range(100), 3)
    for taken in range(1, 20):
        next(found)
        time.sleep(0.002)
        assert len(begun) <= taken + 3


@pytest.mark.parametrize(
    ("wall", "cpu", "in_threads"),
    [
        (0.1 * SHORT_S, 0.1 * SHORT_S, False),
        (0.9 * SHORT_S, 0.5 * SHORT_S, False),
        (0.9 * SHORT_S, 0.4 * SHORT_S, True),  # it waits
        (1.1 * SHORT_S, 1.1 * SHORT_S, True),  # it takes long
    ],
)
def test_threads_are_used_where_they_are_worth_it(
    monkeypatch: pytest.MonkeyPatch, wall: float, cpu: float, in_threads: bool
) -> None:
    clock = Clock()
    monkeypatch.setattr(reading_ahead, "time", clock)
    seen: list[int] = []

    def read(item: int) -> int:
        seen.append(threading.get_ident())
        first = item == 0  # which has libraries to load
        clock.wall += 100.0 if first else wall
        clock.cpu += 100.0 if first else cpu
        return item

    assert list(ahead(read, range(40), 4)) == list(range(40))
    own = threading.get_ident()
    assert set(seen[:TRIED]) == {own}
    assert (own not in seen[TRIED:]) == in_threads
    assert (own in seen[TRIED:]) == (not in_threads)


class Clock:
    """A clock that goes on when it is told to."""

    wall = cpu = 0.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.cpu


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


def test_whoever_stops_listening_leaves_no_thread(at_once: None) -> None:
    before = threading.active_count()
    found = ahead(lambda item: item, range(1000), 4)
    next(found)
    found.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + WAIT_S
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() <= before
