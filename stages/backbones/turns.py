"""Who may use the model next, when several videos are worked on at once.

A pass needs the model for itself. Were the turn given to whoever waits, two videos would take passes
by turns, end together, and leave the model idle while both are written. So the one that began first
goes first: its last shard is hashed and written while the model is already busy with the next video.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 0.02
"""Seconds that a later item leaves the model idle for an earlier one that has just had its turn and
is about to come with its next batch: far less than a pass, more than what lies between two."""


class Turns:
    """A lock that the waiting item with the lowest ticket gets first; safe in any thread.

    Not reentrant. Items of one ticket are served in the order in which they asked.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._tickets = itertools.count()
        self._arrivals = itertools.count()
        self._waiting: list[tuple[int, int]] = []
        """A heap of (ticket, arrival)."""
        self._holder: int | None = None
        """The thread that has the turn."""
        self._expected: tuple[int, float] | None = None
        """The ticket that had the last turn, and until when it is waited for."""

    @property
    def waiting(self) -> int:
        """How many threads wait for a turn."""
        with self._changed:
            return len(self._waiting)

    def ticket(self) -> int:
        """The ticket of an item that begins now: higher than every earlier one."""
        return next(self._tickets)

    @contextmanager
    def of(self, ticket: int) -> Iterator[None]:
        """Wait for the turn of `ticket` and have it within the block.

        Raises RuntimeError where this very thread has the turn already: it would wait for itself.
        """
        self._take(ticket)
        try:
            yield
        finally:
            self._give(ticket)

    def done(self, ticket: int) -> None:
        """Say that `ticket` needs no turn in the near future, so that nobody is patient with it."""
        with self._changed:
            if self._expected is not None and self._expected[0] == ticket:
                self._expected = None
                self._changed.notify_all()

    def _take(self, ticket: int) -> None:
        with self._changed:
            if self._holder == threading.get_ident():
                raise RuntimeError("this thread has the turn already, and asks for another one")
            entry = (ticket, next(self._arrivals))
            heapq.heappush(self._waiting, entry)
            try:
                while self._holder is not None or self._waiting[0] != entry or self._left(ticket):
                    self._changed.wait(self._left(ticket) or None)
                self._holder = threading.get_ident()
            finally:
                # Also where the wait was interrupted: the next in line must look again.
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
                self._changed.notify_all()

    def _give(self, ticket: int) -> None:
        with self._changed:
            self._holder = None
            self._expected = (ticket, time.monotonic() + self._patience_s)
            self._changed.notify_all()

    def _left(self, ticket: int) -> float:
        """Seconds for which `ticket` stands back for an earlier one; 0 where it need not."""
        if self._holder is not None or self._expected is None or self._expected[0] >= ticket:
            return 0.0
        return max(0.0, self._expected[1] - time.monotonic())
