"""A store here, one there, and a remote one between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import cache.remote
import cache.upload
from cache.store import Store
from tests.cache.remotes import Place, place_of


@pytest.fixture
def ours(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "theirs")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty remote store in memory."""
    with place_of("memory", tmp_path / "place") as place:
        place.remote().make()
        yield place


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.remote, "BLOCK", 50)
    monkeypatch.setattr(cache.upload, "BLOCK", 50)
