"""From a stream of pictures to batches that the model takes: grouped, read ahead, sorted by shape."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cache.errors import ItemError
from stages.backbones.contract import Picture, Prepared

T = TypeVar("T")
Numbered = tuple[int, Prepared]
"""A segment's number, and the segment as the model takes it."""


def wanted_frames(groups: Sequence[Sequence[int]]) -> list[int]:
    """The distinct frame numbers of all groups, sorted: what a reader is asked for."""
    return sorted({frame for group in groups for frame in group})


def group_pictures(
    groups: Sequence[Sequence[int]], pictures: Iterator[tuple[int, Picture]]
) -> Iterator[list[Picture]]:
    """Give each group of frame numbers its pictures, in the order of the groups.

    `pictures` brings (frame, rgb [height, width, 3]) for `wanted_frames(groups)` in that order. A
    picture is held from its arrival until the last group that shows it. Raises ItemError where the
    stream ends too early.
    """
    last_use = {frame: index for index, group in enumerate(groups) for frame in group}
    held: dict[int, Picture] = {}
    for index, group in enumerate(groups):
        for frame in group:
            while frame not in held:
                number, picture = next(pictures, (-1, None))
                if picture is None:
                    raise ItemError(f"the video ended before frame {frame}, which the plan shows")
                held[number] = picture
        yield [held[frame] for frame in group]
        held = {frame: picture for frame, picture in held.items() if last_use[frame] > index}


def read_ahead(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """The same items, made by one other thread, at most `depth` of them before they are wanted."""

    def one() -> tuple[bool, T | None]:
        for item in items:
            return True, item
        return False, None

    with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
        waiting: deque[Future[tuple[bool, T | None]]] = deque(
            pool.submit(one) for _ in range(depth)
        )
        try:
            while True:
                more, item = waiting.popleft().result()
                if not more:
                    return
                waiting.append(pool.submit(one))
                yield item  # type: ignore[misc]
        finally:
            for future in waiting:
                future.cancel()


class Buckets:
    """Segments that wait until a batch of one shape is full: nothing is ever padded."""

    def __init__(self) -> None:
        self._waiting: dict[object, list[Numbered]] = {}

    def add(self, number: int, item: Prepared, size: int) -> list[Numbered]:
        """Take a segment in; the full batch of `size` that it completes, or nothing."""
        bucket = self._waiting.setdefault(item.shape, [])
        bucket.append((number, item))
        return self._waiting.pop(item.shape) if len(bucket) >= size else []

    def rest(self) -> list[list[Numbered]]:
        """What is left of every shape, as batches that are not full."""
        found = list(self._waiting.values())
        self._waiting.clear()
        return found
