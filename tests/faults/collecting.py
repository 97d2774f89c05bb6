"""Attacks on eviction and garbage collection: killed anywhere, raced by whoever plans, makes, reads."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from cache.collect import collect, garbage, keys_of
from cache.errors import MissingArtifact
from cache.eviction import evict, finish_all
from cache.roots import Root, announced, planning, read_roots, write_root
from cache.store import Store
from cache.trash import recover
from tests.cache.stores import PAYLOAD, findings, key_of, publish, staged
from tests.faults.kinds import Tally
from tests.faults.nursery import Child, Report
from tests.faults.operations import Operations, harmed

NUMBERS = range(6)
"""Artifacts of the small store: 0 and 1 are reached, and 2 is by the end; 3 is reached and evicted."""
REACHED = frozenset({0, 1, 2, 3})
RACE_S = 1.5
"""Seconds that a race goes on."""


def root_of(numbers: frozenset[int], name: str = "run") -> Root:
    return Root(name, name, {"decode": {f"v{n}": key_of(n) for n in sorted(numbers)}})


def collect_all(store: Store) -> None:
    """Collect what no root reaches, however young."""
    recover(store)
    finish_all(store)
    collect(store, list(garbage(store, read_roots(store.root), 0.0)))
    store.sweep()


def kill_collections(rng: random.Random, folder: Path, most: int = 10**6) -> Tally:
    """Kill a collection at its 1st, 2nd, ... file operation; or at so many of them.

    In its midst a run that plans needs one of the artifacts that were taken away already.
    """

    def prepare(store: Store) -> None:
        for number in NUMBERS:
            publish(store, number)
        for number in (3, 4):
            evict(store, "decode", key_of(number))
        write_root(store.root, root_of(REACHED - {2}))

    def work(store: Store) -> None:
        with contextlib.ExitStack() as planner:
            planner.enter_context(planning(store.root))

            def need(count: int) -> None:
                write_root(store.root, root_of(REACHED))
                planner.close()

            collect(store, list(garbage(store, read_roots(store.root), 0.0)), waiting=need)

    def check(store: Store) -> None:
        roots = {key for _, key in keys_of(read_roots(store.root))}
        recover(store)
        for number in NUMBERS:
            if key_of(number) in roots:
                evicted = number == 3
                assert store.record("decode", key_of(number)) is not None, number
                assert (store.find("decode", key_of(number)) is None) == evicted, number
        write_root(store.root, root_of(REACHED))
        assert announced(store.root) == set()
        collect_all(store)
        kept = sorted(key_of(n) for n in REACHED if store.record("decode", key_of(n)))
        # 2 was garbage until a run needed it: where that was killed before, it may be gone.
        assert {*kept} >= {key_of(n) for n in REACHED - {2}}
        assert sorted(store.keys("decode")) == kept

    return _kill_each(rng, folder, prepare, work, check, most)


def kill_evictions(rng: random.Random, folder: Path, most: int = 10**6) -> Tally:
    """Kill an eviction at its 1st, 2nd, ... file operation: the artifact is whole, or evicted."""

    def prepare(store: Store) -> None:
        publish(store, 0)

    def work(store: Store) -> None:
        evict(store, "decode", key_of(0))

    def check(store: Store) -> None:
        found = store.record("decode", key_of(0))
        assert found is not None
        digest = found.digest
        if not found.evicted:
            assert found.file("table.bin").read_bytes() == PAYLOAD["table.bin"]
            evict(store, "decode", key_of(0))
        finish_all(store)
        store.sweep()
        (folder,) = store.root.glob("decode/??/*")
        assert [path.name for path in folder.iterdir()] == ["commit.json"]
        assert publish(store, 0).digest == digest

    return _kill_each(rng, folder, prepare, work, check, most)


def _kill_each(
    rng: random.Random,
    folder: Path,
    prepare: Callable[[Store], None],
    work: Callable[[Store], None],
    check: Callable[[Store], None],
    most: int,
) -> Tally:
    model = Store.open(folder / "model")
    prepare(model)

    def attempt(at: int) -> bool:
        """Whether the work was killed at this operation; False where it has fewer."""
        root = folder / f"killed-{at}"
        shutil.copytree(model.root, root)
        child = Child(lambda report: _die(root, at, lambda: work(Store(root))))
        killed = child.wait() == -signal.SIGKILL
        reports = child.reports()
        assert killed or not reports, reports
        store = Store.open(root)
        assert findings(store) == []
        check(store)
        # A probe of the clock may be left; it is collected when it is a day old.
        left = [n for n in staged(store) if not n.startswith(".")]
        assert (findings(store), left) == ([], []), at
        shutil.rmtree(root)
        return killed

    steps = _count(folder, model.root, work)
    moments = list(range(1, steps + 1))
    if len(moments) > most:
        moments = sorted(rng.sample(moments, most))
    tally = Tally()
    for at in moments:
        tally.tried += 1
        tally.survived += attempt(at)
    return tally


def _count(folder: Path, model: Path, work: Callable[[Store], None]) -> int:
    """File operations of some work."""
    root = folder / "counted"
    shutil.copytree(model, root)

    def count(report: Report) -> None:
        operations = Operations(root, lambda: None, at=-1)
        with harmed(operations):
            operations.arm()
            work(Store(root))
        report("seen", operations.seen)

    child = Child(count)
    assert child.wait() == 0
    ((_, seen),) = child.reports()
    shutil.rmtree(root)
    return int(seen)


def _die(root: Path, at: int, work: Callable[[], None]) -> None:
    operations = Operations(root, lambda: os.kill(os.getpid(), signal.SIGKILL), at=at)
    with harmed(operations):
        operations.arm()
        work()


def race_collections(rng: random.Random, folder: Path) -> Tally:
    """Two collect all the time, two plan and make: what a planner found and needs is never lost."""
    store = Store.open(folder / "store")
    write_root(store.root, Root("first", "first", {}))
    until = time.time() + RACE_S
    seeds = [rng.random() for _ in range(2)]
    children = [
        *(Child(lambda report, n=n: _plan(store, n, seeds[n], until, report)) for n in range(2)),
        *(Child(lambda report: _collect(store, until, report)) for _ in range(2)),
    ]
    tally = _tallied(children)
    tally.tried, tally.survived = tally.figures["plans"], tally.figures["kept"]
    assert findings(store) == []
    collect_all(store)
    reached = {key for _, key in keys_of(read_roots(store.root))}
    assert {*store.keys("decode")} == reached
    assert staged(store) == []
    shutil.rmtree(store.root)
    return tally


def _plan(store: Store, number: int, seed: float, until: float, report: Report) -> None:
    """As runs do it: look, write down what is needed, make what is missing."""
    rng = random.Random(seed)
    own = range(4 * number, 4 * number + 4)  # nobody else makes what is lost here
    found = 0
    while time.time() < until:
        wanted = frozenset(rng.sample(own, 2))
        with planning(store.root):
            there = [n for n in wanted if store.find("decode", key_of(n))]
            time.sleep(rng.choice((0, 0.002, 0.01)))
            write_root(store.root, root_of(wanted, f"run{number}"))
        report("plans", 1)
        for n in there:
            _await(store, n)
        for n in wanted:
            publish(store, n)
        for n in wanted:
            assert _await(store, n).file("table.bin").read_bytes() == PAYLOAD["table.bin"]
        found += len(there)
        report("kept", 1)
    report("found", found)


def _await(store: Store, number: int):  # type: ignore[no-untyped-def]
    """What is needed may be out of sight for a moment, while somebody makes sure of that."""
    deadline = time.monotonic() + 10
    while True:
        found = store.find("decode", key_of(number))
        if found is not None or time.monotonic() > deadline:
            assert found is not None, f"{number} was lost"
            return found
        time.sleep(0.001)


def _collect(store: Store, until: float, report: Report) -> None:
    removed = kept = 0
    while time.time() < until:
        found = list(garbage(store, read_roots(store.root), 0.0))
        done = collect(store, found)
        removed += len(done.removed)
        kept += len(done.kept)
    report("removed", removed)
    report("put back", kept)


def read_while_evicted(rng: random.Random, folder: Path) -> Tally:
    """Readers beside somebody who evicts and makes again: the right bytes, or words; no others."""
    store = Store.open(folder / "store")
    publish(store, 0)
    until = time.time() + RACE_S / 2

    def change(report: Report) -> None:
        for _ in itertools.takewhile(lambda _: time.time() < until, itertools.count()):
            with contextlib.suppress(MissingArtifact):
                evict(store, "decode", key_of(0))
            time.sleep(rng.choice((0, 0.001)))
            publish(store, 0)

    def read(report: Report) -> None:
        whole = told = 0
        while time.time() < until:
            try:
                artifact = store.artifact("decode", key_of(0))
                content = artifact.file("table.bin").read_bytes()
            except FileNotFoundError:  # MissingArtifact, EvictedArtifact
                told += 1
                continue
            assert content == PAYLOAD["table.bin"]
            assert artifact.digest
            whole += 1
        report("read", whole)
        report("told", told)

    children = [Child(change), Child(read), Child(read)]
    tally = _tallied(children)
    tally.tried = tally.survived = tally.figures["read"] + tally.figures["told"]
    finish_all(store)
    assert findings(store) == []
    shutil.rmtree(store.root)
    return tally


def _tallied(children: list[Child]) -> Tally:
    """What processes counted, together; none of them may have failed."""
    tally = Tally()
    for child in children:
        code = child.wait()
        for name, *values in child.reports():
            assert name != "error", values[0]
            tally.figures[name] += values[0]
        assert code == 0
    return tally
