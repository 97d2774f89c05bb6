"""Pausing the collector of reference cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Within this block Python does not look for reference cycles.

    A plan of 100,000 videos makes millions of small objects that all stay and hold no cycle; the
    collector would look at every one of them again and again (a quarter of the time).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
