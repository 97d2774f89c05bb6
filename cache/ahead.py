"""Reading ahead: what takes a round trip per file is asked for many files at once.

On a network file system opening a file costs a millisecond and more, whatever it holds. One after
the other the artifacts of 1,900 videos would cost minutes of waiting; threads wait together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

THREADS = 8
"""Files that are waited for at once: with a millisecond for each, 8,000 in a second."""

Item = TypeVar("Item")
Found = TypeVar("Found")


def ahead(
    function: Callable[[Item], Found], items: Iterable[Item], threads: int = THREADS
) -> Iterator[Found]:
    """What a function gives for every item, in order, computed in threads some items ahead.

    No more than `threads` results are held beside the one that was given out. An error comes where
    the result of that item would have; what was begun for later ones is then not waited for.
    """
    if threads < 2:
        yield from map(function, items)
        return
    with closing(_submitted(function, items, threads)) as submitted:
        for future in submitted:
            yield future.result()


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
