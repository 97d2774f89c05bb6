"""Processes in milliseconds: one that has imported everything, and forks the others.

A run needs seconds to import its libraries; a hundred runs that are to be killed must not. The
parent only imports. It never uses the model library, whose threads would not survive the fork.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAVY = (
    "av", "matplotlib.figure", "pyarrow.parquet", "scipy.stats", "sklearn.linear_model", "torch",
    "torch._dynamo", "transformers.models.internvl.modeling_internvl", "zarr",
)  # fmt: skip
"""What takes long to import."""

Report = Callable[..., None]
"""Sends JSON values to the parent, at once, so that a kill loses none."""


class Child:
    """A forked process that does one thing, and what it has reported."""

    def __init__(self, work: Callable[[Report], object]) -> None:
        self._reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reading)
            _live(work, writing)
        os.close(writing)
        self._said = b""
        self.status: int | None = None
        """Exit code, or minus the signal that ended it; None while it runs."""

    def kill(self) -> None:
        """End it with no warning, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def proceed(self) -> None:
        """Let a stopped one go on."""
        os.kill(self.pid, signal.SIGCONT)

    def is_stopped(self) -> bool:
        """Wait until it is stopped (True) or has ended (False)."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        self.status = os.waitstatus_to_exitcode(status)
        return False

    def wait(self, seconds: float = 120.0) -> int:
        """Wait for its end; one that takes longer than it may is killed and fails the test."""
        deadline = time.monotonic() + seconds
        while self.status is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                self.kill()
                os.waitpid(self.pid, 0)
                raise AssertionError(f"a process was at work after {seconds} s still")
            else:
                time.sleep(0.001)
        return self.status

    def has_said(self, word: str) -> bool:
        """Wait until it reports this (True) or has ended (False)."""
        wanted = f"[{json.dumps(word)}".encode()
        while wanted not in self._said:
            more = os.read(self._reading, 1 << 16)
            if not more:
                return False
            self._said += more
        return True

    def reports(self) -> list[list[Any]]:
        """Everything that it reported, once it has ended."""
        with os.fdopen(self._reading, "rb") as pipe:
            self._said += pipe.read()
        # A line that was cut by the kill was not said.
        return [json.loads(line) for line in self._said.split(b"\n")[:-1]]


def _live(work: Callable[[Report], object], writing: int) -> None:
    def report(*values: Any) -> None:
        os.write(writing, f"{json.dumps(values)}\n".encode())

    code = 1
    try:
        work(report)
        code = 0
    except BaseException:
        report("error", traceback.format_exc())
    finally:
        os._exit(code)


@functools.cache
def tiny_run(scratch: Path) -> Path:
    """A finished tiny run (see tests/faults/tiny_run.py), and all that it imports, imported here."""
    folder = scratch / "tiny"
    for name in HEAVY:
        importlib.import_module(name)
    builder = Child(lambda report: _build(folder, report))
    said = builder.has_said("modules")
    code = builder.wait()
    (*_, told) = builder.reports()
    assert (said, code) == (True, 0), told
    for name in told[1]:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.freeze()  # a collection in a child would touch, and so copy, all of this
    return folder


def _build(folder: Path, report: Report) -> None:
    from tests.faults.tiny_run import make

    before = set(sys.modules)
    make(folder)
    left_out = ("_", "curses", "dask", "distributed", "tornado", "torch._", "torch.distributed")
    report("modules", sorted(m for m in set(sys.modules) - before if not m.startswith(left_out)))


def copy_inputs(scratch: Path, folder: Path) -> None:
    """The inputs of the tiny run in a folder of their own, without its store and results."""
    threads = [thread.name for thread in threading.enumerate()]
    assert len(threads) == 1, f"runs are forked off a process with threads, and may hang: {threads}"
    tiny = tiny_run(scratch)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("data", "backbone"):
        shutil.copytree(tiny / name, folder / name)
    shutil.copy(tiny / "run.toml", folder)
