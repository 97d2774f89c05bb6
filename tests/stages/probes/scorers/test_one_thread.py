"""The limit on BLAS holds for everybody who is within it, and is gone with the last."""

from __future__ import annotations

import threading

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from stages.probes.scorers.one_thread import one_thread


def threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"}


def test_two_that_overlap_are_both_on_one_thread_to_their_end() -> None:
    """Each restoring what it found, the one that came second would end on more."""
    entered, left = threading.Event(), threading.Event()
    seen: list[set[int]] = []

    def first() -> None:
        with one_thread():
            entered.set()
            assert second_in.wait(20)
        left.set()

    with threadpool_limits(limits=2):
        second_in = threading.Event()
        thread = threading.Thread(target=first)
        thread.start()
        assert entered.wait(20)
        with one_thread():
            second_in.set()
            assert left.wait(20)
            seen.append(threads())
        thread.join()
        seen.append(threads())
    assert seen == [{1}, {2}]
