"""The executor: stage after stage, plan it, make what is missing, record what became of it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Collection, Sequence

from cache import errors
from cache.atomic import clear_drafts
from cache.catalog import StageCatalog, save_catalog
from cache.errors import (
    ConfigError,
    DamagedArtifact,
    EvictedArtifact,
    MissingArtifact,
    RunStopped,
)
from cache.roots import planning
from cache.store import Store
from cache.trash import recover
from pipeline.asked import Options, Summary
from pipeline.assemble import tasks_of, weights_of
from pipeline.config import Config
from pipeline.deviations import difference_lines, frame_differences
from pipeline.engine import Engines
from pipeline.events import Events
from pipeline.gather import gather, with_videos
from pipeline.graph import GRAPH, NODES, Node
from pipeline.needs import refuse_short
from pipeline.outputs import write_outputs
from pipeline.packages import require_packages
from pipeline.plan import StagePlan, plan_stage
from pipeline.progress import DigestLine, Progress
from pipeline.record import write_manifest
from pipeline.registration import Registration
from pipeline.restore import Lost, Needed, needed_by, needed_for, why_lost
from pipeline.room import stops_when_full
from pipeline.signals import leave_in_time
from pipeline.sources import forget_sources
from pipeline.stores import open_store
from pipeline.task import Outcome, Task
from pipeline.values import check_features
from pipeline.world import Failure, World

PASSES = 6
"""Walks over the graph at most: a disk that damages what is made again and again ends the run."""
BUSY_S = 1.0
"""Seconds between two looks at items that another process is making."""

NOT_RESTORED = "NotRestored"
"""Class of the failure of an item that reads what was evicted and cannot be made again."""

MENDED = ("DamagedArtifact", "MissingArtifact", "EvictedArtifact")
"""Failures that the second pass mends: one damaged scorer fails every video, and is no reason to
stop."""


class _OtherContent(Exception):
    """What was evicted and is made again has other bytes: what was planned does not hold."""


class _SetAside(Exception):
    """Something damaged was set aside: what rests on it shall not be made without it."""


class _Behind(Exception):
    """Something was evicted or collected after this pass had looked: what was planned is not there."""


def run(config: Config, options: Options, progress: Progress) -> Summary:
    """Make everything that the configuration asks for and that is not there.

    Raises ConfigError before any work for what cannot be right, RunStopped where the whole run
    cannot go on, KeyboardInterrupt (Terminated for SIGTERM) where it was stopped.
    """
    began = time.monotonic()
    store = open_store(config)
    store.sweep()
    clear_drafts(config.results)
    recover(store)
    summary = Summary(asked=frozenset(name for name in NODES if options.wants(name)))
    full = stops_when_full(config.store, config.results)
    with full, Engines(config) as engines, leave_in_time():
        passes, others = 0, list[str]()
        while passes < PASSES:
            # A damaged artifact is found when it is read: it is set aside, and the next pass makes
            # it and what failed for it, and may find more behind it. The second pass does the same
            # for what somebody evicted meanwhile.
            before, mending = len(summary.quarantined), passes < PASSES - 1
            try:
                _Pass(config, options, progress, store, engines, summary, mending).go()
                lost = any(failure.error_class in MENDED for _, failure in summary.failures)
            except _OtherContent as other:
                others.append(str(other))
                continue  # as many times as there are evicted artifacts, at most
            except _SetAside:
                lost = False
            except _Behind as behind:
                if passes:
                    raise RunStopped(f"{behind.__cause__}; no results were written") from behind
                lost = True
            passes += 1
            if len(summary.quarantined) == before and not (lost and passes < 2):
                break
    summary.notes += others
    summary.seconds = time.monotonic() - began
    return summary


class _Pass:
    """One walk over the graph."""

    def __init__(
        self,
        config: Config,
        options: Options,
        progress: Progress,
        store: Store,
        engines: Engines,
        summary: Summary,
        mending: bool,
    ) -> None:
        self._mending = mending  # whether another pass can follow
        self._config, self._options, self._progress = config, options, progress
        self._store, self._engines, self._summary = store, engines, summary
        self._events = Events(config.results / "events.jsonl")
        self._in_a_row = 0
        """Failures without a success between them."""

    def go(self) -> None:
        """Make everything; raises _SetAside where something was damaged that is read here alone."""
        try:
            self._go()
        except DamagedArtifact as error:
            if not (error.name and self._mending):
                raise
            stage, _, key = error.name.partition("/")
            self._set_aside(stage, key)
            raise _SetAside from error

    def _go(self) -> None:
        choices = dataclasses.replace(self._options.choices, for_run=True)
        with contextlib.ExitStack() as announced:
            # Whoever collects garbage waits until what is found now is written down as needed.
            announced.enter_context(planning(self._store.root))
            world = gather(self._config, self._store, choices, DigestLine(self._progress))
            check_features(world)
            require_packages(world, self._summary.asked)
            self._summary.notes = list(world.warnings)
            self._events.add("run", until=self._options.until, only=self._options.only)
            plans = self._summary.plans
            plans.clear()
            for node in GRAPH:
                plan = plan_stage(node, world, plans)
                plans[node.name] = plan
                if plan.todo and self._options.wants(node.name):
                    self._look_for_space(world, node)
                    self._register(world)
                    announced.close()
                    world = self._make(plan, world)
                elif self._options.wants(node.name) and plan.digests:
                    write_manifest(self._config.results, plan, world, self._store, {})
                if node.name == "index" and plans["index"].failed:
                    raise RunStopped(next(iter(plans["index"].failed.values())).message)
            self._register(world)
        self._check_only(plans)
        self._summary.notes += difference_lines(frame_differences(world, plans["decode"]))
        self._write_results(world)

    def _look_for_space(self, world: World, node: Node) -> None:
        """Refuse what does not fit: before any work, and before the backbone's, which costs most."""
        first = not self._summary.built and not self._summary.quarantined
        if (first or node.backbone) and not self._options.even_if_short:
            refuse_short(world, self._store, self._options.wants)

    def _register(self, world: World) -> None:
        """Write down in the store what this run reaches."""
        said = Registration(self._config, self._store).save(world, self._summary.plans)
        if said and said not in self._summary.notes:
            self._summary.notes.append(said)

    def _write_results(self, world: World) -> None:
        plans, tried = self._summary.plans, set[str]()
        lost: Lost = {}
        while True:
            try:
                write_outputs(self._config, world, plans, self._store)
                return
            except FileNotFoundError as error:  # MissingArtifact, too, and EvictedArtifact
                stage = error.name.partition("/")[0] if isinstance(error, EvictedArtifact) else ""
                needed = needed_for(world, plans, stage) if stage else {}
                if not needed:
                    raise _Behind from error
                if stage in tried:
                    raise RunStopped(
                        f"the results need {stage}, which was evicted and cannot be made again: "
                        + "; ".join(sorted(set(lost.values())))
                    ) from error
            tried.add(stage)
            world, lost = self._restore(needed, world)

    def _check_only(self, plans: dict[str, StagePlan]) -> None:
        plan = plans.get(self._options.only)
        if plan is not None and plan.waiting and not plan.digests:
            stage = next(iter(plan.waiting.values()))
            raise ConfigError(
                f"--only {self._options.only}: it needs {stage}, which is not made yet: run "
                f"`hiprobe run --until {stage}` first"
            )

    def _make(self, plan: StagePlan, world: World) -> World:
        """Make the items of a stage, and before that what they read and was evicted."""
        plans = self._summary.plans
        needed = needed_by(world, plans, plan.node.name, plan.todo)
        world, lost = self._restore(needed, world)
        failed: dict[str, Outcome] = {}
        for item in plan.todo if lost else ():
            if why := why_lost(world, plans, plan.node.name, item, lost):
                failed[item] = Outcome(item, "failed", error_class=NOT_RESTORED, message=why)
        before = len(self._summary.quarantined)
        world = self._work(plan, [i for i in plan.todo if i not in failed], world, failed)
        if self._mending and len(self._summary.quarantined) > before:
            raise _SetAside
        return world

    def _restore(self, needed: Needed, world: World) -> tuple[World, Lost]:
        """Make evicted items again; gives those that could not be made, with the reason.

        Raises _OtherContent where one has other bytes now than what rests on it was made from.
        """
        plans = self._summary.plans
        lost: Lost = {}
        for stage, items in needed.items():
            plan, outcomes = plans[stage], dict[str, Outcome]()
            lost |= {
                (stage, item): why
                for item in items
                if (why := why_lost(world, plans, stage, item, lost))
            }
            able = [item for item in items if (stage, item) not in lost]
            if not able:
                continue
            before = dict(plan.digests)
            self._progress.say(f"{stage}: {len(able)} evicted items are needed and made again")
            world = self._work(plan, able, world, outcomes)
            lost |= {(stage, o.item): o.message for o in outcomes.values() if o.status == "failed"}
            after = plans[stage].digests
            changed = [item for item in able if after.get(item) != before.get(item)]
            if changed:
                raise _OtherContent(
                    f"{stage} of {', '.join(changed[:3])}: made again after it was evicted, with "
                    "other bytes than before; what follows is made again, too"
                )
        return world, lost

    def _work(
        self, plan: StagePlan, items: Collection[str], world: World, outcomes: dict[str, Outcome]
    ) -> World:
        """Make items of a stage; adds to `outcomes`, and brings plan, manifest and catalog up to date."""
        stage = plan.node.name
        plans = self._summary.plans
        for outcome in outcomes.values():
            self._log(plan, outcome)
        tasks = tasks_of(plan, world, plans, self._store, items)
        self._progress.start(stage, weights_of(items, world))
        began = time.monotonic()
        try:
            self._run_tasks(plan, tasks, outcomes)
        finally:
            self._progress.finish()
            world = self._note(plan, world, outcomes)
            after = plan_stage(plan.node, dataclasses.replace(world, retry_failed=False), plans)
            plans[stage] = after
            write_manifest(self._config.results, after, world, self._store, outcomes)
            save_catalog(self._store, {stage: world.committed[stage]})
            self._events.add("stage", stage=stage, seconds=round(time.monotonic() - began, 3))
        return world

    def _run_tasks(
        self, plan: StagePlan, tasks: Sequence[Task], outcomes: dict[str, Outcome]
    ) -> None:
        self._in_a_row = 0
        while tasks:
            busy = self._run_once(plan, tasks, outcomes)
            tasks = [task for task in tasks if task.item in busy]
            if tasks:
                time.sleep(BUSY_S)

    def _run_once(
        self, plan: StagePlan, tasks: Sequence[Task], outcomes: dict[str, Outcome]
    ) -> set[str]:
        """Run tasks and take note of their outcomes; gives those that another process is making."""
        engine, report = self._engines.get(), self._progress.item
        busy = set()
        # Closed at once where something stops the run: what is in flight is then dropped.
        with contextlib.closing(engine.run(tasks, plan.node, progress=report)) as ran:
            for outcome in ran:
                if outcome.status == "busy":
                    busy.add(outcome.item)
                    continue
                outcomes[outcome.item] = outcome
                self._progress.update(outcome)
                self._log(plan, outcome)
                self._judge(plan, outcome)
        return busy

    def _judge(self, plan: StagePlan, outcome: Outcome) -> None:
        """Raise where the run cannot go on after this outcome."""
        if outcome.status == "stopped":
            kind = getattr(errors, outcome.error_class, RunStopped)
            error = ConfigError if issubclass(kind, ConfigError) else RunStopped
            raise error(outcome.message)
        if outcome.error_class in MENDED:
            return
        self._in_a_row = self._in_a_row + 1 if outcome.status == "failed" else 0
        if self._in_a_row >= self._config.run.failure_budget:
            raise RunStopped(
                f"{self._in_a_row} items of {plan.node.name} failed one after the other, the last "
                f"with: {outcome.message}; mend the cause, or raise run.failure_budget"
            )

    def _log(self, plan: StagePlan, outcome: Outcome) -> None:
        stage = plan.node.name
        self._events.add(
            "item",
            stage=stage,
            item=outcome.item,
            status=outcome.status,
            digest=outcome.digest,
            seconds=dict(outcome.seconds),
            **({"message": outcome.message} if outcome.message else {}),
        )
        if outcome.status == "failed":
            self._progress.say(f"{stage} of {outcome.item} failed: {outcome.message}")
        for note in outcome.notes:
            self._summary.notes.append(f"{stage} of {outcome.item}: {note}")
        for bad in outcome.damaged:
            self._set_aside(*bad)

    def _set_aside(self, stage: str, key: str) -> None:
        """Set a damaged artifact aside, unless somebody else has."""
        with contextlib.suppress(MissingArtifact):
            self._store.quarantine(stage, key)
            self._summary.quarantined.append((stage, key))
            self._progress.say(f"{stage}/{key} is damaged: set aside, to be made again")

    def _note(self, plan: StagePlan, world: World, outcomes: dict[str, Outcome]) -> World:
        """The world after these outcomes."""
        stage = plan.node.name
        changed = [o.item for o in outcomes.values() if o.error_class == "SourceChanged"]
        if changed:
            forget_sources(world, self._store, changed)
        index = world.committed.get(stage) or StageCatalog()
        failures = dict(world.failures.get(stage, {}))
        for item, outcome in outcomes.items():
            key = plan.keys[item]
            if outcome.status in ("built", "hit"):
                index.add(key, outcome.digest, outcome.rows, outcome.bytes)
                built = outcome.status == "built"
                self._summary.built[stage] = self._summary.built.get(stage, 0) + built
            else:
                before = failures.get(key)
                attempts = before.attempts + 1 if before else 1
                failures[key] = Failure(item, key, outcome.error_class, outcome.message, attempts)
        world = dataclasses.replace(
            world,
            committed={**world.committed, stage: index},
            failures={**world.failures, stage: failures},
        )
        if stage == "index":
            world = with_videos(world, self._store, self._options.choices)
        return world
