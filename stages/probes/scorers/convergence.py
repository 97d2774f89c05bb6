"""Whether a fit of scikit-learn has converged, which it says by a warning."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Outcome:
    """How a fit went; to be read after it."""

    converged: bool = True


class _Watch:
    """Takes the ConvergenceWarnings of the threads that are watched, each for its own outcome.

    `warnings.catch_warnings` alone is for one thread: what it changes holds for the whole process,
    and two that overlap put back one another's state. Here the first that begins changes it, and
    the last that ends puts it back.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.outcomes: dict[int, Outcome] = {}
        """By the number of the thread."""
        self.caught: warnings.catch_warnings[None] | None = None

    def begin(self) -> Outcome:
        from sklearn.exceptions import ConvergenceWarning

        outcome = Outcome()
        with self.lock:
            if self.caught is None:
                self.caught = warnings.catch_warnings()
                self.caught.__enter__()
                warnings.simplefilter("always", ConvergenceWarning)
                warnings.showwarning = self._show(warnings.showwarning, ConvergenceWarning)
            self.outcomes[threading.get_ident()] = outcome
        return outcome

    def end(self) -> None:
        with self.lock:
            del self.outcomes[threading.get_ident()]
            if not self.outcomes and self.caught is not None:
                self.caught.__exit__(None, None, None)
                self.caught = None

    def _show(self, others: Any, wanted: type[Warning]) -> Any:
        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            outcome = self.outcomes.get(threading.get_ident())
            if outcome is not None and issubclass(category, wanted):
                outcome.converged = False
            else:
                others(message, category, *where, **more)

        return show


_WATCH = _Watch()


@contextmanager
def watched() -> Iterator[Outcome]:
    """A ConvergenceWarning of this thread becomes part of the outcome; other warnings pass."""
    outcome = _WATCH.begin()
    try:
        yield outcome
    finally:
        _WATCH.end()
