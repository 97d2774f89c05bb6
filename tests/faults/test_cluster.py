"""Dask: the same keys and digests whichever engine is used, also when a worker dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import Called, Demo
from tests.faults.test_interruptions import digests, said, start

Hiprobe = Callable[..., Called]


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone when the block is left."""
    running = subprocess.Popen(
        [sys.executable, "-m", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def gone_within(group: int, seconds: float) -> bool:
    """Whether every process of a group is gone in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def address_of(scheduler: subprocess.Popen[bytes]) -> str:
    assert scheduler.stdout is not None
    for line in scheduler.stdout:
        if found := re.search(rb"Scheduler at:\s+(tcp://\S+)", line):
            return found[1].decode()
    raise AssertionError("the scheduler did not say its address")


@pytest.mark.slow
def test_two_workers_over_tcp_one_of_them_killed(own_demo: Demo, tmp_path: Path) -> None:
    expected = digests(own_demo.folder / "store")
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            process("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
                    "--no-dashboard")
        )  # fmt: skip
        address = address_of(scheduler)
        worker = (
            "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny",
            "--no-dashboard", "--resources", "GPU=1", "--local-directory", str(tmp_path),
        )  # fmt: skip
        first = stack.enter_context(process(*worker))
        stack.enter_context(process(*worker))
        running = start(
            own_demo, "--until", "localize", "--scheduler", address, "--set", "run.store=fresh"
        )
        forward = own_demo.folder / "fresh" / "forward"
        deadline = time.monotonic() + 120
        while len(list(forward.glob("*/*"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)  # in the middle of the forward stage
        first.wait()  # a process that nobody waits for looks alive
        assert running.wait(timeout=240) == 0, said(own_demo)
    fresh = digests(own_demo.folder / "fresh")
    assert fresh == {k: v for k, v in expected.items() if k.split("/")[0] in
                     {"index", "decode", "sample", "forward", "moments", "statistics", "select",
                      "fit", "score", "threshold", "localize"}}  # fmt: skip


@pytest.mark.slow
def test_local_workers_and_a_signal(own_demo: Demo, hiprobe: Hiprobe) -> None:
    expected = digests(own_demo.folder / "store")
    words = ("--workers", "2", "--until", "sample", "--set", "run.store=fresh")
    process = start(own_demo, *words)
    deadline = time.monotonic() + 60
    decode = own_demo.folder / "fresh" / "decode"
    while not list(decode.glob("*/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 143, said(own_demo)
    assert time.monotonic() - began < 10
    assert gone_within(process.pid, 10), "a worker was left behind"
    done = hiprobe("run", own_demo.config, "--quiet", *words)
    assert done.code == 0
    fresh = digests(own_demo.folder / "fresh")
    assert fresh == {
        k: v for k, v in expected.items() if k.split("/")[0] in {"index", "decode", "sample"}
    }
