"""Reading ahead: what takes a round trip per file is asked for many files at once.

On a network file system opening a file costs a millisecond and more, whatever it holds. One after
the other the artifacts of 1,900 videos would cost minutes of waiting; threads wait together. From a
local disk the same files come at once: threads would only take the interpreter from one another.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

THREADS = 8
"""Files that are waited for at once: with a millisecond for each, 8,000 in a second."""
TRIED = 3
"""Items that are computed one after the other, to see whether threads are worth it."""
SHORT_S = 0.005
"""Seconds of an item for which handing it to a thread is not much: the interpreter changes threads
as often as that by itself."""

Item = TypeVar("Item")
Found = TypeVar("Found")


def ahead(
    function: Callable[[Item], Found], items: Iterable[Item], threads: int = THREADS
) -> Iterator[Found]:
    """What a function gives for every item, in order, computed in threads some items ahead.

    Where the first items are short and do not wait, so are the others taken to be, and computed when
    they are asked for. No more than `threads` results are held beside the one that was given out. An
    error comes where the result of that item would have; what was begun for later ones is then not
    waited for.
    """
    rest = iter(items)
    if threads < 2 or not (yield from _tried(function, rest)):
        yield from map(function, rest)
        return
    with closing(_submitted(function, rest, threads)) as submitted:
        for future in submitted:
            yield future.result()


def _tried(
    function: Callable[[Item], Found], items: Iterator[Item]
) -> Generator[Found, None, bool]:
    """What a function gives for the first items; returns whether threads are worth it for more."""
    took: list[tuple[float, float]] = []
    for item in islice(items, TRIED):
        began, worked = time.perf_counter(), time.process_time()
        found = function(item)
        took.append((time.perf_counter() - began, time.process_time() - worked))
        yield found
    # The least: the first of all has libraries to load.
    wall, cpu = min(took, default=(0.0, 0.0))
    return wall > SHORT_S or cpu < wall / 2


def _submitted(
    function: Callable[[Item], Found], items: Iterable[Item], threads: int
) -> Generator[Future[Found], None, None]:
    pool = ThreadPoolExecutor(threads, "ahead")
    try:
        waiting: deque[Future[Found]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
