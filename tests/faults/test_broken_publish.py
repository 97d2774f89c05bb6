"""Whatever file operation of publish, evict, quarantine, roots, ... fails, the store stays whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path

import pytest

from cache.store import Store
from tests.cache.stores import findings
from tests.faults.broken_publish import ATTACKS, ERRORS, attack

LEAST = {"publish": 40, "publish anew": 40, "publish zarr": 60, "claim": 3}
"""Operations that an action has at the very least: fewer, and the attack misses something."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what fails here is not the disk."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(prefix="hiprobe-", dir=where) as made:
        yield Path(made)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_operation_fails_once_and_from_then_on(folder: Path, name: str) -> None:
    for error in ERRORS:
        # The soak does both with Zarr, too, which is slow.
        for forever in (False, True) if name != "publish zarr" else (error == ENOSPC,):
            root = folder / f"{error}-{forever}"
            assert attack(name, root, error, forever=forever) >= LEAST.get(name, 5)
            assert findings(Store(root)) == []
