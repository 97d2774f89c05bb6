"""Checks that take turns: who is due, and how far they have come."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import rotation as rotation_module
from cache.rotation import FILE, Coverage, Rotation
from cache.store import Store
from cache.verify import Looked, look_at, places_of
from tests.cache.stores import flip, key_of, publish


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "store")
    for number in range(6):
        publish(store, number)
    return store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as everybody is told it."""
    now = [1_000_000.0]
    monkeypatch.setattr(rotation_module.time, "time", lambda: now[0])
    return now


def read(store: Store, count: int) -> list[Looked]:
    """One check in turns that has time for so many."""
    rotation = Rotation(store)
    places = rotation.order(places_of(store))[:count]
    looks = list(look_at(store, places, full=True))
    for looked in looks:
        rotation.note(looked)
    assert rotation.save() == ""
    return looks


def test_everybody_has_their_turn_before_anybody_has_another(
    store: Store, clock: list[float]
) -> None:
    seen = []
    for _ in range(3):
        clock[0] += 60
        seen += [looked.artifact.key for looked in read(store, 2)]
    assert sorted(seen) == sorted(store.keys("decode"))
    coverage = Rotation(store).coverage()
    assert (coverage.read, coverage.of, coverage.since) == (6, 6, 1_000_060)
    clock[0] += 60
    assert [looked.artifact.key for looked in read(store, 2)] == seen[:2]
    assert Rotation(store).coverage().since == 1_000_120


@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=9), artifacts=st.integers(1, 9))
def test_against_a_naive_queue(
    counts: list[int], artifacts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store.open(tmp_path_factory.mktemp("turns") / "store")
    for number in range(artifacts):
        publish(store, number, {"a": b"a"})
    queue = sorted(store.keys("decode"))
    with pytest.MonkeyPatch.context() as patch:
        for turn, count in enumerate(counts):
            patch.setattr(rotation_module.time, "time", lambda turn=turn: 1000.0 + turn)
            expected, queue = queue[:count], queue[count:] + sorted(queue[:count])
            assert [looked.artifact.key for looked in read(store, count)] == expected
            # Those of one check were read at one time, and stand in the order of their keys.


def test_what_was_made_again_or_is_damaged_is_due_first(store: Store, clock: list[float]) -> None:
    read(store, 6)
    again, damaged = key_of(3), key_of(4)
    shutil.move(store.folder("decode", again), store.root / "staging" / "elsewhere")
    publish(store, 3)
    clock[0] += 60
    flip(store.folder("decode", damaged) / "table.bin", 5)
    read(store, 6)
    publish(store, 7)
    due = Rotation(store).order(places_of(store))
    assert {key for _, key in due[:2]} == {damaged, key_of(7)}
    assert Rotation(store).coverage().read == 5


def test_a_clock_that_was_ahead_puts_nothing_off(store: Store, clock: list[float]) -> None:
    clock[0] += 3600
    read(store, 2)
    clock[0] -= 3600
    read(store, 4)
    assert Rotation(store).coverage() == Coverage(6, 6, 1_000_000)
    clock[0] += 60
    # As if all had been read when that was known.
    assert [key for _, key in Rotation(store).order(places_of(store))] == sorted(
        store.keys("decode")
    )


def test_two_checks_at_once_keep_what_both_have_read(store: Store) -> None:
    one, two = Rotation(store), Rotation(store)
    looks = list(look_at(store, places_of(store), full=True))
    for rotation, some in ((one, looks[:3]), (two, looks[3:])):
        for looked in some:
            rotation.note(looked)
    assert one.save() == two.save() == ""
    assert Rotation(store).coverage().read == 6


def test_a_memory_that_is_damaged_or_gone_is_an_empty_one(store: Store) -> None:
    read(store, 6)
    path, chance = store.root / "catalog" / FILE, random.Random(2)
    whole = path.read_bytes()
    for _ in range(40):
        flip(path, chance.randrange(len(whole) * 8))
        assert Rotation(store).coverage().read == 0
        path.write_bytes(whole)
    path.write_bytes(whole[: len(whole) // 2])
    assert Rotation(store).coverage().read == 0
    path.unlink()
    assert Rotation(store).coverage().since is None
    assert [key for _, key in Rotation(store).order(places_of(store))] == sorted(
        store.keys("decode")
    )


def test_a_store_that_cannot_be_written_says_that_nothing_was_kept(store: Store) -> None:
    rotation = Rotation(store)
    shutil.rmtree(store.root / "catalog")
    os.close(os.open(store.root / "catalog", os.O_CREAT))
    assert "catalog" in rotation.save()
