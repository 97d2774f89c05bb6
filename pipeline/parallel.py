"""Many transfers at once: tried again where the connection broke, all stopped where it is gone."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from cache.errors import RunStopped, Unreachable
from cache.moved import Tick
from pipeline.signals import leave_in_time

Work = TypeVar("Work")
Done = TypeVar("Done")

TRIES = 3
PAUSE_S = 1.0
"""Seconds before a second try; twice that before the third."""


class _Stopped(Exception):
    """Another transfer has failed for good, or a person has had enough."""


def each(
    work: Sequence[Work], do: Callable[[Work, Tick], Done], jobs: int, tick: Tick
) -> Generator[tuple[Work, Done], None, None]:
    """Do something with everything, `jobs` at once, and yield what came of it as it comes.

    Raises what `do` raises, after the others have stopped at their next piece: Unreachable only
    after the last of TRIES tries, RunStopped in the place of an OSError of this machine.
    """
    stop = threading.Event()

    def ticked(count: int) -> None:
        if stop.is_set():
            raise _Stopped
        tick(count)

    def one(item: Work) -> tuple[Work, Done]:
        for number in range(1, TRIES + 1):
            try:
                ticked(0)
                return item, do(item, ticked)
            except Unreachable as error:
                if number == TRIES or stop.wait(PAUSE_S * number):
                    text = f"{error}; what has arrived stays: the same command goes on from there"
                    raise Unreachable(text) from None
            except OSError as error:
                raise RunStopped(_trouble(error)) from error
        raise AssertionError("the last try returns or raises")

    with leave_in_time(), ThreadPoolExecutor(jobs) as pool:
        try:
            futures = [pool.submit(one, item) for item in work]
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _trouble(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left: {error}; make room and try again, what has arrived is kept"
    return f"the store cannot be read or written: {error}"
