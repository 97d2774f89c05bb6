"""What the end-to-end tests share: two finished runs, and calls of the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

# The models of the tests are tiny: on two cores, threads in one product cost more than they give.
# Set before anything imports torch; the numbers are the same, bit for bit.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pipeline.cli import main

HIPROBE = [sys.executable, "-m", "pipeline"]

WAITING = "demonstration"
"""A fixture that takes minutes: the tests that ask for it begin first, and lie in one file. (`make test`
gives every file to one of two processes, so that what its tests share is made once.)"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest begin first."""
    items.sort(key=lambda item: WAITING not in getattr(item, "fixturenames", ()))


@dataclass(frozen=True)
class Called:
    """What a call of the command line gave."""

    code: int
    out: str

    def value(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


def call(*words: object) -> Called:
    """Call hiprobe in this process."""
    result = CliRunner(catch_exceptions=False).invoke(main, [str(word) for word in words])
    return Called(
        result.exit_code, result.stdout if result.exit_code in (0, 3, 4) else result.output
    )


@dataclass(frozen=True)
class Demo:
    """A finished run that holds its own inputs, as `hiprobe demo` makes one."""

    folder: Path
    printed: str

    @property
    def config(self) -> Path:
        return self.folder / "run.toml"


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demonstration as a person runs it; nobody may change it."""
    folder = tmp_path_factory.mktemp("demonstration") / "runs" / "demo"
    return _made([*HIPROBE, "demo", "--out", str(folder)], folder)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A small run (see small_run); nobody may change it (see `own_demo`)."""
    folder = tmp_path_factory.mktemp("demo") / "runs" / "demo"
    return _made([sys.executable, "-m", "tests.small_run", str(folder)], folder)


def _made(command: list[str], folder: Path) -> Demo:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(folder, done.stdout)


def copy_of(demo: Demo, folder: Path) -> Demo:
    """The finished run in another folder: stores can be copied."""
    shutil.copytree(demo.folder, folder)
    return Demo(folder, demo.printed)


@pytest.fixture
def own_demo(demo: Demo, tmp_path: Path) -> Demo:
    """A copy of the small run that a test may change."""
    return copy_of(demo, tmp_path / "runs" / "demo")


@pytest.fixture
def hiprobe() -> Callable[..., Called]:
    """The command line, called in this process."""
    return call
