"""Several items at once in threads of this process: one is written while the model runs the next.

Only one of them uses the model at a time (stages/backbones/turns.py says who); what lies before and
after a pass (decoding, digesting, forcing to the disk) needs no Python lock and overlaps with it.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Generator, Sequence

from pipeline.task import Outcome, Task, execute

ItemProgress = Callable[[str, float, float], None]
"""Called with (item, done, total), from any thread."""


class Dropped(BaseException):
    """The run has ended: what is being made is not wanted any more.

    Raised where an item reports its progress. No Exception, because it is no failure of the item.
    """


class Flight:
    """Tasks that are made in `at_once` threads, started in the order given."""

    def __init__(self, tasks: Sequence[Task], at_once: int, progress: ItemProgress) -> None:
        self._tasks = iter(tasks)
        self._at_once = at_once
        self._progress = progress
        self._taking = threading.Lock()
        self._room = threading.Semaphore(at_once)
        """Items that may be begun: an outcome makes room when it has been dealt with, so that a
        run which is to end after some failures does not hurry through more."""
        self._ended = threading.Event()
        self._landed: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        """Outcomes, an exception that is no item's, and None from each thread that is at its end."""

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Outcomes as they come.

        When the generator is left, by an error, a signal or its consumer, what is in flight is
        dropped and waited for: each item removes its own draft. A thread that does not let go keeps
        no process alive.
        """
        threads: list[threading.Thread] = []
        try:
            for number in range(self._at_once):
                thread = threading.Thread(target=self._work, name=f"item-{number}", daemon=True)
                thread.start()
                threads.append(thread)
            working = self._at_once
            while working:
                landed = self._landed.get()
                if isinstance(landed, Outcome):
                    yield landed
                    self._room.release()
                elif landed is None:
                    working -= 1
                else:
                    raise landed
        finally:
            self._ended.set()
            self._room.release(self._at_once)
            for thread in threads:
                thread.join()

    def _work(self) -> None:
        try:
            while (task := self._next()) is not None:
                outcome = execute(task, functools.partial(self._report, task.item))
                if outcome.status == "stopped":
                    self._ended.set()
                self._landed.put(outcome)
        except Dropped:
            pass
        except BaseException as error:
            self._landed.put(error)
        finally:
            self._landed.put(None)

    def _next(self) -> Task | None:
        self._room.acquire()
        with self._taking:
            return None if self._ended.is_set() else next(self._tasks, None)

    def _report(self, item: str, done: float, total: float) -> None:
        if self._ended.is_set():
            raise Dropped
        self._progress(item, done, total)
