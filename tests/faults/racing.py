"""Many processes with the same work in the same store, started together; and holders that fall asleep."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import sys
import time
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from cache import claims
from cache.keys import Keymaker
from cache.store import Store
from cache.verify import verify
from pipeline import task as tasks
from pipeline.task import Outcome, Task, execute
from stages.backbones.parts import Parts
from stages.contract import Job, Result
from tests.faults.killed import expected_of, look
from tests.faults.kinds import Tally
from tests.faults.nursery import Child, Report, copy_inputs
from tests.faults.operations import CHANGING, Operations, harmed
from tests.faults.tiny_run import config_of

PROCESSES = 8
ROUNDS = 50
"""Races in one round of the soak."""
ITEMS = 6
STOPS = 16
"""Holders that are stopped in one round of the soak."""
SHAPES = {"states": ((64,), "float32")}


def compute(job: Job[Any]) -> Result:
    """What the stage of these races makes: a payload that says whose it is, by way of kept parts."""
    parts = Parts(job.partial or job.out)
    for start in (0, 64):
        found = parts.find(start, SHAPES)
        block = (
            parts.read(found, SHAPES) if found else {"states": np.arange(64, dtype="f4") + start}
        )
        if not found:
            parts.save(start, block)
        folder = job.out / "states" / str(start)
        folder.mkdir(parents=True)
        (folder / "numbers").write_bytes(block["states"].tobytes())
    (job.out / "by").write_text(f"process {os.getpid()}")
    return Result(rows=1)


def task_of(store: Path, number: int) -> Task:
    """One item of these races."""
    return Task(
        stage="toy", version=1, item=f"video {number}", settings=None, recipe={},
        inputs={"source": number}, members={}, store=store, single={}, many={}, values={},
    )  # fmt: skip


def work(store: Path, numbers: list[int]) -> dict[int, Outcome]:
    """Make items as a run does: what another is making is asked for again."""
    sys.modules["stages.toy"] = types.ModuleType("stages.toy")
    sys.modules["stages.toy"].compute = compute  # type: ignore[attr-defined]
    done: dict[int, Outcome] = {}
    with mock.patch.object(tasks, "environment", return_value={}):
        while waiting := [n for n in numbers if n not in done]:
            for number in waiting:
                outcome = execute(task_of(store, number))
                if outcome.status != "busy":
                    done[number] = outcome
            time.sleep(0.005)
    return done


def together(count: int, action: Callable[[int, Report], object]) -> list[list[Any]]:
    """Start processes that wait for one another; what each has reported, without an error."""
    reading, writing = os.pipe()

    def live(rank: int, report: Report) -> None:
        os.close(writing)
        os.read(reading, 1)  # all at once: when the other end is closed
        action(rank, report)

    children = [Child(lambda report, r=rank: live(r, report)) for rank in range(count)]  # type: ignore[misc]
    os.close(reading)
    os.close(writing)
    said = []
    for child in children:
        child.wait()
        said.append(child.reports())
        assert child.status == 0, said[-1]
    return said


def no_locks(calls: list[str]) -> Any:
    """Within this block no lock of the file system locks anything; says who asked for one."""

    def pretend(*args: Any, **options: Any) -> None:
        calls.append("lock")

    return mock.patch.multiple(fcntl, flock=pretend, lockf=pretend)


def race_publishes(rng: random.Random, folder: Path) -> Tally:
    """Eight processes make the same items, again and again; every other time no lock locks anything."""
    tally = Tally()
    for number in range(ROUNDS):
        store = Store.open(folder / f"store-{number}")
        unlocked = bool(number % 2)

        def act(rank: int, report: Report, store: Store = store, unlocked: bool = unlocked) -> None:
            order = rng.sample(range(ITEMS), ITEMS)
            if rank % 2:
                order = sorted(order)
            calls: list[str] = []
            if unlocked:
                with no_locks(calls):
                    done = work(store.root, order)
            else:
                done = work(store.root, order)
            report("locks", len(calls))
            for item, outcome in done.items():
                report("made", item, outcome.status, outcome.digest, outcome.message)

        said = [told for reports in together(PROCESSES, act) for told in reports]
        assert not sum(told[1] for told in said if told[0] == "locks"), "a lock was asked for"
        made = [told[1:] for told in said if told[0] == "made"]
        _check_items(store, made, range(ITEMS))
        statuses = Counter(status for _, status, _, _ in made)
        assert statuses["built"] == ITEMS, "an item was made twice"
        tally.figures.update(statuses)
        tally.figures["without locks"] += unlocked
        tally.tried += 1
        tally.survived += 1
        shutil.rmtree(store.root)
    return tally


def _check_items(store: Store, made: list[list[Any]], items: range) -> None:
    """One artifact per item, which is what every process was told; and nothing is left behind."""
    digests = look(store.root).digests
    names = {n: f"toy/{Keymaker('toy', 1, {}).key({'source': n})}" for n in items}
    assert set(digests) == set(names.values())
    for item, status, digest, message in made:
        assert status in ("built", "hit"), message
        assert digest == digests[names[item]], f"item {item} was told to be another one"
    assert len({item for item, *_ in made}) == len(items)
    assert list(verify(store, full=True)) == []
    left = [
        p for name in ("staging", "claims", "quarantine") for p in (store.root / name).iterdir()
    ]
    left = [p for p in left if p.name != "parts" or any(p.iterdir())]
    assert left == [], left


def race_runs(rng: random.Random, folder: Path) -> Tally:
    """Eight whole runs of one configuration, started together: each item is made once."""
    from pipeline.asked import Options
    from pipeline.progress import Progress
    from pipeline.run import run

    copy_inputs(folder.parent, folder)
    expected, _ = expected_of(folder.parent)

    def act(rank: int, report: Report) -> None:
        calls: list[str] = []
        with no_locks(calls):
            done = run(config_of(folder, "layer"), Options(until="sample"), Progress(quiet=True))
        assert not done.failures, done.failures
        report("built", done.built, len(calls))

    said = together(PROCESSES, act)
    built: Counter[str] = Counter()
    for _, made, locks in (reports[0] for reports in said):
        assert not locks
        built.update(made)
    digests = look(folder / "store").digests
    assert digests.items() <= expected.items()
    assert built == Counter(name.split("/")[0] for name in digests)
    assert {"index", "decode", "sample"} == set(built)
    assert list(verify(Store(folder / "store"), full=True)) == []
    return Tally(1, 1, Counter({"items": len(digests)}))


def stop_holders(rng: random.Random, folder: Path) -> Tally:
    """Stop a process at some operation of making an item, let another take over, let it go on."""
    tally = Tally()
    last = 200
    quick = {"LEASE_S": 0.15, "BEAT_S": 0.05}
    while tally.tried < STOPS:
        at = rng.randint(1, last)
        store = Store.open(folder / f"store-{tally.tried}-{at}")

        def sleep_in(report: Report, store: Store = store, at: int = at) -> None:
            stop = lambda: os.kill(os.getpid(), signal.SIGSTOP)  # noqa: E731
            operations = Operations(store.root, stop, at=at)
            operations.arm()
            with mock.patch.multiple(claims, **quick), harmed(operations, CHANGING):
                _report(work(store.root, [0]), report)
            report("operations", operations.seen)

        def take_over(report: Report, store: Store = store) -> None:
            with mock.patch.multiple(claims, **quick):
                _report(work(store.root, [0]), report)

        sleeper = Child(sleep_in)
        if not sleeper.is_stopped():  # it was at its end before
            last = min(last, dict(r[:2] for r in sleeper.reports())["operations"])
            shutil.rmtree(store.root)
            continue
        other = Child(take_over)
        other.wait(30)
        while_asleep = look(store.root)
        sleeper.proceed()
        sleeper.wait(30)
        made = []
        for child in (other, sleeper):
            reports = child.reports()
            assert child.status == 0, reports
            made += [told[1:] for told in reports if told[0] == "made"]
        assert look(store.root).artifacts == while_asleep.artifacts, "what was there was replaced"
        _check_items(store, made, range(1))
        tally.figures["taken over" if made[0][1] == "built" else "was made already"] += 1
        tally.figures["both made it"] += [m[1] for m in made] == ["built", "built"]
        tally.tried += 1
        tally.survived += 1
    return tally


def _report(done: dict[int, Outcome], report: Report) -> None:
    for item, outcome in done.items():
        report("made", item, outcome.status, outcome.digest, outcome.message)
