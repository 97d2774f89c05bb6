"""Runs that are killed at random moments of every stage, and run again."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from cache import claims
from cache.digest import read_json
from cache.store import Store
from cache.verify import verify
from pipeline.graph import NODES
from tests.faults.kinds import Tally
from tests.faults.nursery import Child, Report, copy_inputs, tiny_run
from tests.faults.operations import CHANGING, Operations, harmed
from tests.faults.tiny_run import SCENARIOS, SHARD_ROWS, config_of

KILLS = 100
"""Kills of one round."""
IN_FLIGHT = 2
"""Items that are made at once where the model runs: run.in_flight, by default."""


@dataclass
class Seen:
    """What a store shows: nothing here comes from the code under test."""

    artifacts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Inode and time of the record, by <stage>/<key>."""
    digests: dict[str, str] = field(default_factory=dict)


def look(store: Path) -> Seen:
    """Read every artifact folder; raises AssertionError where one is not what its record lists."""
    seen = Seen()
    for folder in store.glob("*/??/*"):
        name = f"{folder.parent.parent.name}/{folder.name}"
        path = folder / "commit.json"
        assert path.exists(), f"{name} can be seen and has no record"
        record = json.loads(path.read_text())
        listed = {entry["path"]: entry["sha256"] for entry in record["files"]}
        found = {
            p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in folder.rglob("*")
            if p.is_file() and p != path
        }
        assert listed == found, f"{name} is not what its record lists"
        seen.artifacts[name] = (folder.stat().st_ino, path.stat().st_mtime_ns)
        seen.digests[name] = record["digest"]
    return seen


def results_of(folder: Path) -> dict[str, str]:
    """Digest of every file that a run gives; its logs, and what says when it ran, left out."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
        and "manifests" not in path.parts
        and path.name not in ("events.jsonl", "config.toml", "outputs.json", "SHA256SUMS")
        and not path.name.endswith(".tmp")
    }


def run_reporting(
    folder: Path, scenario: str, reached: Callable[[str], None], report: Report
) -> None:
    """Run one configuration; tell what is begun before it is begun, and what is kept after it is."""
    from cache import shards
    from pipeline import run, task
    from pipeline.progress import Progress
    from stages.backbones import passes
    from stages.backbones.parts import Parts

    build, compute, save, write = (
        task._build, passes._Video._computed, Parts.save, run.write_outputs,
    )  # fmt: skip

    def building(this: Any, store: Any, progress: Any) -> Any:
        report("begun", f"{this.stage}/{task._key(this)}")
        reached(this.stage)
        return build(this, store, progress)

    def computing(self: Any, start: int, rows: int, arriving: Any) -> Any:
        report("computing", self.job.partial.name, start)
        return compute(self, start, rows, arriving)

    def saving(self: Any, start: int, block: Any) -> None:
        save(self, start, block)
        report("kept", self._folder.name, start)
        reached("shard")

    def writing(*args: Any) -> None:
        reached("results")
        write(*args)

    with (
        mock.patch.object(shards, "SHARD_ROWS", SHARD_ROWS),
        # A claim that was cut before it said whose it is has to be waited for.
        mock.patch.multiple(claims, LEASE_S=1.0, BEAT_S=0.2),
        mock.patch.object(task, "_build", building),
        mock.patch.object(passes._Video, "_computed", computing),
        mock.patch.object(Parts, "save", saving),
        mock.patch.object(run, "write_outputs", writing),
    ):
        reached("start")
        done = run.run(config_of(folder, scenario), run.Options(), Progress(quiet=True))
        assert not done.failures, done.failures
        report("done")


@dataclass
class Death:
    """When a run is to be killed: so many operations, or seconds, after it has come to something."""

    moment: str
    operations: int = 0
    seconds: float = 0.0


class Walk:
    """Kills one run after the other until the three configurations are made, and checks each time."""

    def __init__(self, folder: Path, rng: random.Random, tally: Tally) -> None:
        self.folder, self.rng, self.tally = folder, rng, tally
        self.kept: set[tuple[str, int]] = set()
        """(key, first segment) of the shards of long videos that must survive."""

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def go(self, scenario: str, death: Death | None) -> bool:
        """Run once, and kill it; False where it got to its end before that."""
        before = look(self.store)
        child = Child(lambda report: self._live(scenario, death, report))
        if death and not death.operations and child.has_said("reached"):
            time.sleep(death.seconds)
            child.kill()
        child.wait()
        self._check(before, child)
        return child.status == -signal.SIGKILL

    def remove(self, scenario: str, stages: list[str]) -> None:
        """Take away what was made of these stages, and the results."""
        for stage in stages:
            shutil.rmtree(self.store / stage, ignore_errors=True)
        shutil.rmtree(self.folder / "runs" / scenario, ignore_errors=True)
        self.kept.clear()

    def _live(self, scenario: str, death: Death | None, report: Report) -> None:
        def die() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        operations = Operations(self.folder, die, at=death.operations if death else 0)

        def reached(moment: str) -> None:
            if death is None or moment != death.moment:
                return
            if death.operations:
                operations.arm()
            else:
                report("reached")

        with harmed(operations, CHANGING):
            run_reporting(self.folder, scenario, reached, report)

    def _check(self, before: Seen, child: Child) -> None:
        reports = child.reports()
        problems = [told[1] for told in reports if told[0] == "error"]
        assert not problems, problems[0]
        begun = [told[1] for told in reports if told[0] == "begun"]
        after = look(self.store)
        findings = list(verify(Store(self.store), full=True)) if self.store.exists() else []
        assert findings == [], findings
        lost = set(begun) - set(after.artifacts)
        made = {name for name in after.artifacts if name not in before.artifacts}
        for name, identity in before.artifacts.items():
            assert after.artifacts.get(name) == identity, f"{name} was made twice"
        assert not set(begun) & set(before.artifacts), "what was there was begun again"
        assert made <= set(begun)
        assert len(begun) == len(set(begun))
        assert len(lost) <= max([1, *map(_in_flight, lost)]), (
            f"{len(lost)} items were lost: {sorted(lost)}"
        )
        for what, *shard in (told for told in reports if told[0] in ("kept", "computing")):
            if what == "kept":
                self.kept.add(tuple(shard))
                self.tally.figures["shards kept"] += child.status == -signal.SIGKILL
            else:
                assert tuple(shard) not in self.kept, f"shard {shard} was there and computed again"
        if child.status == -signal.SIGKILL:
            self.tally.figures.update(f"in {name.split('/')[0]}" for name in lost)
            self.tally.figures["between items"] += not lost
            self.tally.figures["items lost"] += len(lost)
        else:
            assert child.status == 0, child.status


def _in_flight(name: str) -> int:
    """How many items of its stage are made at once."""
    node = NODES[name.split("/")[0]]
    return IN_FLIGHT if node.backbone else node.overlap


def expected_of(scratch: Path) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Digests of the store and of the results after runs that nobody disturbed."""
    tiny = tiny_run(scratch)
    return look(tiny / "store").digests, {s: results_of(tiny / "runs" / s) for s in SCENARIOS}


def kill_runs(rng: random.Random, folder: Path) -> Tally:
    """Kill 100 runs, at moments of every stage of three configurations, and finish each time."""
    tally = Tally()
    copy_inputs(folder.parent, folder)
    expected, results = expected_of(folder.parent)
    made: dict[str, list[str]] = read_json(tiny_run(folder.parent) / "made.json")
    walk = Walk(folder, rng, tally)
    moments = [(s, m) for s in SCENARIOS for m in _moments(made[s])]
    often = Counter(moments * (KILLS // len(moments)) + rng.sample(moments, KILLS % len(moments)))
    passes = ""
    for scenario, moment in moments:
        stages = made[scenario]
        stage = passes if moment == "shard" else moment
        passes = moment if moment.startswith("forward") else passes
        later = stages[stages.index(stage) :] if stage in stages else []
        for _ in range(often[scenario, moment]):
            _kill_at(walk, scenario, moment, later or stages * (moment == "start"))
    for scenario in SCENARIOS:
        assert not walk.go(scenario, None)
        assert results_of(folder / "runs" / scenario) == results[scenario]
    assert look(folder / "store").digests == expected
    _check_litter(folder)
    return tally


def _moments(stages: list[str]) -> Iterator[str]:
    """What a run comes to: the stages that it makes, and in passes of the model a finished shard."""
    yield "start"
    for stage in stages:
        yield from [stage, "shard"] if stage.startswith("forward") else [stage]
    yield "results"


def _kill_at(walk: Walk, scenario: str, moment: str, later: list[str]) -> None:
    """Kill a run that has come to this moment; `later` are the stages from there on."""
    while True:
        if walk.rng.random() < 0.7:
            # Most within the first item, some in the next ones or in what follows the stage.
            often = walk.rng.choice((1, 1, 1, 2))
            death = Death(moment, operations=often * walk.rng.randint(1, 45))
        else:
            death = Death(moment, seconds=walk.rng.uniform(0, 0.08))
        if walk.go(scenario, death):
            break
        walk.remove(scenario, later)  # it was faster: it has all of this to do once more
    walk.tally.tried += 1
    walk.tally.survived += 1


def _check_litter(folder: Path) -> None:
    """What the dead have left behind is cleared away: nothing piles up in a store for ever."""
    store = Store(folder / "store")
    with mock.patch.object(claims, "LEASE_S", -1.0):
        store.sweep(0)
    litter = [
        path.relative_to(store.root).as_posix()
        for name in ("staging", "claims", "catalog", "roots", "pins")
        for path in (store.root / name).rglob("*")
        if path.name != "parts" and (path.name.startswith(".") or name in ("staging", "claims"))
    ]
    assert litter == [], litter
