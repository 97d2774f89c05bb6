"""Rounds of the soak as tests call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.faults.kinds import Tally


def soaked(kind: str, folder: Path, seed: int = 0) -> Tally:
    """One round of a kind of fault, in a process of its own: what it forks has nothing of pytest."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--kinds", kind, "--seed", str(seed), "--json"],
        env={**os.environ, "TMPDIR": str(_fast(folder))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)["faults"][kind]
    return Tally(found["tried"], found["survived"], Counter(found["figures"]))


def _fast(folder: Path) -> Path:
    """A folder in memory where there is one: a kill does not ask what is on the disk."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else folder
