"""Signals: a run that is stopped leaves within seconds, and nothing half-made can be seen."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

GRACE_S = 8.0
"""Seconds that an interrupted run has to leave by itself before it is ended hard."""


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""

    exit_code = 128 + signal.SIGTERM


@contextlib.contextmanager
def leave_in_time() -> Iterator[None]:
    """Within this block SIGINT and SIGTERM stop the run, and it is gone `GRACE_S` seconds later.

    What was being made is dropped, nothing half-made can be seen: an artifact appears by one
    rename. A library that does not let go (a decoder, a kernel) is not waited for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        timer = threading.Timer(GRACE_S, os._exit, args=(128 + number,))
        timer.daemon = True
        timer.start()
        signal.signal(number, signal.SIG_IGN)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
