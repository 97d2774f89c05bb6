"""Writing beside computing: in order, with a bound, and with the first error told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.backbones.writing import WAITING, BlockWriter


def block(number: int) -> NDArray[Any]:
    return np.full(3, number)


def test_blocks_arrive_in_order_and_all_are_written_at_the_end() -> None:
    written: list[int] = []
    with BlockWriter(lambda blocks: written.extend(int(each[0]) for each in blocks)) as writer:
        for number in range(20):
            writer.put(block(number))
    assert written == list(range(20))


def test_the_next_block_is_computed_while_one_is_written() -> None:
    writing, computed = threading.Event(), threading.Event()

    def write(blocks: Iterator[NDArray[Any]]) -> None:
        next(blocks)
        writing.set()
        assert computed.wait(20)
        list(blocks)

    with BlockWriter(write) as writer:
        writer.put(block(0))
        assert writing.wait(20)
        writer.put(block(1))  # the first one is still being written
        computed.set()


def test_only_so_many_blocks_wait() -> None:
    release = threading.Event()
    taken: list[int] = []

    def write(blocks: Iterator[NDArray[Any]]) -> None:
        for each in blocks:
            taken.append(int(each[0]))
            assert release.wait(20)

    put: list[int] = []

    def feed(writer: BlockWriter) -> None:
        for number in range(6):
            writer.put(block(number))
            put.append(number)

    with BlockWriter(write) as writer:
        feeder = threading.Thread(target=feed, args=(writer,))
        feeder.start()
        feeder.join(0.5)
        assert len(put) <= 1 + WAITING
        release.set()
        feeder.join(20)
    assert taken == list(range(6))


def test_an_error_of_the_writing_reaches_the_computing() -> None:
    def write(blocks: Iterator[NDArray[Any]]) -> None:
        next(blocks)
        raise OSError(28, "No space left on device")

    def feed() -> None:
        with BlockWriter(write) as writer:
            for number in range(100):
                writer.put(block(number))

    with pytest.raises(OSError, match="No space"):
        feed()


def test_an_error_at_the_very_end_is_told_too() -> None:
    def write(blocks: Iterator[NDArray[Any]]) -> None:
        list(blocks)
        raise OSError(28, "No space left on device")

    def feed() -> None:
        with BlockWriter(write) as writer:
            writer.put(block(0))

    with pytest.raises(OSError, match="No space"):
        feed()


def test_an_error_of_the_computing_stops_the_writing() -> None:
    seen: list[BaseException] = []

    def write(blocks: Iterator[NDArray[Any]]) -> None:
        try:
            list(blocks)
        except BaseException as error:
            seen.append(error)
            raise

    def feed() -> None:
        with BlockWriter(write) as writer:
            writer.put(block(0))
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        feed()
    assert len(seen) == 1
    assert str(seen[0].__cause__) == "mine"


def test_no_thread_is_left_over() -> None:
    before = threading.active_count()
    with BlockWriter(lambda blocks: None) as writer:
        writer.put(block(0))
    assert threading.active_count() == before
