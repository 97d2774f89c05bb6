"""Blocks written to disk by a thread of their own, while the next ones are computed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray

from cache.errors import RunStopped

WAITING = 1
"""Blocks that may wait to be written: one is written, one waits, one is computed."""

Block = NDArray[Any]


class BlockWriter:
    """A thread in which `write` takes blocks from an iterator that `put` feeds.

    Use as a context manager: leaving it waits for the last block; after an error in the block, or in
    the writing, `write` is told to stop by an exception, and the first error is the one raised.
    """

    def __init__(self, write: Callable[[Iterator[Block]], None]) -> None:
        self._write = write
        self._blocks: queue.Queue[Block | BaseException | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._error: BaseException | None = None
        self._finished = threading.Event()
        self.seconds = 0.0
        """Spent in writing; waiting for blocks does not count."""

    def __enter__(self) -> BlockWriter:
        """Start the thread."""
        self._thread.start()
        return self

    def put(self, block: Block) -> None:
        """Hand a block over; waits while the queue is full. Raises what the writing raised."""
        self._offer(block)
        if self._error is not None:
            raise self._error

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Wait for the end of the writing."""
        self._offer(error)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _offer(self, thing: Block | BaseException | None) -> None:
        while not self._finished.is_set():
            try:
                self._blocks.put(thing, timeout=0.1)
            except queue.Full:
                continue
            return

    def _work(self) -> None:
        began = time.perf_counter()
        try:
            self._write(self._arriving())
        except BaseException as error:
            self._error = error
        finally:
            self.seconds += time.perf_counter() - began
            self._finished.set()

    def _arriving(self) -> Iterator[Block]:
        while True:
            began = time.perf_counter()
            thing = self._blocks.get()
            self.seconds -= time.perf_counter() - began
            if thing is None:
                return
            if isinstance(thing, BaseException):
                raise RunStopped("the blocks that were to be written ended early") from thing
            yield thing
