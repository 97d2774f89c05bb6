"""BLAS on one thread, also where several videos are scored at once in one process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits

_LOCK = threading.Lock()
_HELD: list[Any] = []
"""The limit that is in force, and how many are within it."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this block BLAS uses one thread.

    The limit is the whole process's. Two blocks that overlap in time, each restoring what it found,
    would let one of them go on with more threads, and with other last bits: so the first to enter
    sets it, and the last to leave takes it away.
    """
    with _LOCK:
        if not _HELD:
            _HELD.append(threadpool_limits(limits=1))
        _HELD.append(None)
    try:
        yield
    finally:
        with _LOCK:
            _HELD.pop()
            if len(_HELD) == 1:
                _HELD.pop().restore_original_limits()
