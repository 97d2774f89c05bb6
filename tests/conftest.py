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

from manifests.schema import STAGE_MANIFEST
from manifests.table import read_table
from pipeline.cli import main

KEY = 64
"""Digits of a key."""
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


def copy_of(demo: Demo, folder: Path) -> Demo:
    """The finished run in another folder, without its variants: stores can be copied.

    What only the variants have made is left out, so that the store of a test holds what one
    configuration makes.
    """
    keys = set()
    for manifest in demo.folder.glob("manifests/*.parquet"):
        keys |= set(read_table(manifest, STAGE_MANIFEST, ["key"])["key"].to_pylist())

    def left_out(where: str, names: list[str]) -> list[str]:
        if Path(where) == demo.folder:
            return [name for name in names if name in ("variants", "variants.parquet")]
        return [name for name in names if len(name) == KEY and name not in keys]

    shutil.copytree(demo.folder, folder, ignore=left_out)
    return Demo(folder, demo.printed)


@pytest.fixture
def own_demo(demo: Demo, tmp_path: Path) -> Demo:
    """A copy of the finished run, without its variants, that a test may change."""
    return copy_of(demo, tmp_path / "runs" / "demo")


@pytest.fixture
def hiprobe() -> Callable[..., Called]:
    """The command line, called in this process."""
    return call
