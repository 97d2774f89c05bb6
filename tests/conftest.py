"""What the end-to-end tests share: the demonstration, run once, and calls of the command line."""

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
    """A finished demonstration."""

    folder: Path
    printed: str

    @property
    def config(self) -> Path:
        return self.folder / "run.toml"


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demonstration as a person runs it; nobody may change it (see `own_demo`)."""
    folder = tmp_path_factory.mktemp("demo") / "runs" / "demo"
    done = subprocess.run(
        [*HIPROBE, "demo", "--out", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(folder, done.stdout)


@pytest.fixture
def own_demo(demo: Demo, tmp_path: Path) -> Demo:
    """A copy of the finished demonstration that a test may change: stores can be copied."""
    folder = tmp_path / "runs" / "demo"
    shutil.copytree(demo.folder, folder)
    return Demo(folder, demo.printed)


@pytest.fixture
def hiprobe() -> Callable[..., Called]:
    """The command line, called in this process."""
    return call
