"""Garbage collection: what goes, what stays, and what others see meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import collect as collecting
from cache.artifact import EVICTED
from cache.collect import collect, garbage, leftovers, quarantined
from cache.errors import DamagedArtifact, RunStopped
from cache.eviction import evict, size_of
from cache.roots import Root, planning, read_roots, renew_root, write_root
from cache.store import Store
from cache.trash import Trash, recover
from tests.cache.stores import fill, findings, key_of, publish, staged

DAY = 24 * 3600.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def root_of(*numbers: int, name: str = "run") -> Root:
    """A run that reaches the artifacts of these videos."""
    return Root(name, name, {"decode": {f"v{n}": key_of(n) for n in numbers}} if numbers else {})


def age(store: Store, number: int, days: float) -> None:
    """As if an artifact had come into the store so many days ago."""
    then = time.time() - days * DAY
    for name in (key_of(number), key_of(number) + EVICTED):
        record = store.folder("decode", name).with_name(name) / "commit.json"
        if record.exists():
            os.utime(record, (then, then))


def old(store: Store, *numbers: int) -> None:
    for number in numbers:
        publish(store, number)
        age(store, number, 30)


def found(store: Store, age_s: float = 7 * DAY) -> list[str]:
    return [one.key for one in garbage(store, read_roots(store.root), age_s)]


def gc(store: Store, **options: float) -> collecting.Collected:
    return collect(store, list(garbage(store, read_roots(store.root))), **options)  # type: ignore[arg-type]


def keys(*numbers: int) -> list[str]:
    return sorted(key_of(n) for n in numbers)


# What is garbage


@settings(deadline=None, max_examples=15)
@given(
    runs=st.lists(st.sets(st.integers(0, 5)), max_size=3),
    evicted=st.sets(st.integers(0, 5)),
    young=st.sets(st.integers(0, 5)),
)
def test_garbage_is_what_no_root_reaches_and_is_old(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[set[int]],
    evicted: set[int],
    young: set[int],
) -> None:
    store = Store.open(tmp_path_factory.mktemp("store") / "store")
    old(store, *range(6))
    for number, reached in enumerate(runs):
        write_root(store.root, root_of(*reached, name=f"run{number}"))
    for number in evicted:
        evict(store, "decode", key_of(number))
    for number in young:
        age(store, number, 1)
    expected = set(range(6)) - set().union(*runs) - young
    assert sorted(found(store)) == keys(*expected)
    done = gc(store)
    assert sorted(one.key for one in done.removed) == keys(*expected)
    assert sorted(store.keys("decode")) == keys(*(set(range(6)) - expected))
    assert {one.key for one in done.removed if one.evicted} == set(keys(*(expected & evicted)))
    assert findings(store) == []
    assert staged(store) == []
    assert found(store) == []


def test_what_a_run_reached_lately_is_left_alone(store: Store) -> None:
    """Its age counts from the moment since when nobody needs it."""
    old(store, 0, 1)
    renew_root(store.root, root_of(0, 1), complete=True)
    renew_root(store.root, root_of(1), complete=True)
    assert found(store) == []
    (one,) = garbage(store, read_roots(store.root), 0.0)
    assert (one.key, one.reached_by) == (key_of(0), "run")
    assert abs(one.until - time.time()) < 60


def test_of_an_unfinished_run_everything_counts(store: Store) -> None:
    old(store, 0, 1)
    renew_root(store.root, root_of(0), complete=True)
    renew_root(store.root, root_of(1), complete=False)
    assert found(store, 0.0) == []


@pytest.mark.parametrize("off", [-1e6, 1e6])
def test_a_clock_that_is_off_collects_nothing_more_and_nothing_less(
    store: Store, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(store, 0)
    publish(store, 1)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + off)
    assert found(store) == [key_of(0)]


def test_a_root_that_cannot_be_read_stops_everything(store: Store) -> None:
    old(store, 0)
    write_root(store.root, root_of(1))
    candidates = list(garbage(store, read_roots(store.root)))
    path = store.root / "roots" / "run.txt"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedArtifact):
        found(store)
    with pytest.raises(DamagedArtifact):
        collect(store, candidates)
    assert store.keys("decode") == [key_of(0)]
    assert staged(store) == []


def test_parts_and_drafts_that_nobody_needs_are_found(store: Store) -> None:
    """Those of an item that a run wants, and has not made yet, stay however old."""
    write_root(store.root, root_of(0, 1))
    publish(store, 1)
    for number in (0, 1, 2, 3):
        fill(store.parts(key_of(number)), {"shard": b"12345"})
        if number != 3:
            for path in (store.parts(key_of(number)) / "shard", store.parts(key_of(number))):
                os.utime(path, (0, 0))
    dead = store.root / "staging" / "decode~elsewhere~1~0123456789ab"
    fill(dead, {"x": b"123"})
    for path in (dead / "x", dead):
        os.utime(path, (0, 0))
    for name, hours in (("roots/.run.txt.0123.tmp", 25), ("claims/.clock.0123", 1)):
        fill(store.root, {name: b"1234"})
        then = time.time() - 3600 * hours
        os.utime(store.root / name, (then, then))
    rest = list(leftovers(store, read_roots(store.root)))
    assert sorted(one.path.name for one in rest if one.what == "parts") == keys(1, 2)
    drafts = [(one.path, one.bytes) for one in rest if one.what == "draft"]
    assert drafts == [(dead, 3), (store.root / "roots" / ".run.txt.0123.tmp", 4)]


def test_what_was_set_aside_is_found_by_when_it_was(store: Store) -> None:
    old(store, 0)
    store.quarantine("decode", key_of(0))
    assert list(quarantined(store)) == []
    (one,) = quarantined(store, 0.0)
    assert one.bytes == size_of(one.path) > 0


# Beside others


def collected_while(
    store: Store, happens: Callable[[], None], *, plans: bool = True
) -> collecting.Collected:
    """Collect while a process that had announced itself before does something."""
    candidates = list(garbage(store, read_roots(store.root)))
    seen = []

    def waiting(count: int) -> None:
        if not seen:
            seen.append(count)
            happens()
            done.set()

    done = threading.Event()

    def plan() -> None:
        with planning(store.root):
            ready.set()
            done.wait(10)

    ready = threading.Event()
    planner = threading.Thread(target=plan)
    planner.start()
    ready.wait(10)
    result = collect(store, candidates, waiting=waiting)
    planner.join()
    assert seen == [1]
    return result


def test_what_is_being_planned_with_is_put_back(store: Store) -> None:
    """He saw them before they were taken away, and wrote that he needs one of them."""
    old(store, 0, 1)
    evict(store, "decode", key_of(1))
    old(store, 2)
    write_root(store.root, root_of(9))
    inode = store.folder("decode", key_of(0)).stat().st_ino

    def needs() -> None:
        assert store.record("decode", key_of(0)) is None
        write_root(store.root, root_of(0, 1))

    done = collected_while(store, needs)
    assert sorted(one.key for one in done.kept) == keys(0, 1)
    assert [one.key for one in done.removed] == [key_of(2)]
    assert store.folder("decode", key_of(0)).stat().st_ino == inode
    assert store.find("decode", key_of(1)) is None
    assert store.record("decode", key_of(1)) is not None
    assert findings(store) == []
    assert staged(store) == []


def test_what_is_published_meanwhile_stays(store: Store) -> None:
    old(store, 0, 1)
    write_root(store.root, root_of(9))

    def make() -> None:
        publish(store, 0)
        publish(store, 1)
        write_root(store.root, root_of(1))

    done = collected_while(store, make)
    assert sorted(store.keys("decode")) == keys(0, 1)
    assert [one.key for one in done.kept] == [key_of(1)]
    assert findings(store) == []
    assert staged(store) == []


def test_who_plans_too_long_is_not_robbed(store: Store) -> None:
    old(store, 0)
    write_root(store.root, root_of(1))
    with planning(store.root), pytest.raises(RunStopped, match="nothing was; try again"):
        gc(store, patience_s=0.1)
    assert store.find("decode", key_of(0)) is not None
    assert staged(store) == []


def test_who_begins_to_plan_later_is_not_waited_for(store: Store) -> None:
    """He does not see what was taken: else one who plans again and again would stop it for ever."""
    old(store, 0)
    write_root(store.root, root_of(1))
    candidates = list(garbage(store, read_roots(store.root)))
    take, later = Trash.take, []

    def take_then(self: Trash, folder: Path) -> bool:
        gone = take(self, folder)
        before = collecting.announced

        def once(root: Path) -> set[str]:
            found = before(root)
            if not later:
                later.append(planning(store.root))
                later[0].__enter__()
            return found

        collecting.announced = once
        return gone

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trash, "take", take_then)
        patch.setattr(collecting, "announced", collecting.announced)
        done = collect(store, candidates, patience_s=5)
    later[0].__exit__(None, None, None)
    assert len(done.removed) == 1


def test_whoever_comes_second_leaves_nothing_behind(store: Store) -> None:
    old(store, 0, 1)
    write_root(store.root, root_of(0))
    found = list(garbage(store, read_roots(store.root)))
    assert [one.key for one in collect(store, found).removed] == keys(1)
    assert collect(store, found).removed == ()
    assert staged(store) == []


def test_two_at_once_remove_everything_once(store: Store) -> None:
    old(store, *range(8))
    write_root(store.root, root_of(0))
    both = [list(garbage(store, read_roots(store.root))) for _ in range(2)]
    done: list[collecting.Collected] = []
    threads = [threading.Thread(target=lambda c=c: done.append(collect(store, c))) for c in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.key for each in done for one in each.removed) == keys(*range(1, 8))
    assert store.keys("decode") == [key_of(0)]
    assert staged(store) == []


def test_the_trash_of_a_process_that_died_is_put_back(store: Store) -> None:
    old(store, 0, 1, 2)
    evict(store, "decode", key_of(1))
    name = staged_name(store, pid=2**22 + 1)  # above every process number
    trash = Trash(store, store.root / "staging" / "trash" / name)
    for key in (key_of(0), key_of(1) + EVICTED, key_of(2)):
        assert trash.take(store.root / "decode" / key[:2] / key)
    publish(store, 2)  # made again meanwhile
    assert store.sweep() == 0
    assert recover(store) == 2
    assert sorted(store.keys("decode")) == keys(0, 1, 2)
    assert store.listing("decode").evicted == {key_of(1)}
    assert staged(store) == []
    assert findings(store) == []


def test_the_trash_of_a_living_process_is_left_alone(store: Store) -> None:
    old(store, 0)
    trash = Trash(store)
    trash.take(store.folder("decode", key_of(0)))
    assert (store.sweep(), recover(store)) == (0, 0)
    assert trash.path.exists()
    assert trash.put_all_back() == 1
    assert store.find("decode", key_of(0)) is not None


def staged_name(store: Store, pid: int) -> str:
    with store.draft("decode", 1, {}, {}) as draft:
        stage, host, _, unique = draft.path.name.split("~")
    return f"{stage}~{host}~{pid}~{unique}"
