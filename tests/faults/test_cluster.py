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

from tests.conftest import HIPROBE, Called, Demo
from tests.faults.test_interruptions import digests, start

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
        running.wait()


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
        running = subprocess.Popen(
            [*HIPROBE, "run", str(own_demo.config), "--quiet", "--until", "localize",
             "--scheduler", address, "--set", "run.store=fresh"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        forward = own_demo.folder / "fresh" / "forward"
        deadline = time.monotonic() + 120
        while len(list(forward.glob("*/*"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)  # in the middle of the forward stage
        _, said = running.communicate(timeout=240)
        assert running.returncode == 0, said.decode()
    fresh = digests(own_demo.folder / "fresh")
    assert fresh == {k: v for k, v in expected.items() if k.split("/")[0] in
                     {"index", "decode", "sample", "forward", "moments", "statistics", "select",
                      "fit", "score", "localize"}}  # fmt: skip


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
    process.communicate(timeout=15)
    assert time.monotonic() - began < 10
    assert process.returncode == 143
    time.sleep(1)
    with pytest.raises(ProcessLookupError):  # no worker is left behind in its group
        os.killpg(process.pid, 0)
    done = hiprobe("run", own_demo.config, "--quiet", *words)
    assert done.code == 0
    fresh = digests(own_demo.folder / "fresh")
    assert fresh == {
        k: v for k, v in expected.items() if k.split("/")[0] in {"index", "decode", "sample"}
    }
