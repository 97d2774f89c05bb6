"""Eviction and garbage collection survive being killed, and nobody beside them loses anything."""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults.collecting import (
    kill_collections,
    kill_evictions,
    race_collections,
    read_while_evicted,
)


def test_a_collection_killed_at_any_file_operation(tmp_path: Path) -> None:
    done = kill_collections(random.Random(7), tmp_path, most=40)
    assert done.survived == done.tried == 40


def test_an_eviction_killed_at_any_file_operation(tmp_path: Path) -> None:
    done = kill_evictions(random.Random(7), tmp_path, most=25)
    assert done.survived == done.tried >= 20


def test_what_a_run_needs_is_never_collected(tmp_path: Path) -> None:
    done = race_collections(random.Random(7), tmp_path)
    assert done.survived == done.tried > 0
    assert done.figures["removed"] > 0
    assert done.figures["found"] > 0


def test_a_reader_beside_an_eviction(tmp_path: Path) -> None:
    done = read_while_evicted(random.Random(7), tmp_path)
    assert done.figures["read"] > 0
    assert done.figures["told"] > 0
