"""Pictures reach their segments, few are held, and a reader's error is not lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import ItemError
from stages.backbones.feeding import Picture, group_pictures, read_ahead, wanted_frames


def picture(frame: int) -> Picture:
    return np.full((1, 1, 3), frame, dtype=np.uint8)


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=6), max_size=12))
def test_each_group_gets_its_own_pictures(groups: list[list[int]]) -> None:
    wanted = wanted_frames(groups)
    assert wanted == sorted({frame for group in groups for frame in group})
    found = list(group_pictures(groups, ((frame, picture(frame)) for frame in wanted)))
    assert [[int(each[0, 0, 0]) for each in group] for group in found] == groups


def test_a_picture_is_read_when_it_is_needed() -> None:
    arrived: list[int] = []

    def stream() -> Iterator[tuple[int, Picture]]:
        for frame in (1, 2, 3, 4):
            arrived.append(frame)
            yield frame, picture(frame)

    groups = group_pictures([[1, 2], [2, 3], [4]], stream())
    seen = [list(arrived) for _ in groups]
    assert seen == [[1, 2], [1, 2, 3], [1, 2, 3, 4]]


def test_a_stream_that_ends_early_is_an_item_error() -> None:
    with pytest.raises(ItemError, match="before frame 3"):
        list(group_pictures([[1], [3]], iter([(1, picture(1))])))


@given(st.integers(0, 9), st.integers(1, 4))
def test_reading_ahead_changes_nothing(count: int, depth: int) -> None:
    assert list(read_ahead(iter(range(count)), depth)) == list(range(count))


def test_it_reads_at_most_the_depth_before_it_is_asked() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    ahead = read_ahead(items(), 2)
    assert next(ahead) == 0
    assert third.wait(10)
    ahead.close()
    assert made == [0, 1, 2]


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ItemError("damaged")

    ahead = read_ahead(items(), 3)
    assert next(ahead) == 1
    with pytest.raises(ItemError, match="damaged"):
        next(ahead)


def test_no_thread_is_left_over() -> None:
    before = threading.active_count()
    ahead = read_ahead(iter(range(100)), 2)
    next(ahead)
    ahead.close()
    assert threading.active_count() == before
