"""What the work of a plan needs, in bytes and seconds, by what was measured; and whether it fits.

What an item takes is known, best first: of one that was evicted, from its record; of a forward pass,
from the shape of the backbone and the segments of the video; else from the items of the last run, by
the bytes of their videos; else from whatever artifacts of that stage the store holds. What nothing
was measured of is unknown, and said to be.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.catalog import StageCatalog
from cache.errors import RunStopped, StoreError
from cache.store import Store
from pipeline.estimates import PASSES, forward_estimate, segments_of
from pipeline.gather import gather_basis
from pipeline.plan import StagePlan, plan_all
from pipeline.progress import size
from pipeline.record import read_previous
from pipeline.restore import needed_for_work
from pipeline.why import changed_recipe
from pipeline.world import World

LOOKED_AT = 20
"""Records of a stage that are opened to see how long such an item takes."""
COPIED = (
    "select", "fit", "threshold", "localize", "evaluate", "explain", "projection", "report",
)  # fmt: skip
"""Stages whose artifacts, about, are copied into the results."""

Plans = Mapping[str, StagePlan]


@dataclass(frozen=True, slots=True)
class Need:
    """What the work of one stage needs."""

    stage: str
    items: int
    seconds: float | None
    """None where nothing like it was ever measured."""
    bytes: int | None
    """Of everything that may have to be made."""
    sure: int | None
    """Without what waits and was made before: the same bytes before it, and it is fresh."""
    largest: int = 0
    """Bytes of the largest item."""
    by: str = ""
    """What it was estimated from."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What items of a stage took, for each unit of their weight."""

    seconds: float | None
    bytes: float
    weights: Mapping[str, float]
    """Bytes of its source file by item; empty where all items count the same."""
    by: str

    def weight(self, item: str) -> float:
        """How much of the unit an item is."""
        return self.weights.get(item, 1.0)


def needs_of(
    world: World,
    plans: Plans,
    store: Store,
    passes: Mapping[str, Any] | None,
    wanted: Callable[[str], bool] = lambda stage: True,
) -> list[Need]:
    """What the stages that have work, and are wanted, need; `passes` as `forward_estimate` gives it."""
    work = {n: [*p.todo, *p.waiting] for n, p in plans.items() if wanted(n) and not p.off}
    again = needed_for_work(world, plans, work)
    found = []
    for stage, plan in plans.items():
        items, restored = work.get(stage, []), again.get(stage, [])
        if items or restored:
            found.append(_need(plan, world, plans, store, items, restored, passes))
    return found


def _need(
    plan: StagePlan,
    world: World,
    plans: Plans,
    store: Store,
    items: Sequence[str],
    restored: Sequence[str],
    passes: Mapping[str, Any] | None,
) -> Need:
    stage = plan.node.name
    previous = read_previous(world.config.results, stage)
    rows = previous.rows() if previous else {}
    rate = _of_last_run(world, rows) or _of_store(plan, world, store)
    computed = _of_shape(stage, items, world, plans, passes)
    catalog = world.committed.get(stage) or StageCatalog()
    sizes = {item: float(catalog.sizes[plan.keys[item]][1]) for item in restored}
    for item in items:
        if item in computed:
            sizes[item] = computed[item]
        elif rate is not None:
            sizes[item] = rate.bytes * rate.weight(item)
    every = [*items, *restored]
    known = len(sizes) == len(set(every))
    made = {item for item, row in rows.items() if row["key"] in catalog.digests}
    if previous is None or changed_recipe(plan, world, previous):
        made = set()
    perhaps = sum(size for item, size in sizes.items() if item in plan.waiting and item in made)
    seconds = None
    if rate is not None and rate.seconds is not None:
        seconds = round(rate.seconds * sum(map(rate.weight, every)), 2)
    total = round(sum(sizes.values()))
    return Need(
        stage,
        len(every),
        seconds,
        total if known else None,
        round(total - perhaps) if known else None,
        round(max(sizes.values(), default=0)),
        "the shape of the backbone" if computed else rate.by if rate else "",
    )


def _of_last_run(world: World, rows: Mapping[str, Mapping[str, Any]]) -> Rate | None:
    sizes = {v.video_id: float(v.bytes) for v in world.videos or ()}
    done = [row for row in rows.values() if row["status"] == "ok"]
    weight = sum(sizes.get(row["video_id"], 1.0) for row in done)
    if not weight:
        return None
    taken = [json.loads(row["seconds"]).get("all") for row in done]
    timed = [
        (seconds, sizes.get(row["video_id"], 1.0))
        for seconds, row in zip(taken, done, strict=True)
        if seconds is not None
    ]
    over = sum(weight for _, weight in timed)
    return Rate(
        sum(seconds for seconds, _ in timed) / over if over else None,
        sum(row["bytes"] for row in done) / weight,
        sizes,
        "the last run",
    )


def _of_store(plan: StagePlan, world: World, store: Store) -> Rate | None:
    """The mean over what the store holds of a stage, whoever made it and from whatever."""
    stage = plan.node.name
    catalog = world.committed.get(stage)
    if catalog is None or not catalog.sizes:
        return None
    keys = sorted(catalog.sizes)
    seconds = []
    for key in keys[:: -(-len(keys) // LOOKED_AT)]:
        try:
            artifact = store.record(stage, key)
            if artifact is not None and "all" in artifact.commit.seconds:
                seconds.append(float(artifact.commit.seconds["all"]))
        except StoreError:
            continue  # damage is told by what reads it next
    mean = sum(count for _, count in catalog.sizes.values()) / len(keys)
    words = f"{len(keys)} artifacts of this stage in the store"
    return Rate(sum(seconds) / len(seconds) if seconds else None, mean, {}, words)


def _of_shape(
    stage: str,
    items: Collection[str],
    world: World,
    plans: Plans,
    passes: Mapping[str, Any] | None,
) -> dict[str, float]:
    """Bytes of the items of a forward stage, those of videos without known segments by the others."""
    for entry in (passes or {}).get("passes", ()):
        if entry["stage"] == stage:
            each = entry["cases"][0]["bytes_per_segment"]
            known = segments_of(list(items), world, plans)
            sizes = {v.video_id: float(v.bytes) for v in world.videos or ()}
            weight = sum(sizes.get(item, 1.0) for item in known)
            share = sum(known.values()) / weight if weight else 0.0
            guessed = {i: share * sizes.get(i, 1.0) for i in items if share and i not in known}
            return {item: each * count for item, count in {**guessed, **known}.items()}
    return {}


@dataclass(frozen=True, slots=True)
class Balance:
    """What is needed on one disk, and what is free there."""

    where: str
    needed: int
    """Bytes that are sure to be needed, as far as they are known."""
    free: int
    parts: tuple[tuple[str, int], ...]
    """What for, the largest first."""
    unknown: tuple[str, ...] = ()
    """Stages of which nothing was measured."""
    perhaps: int = 0
    """Bytes more where what waits and was made before has to be made again."""

    @property
    def short(self) -> bool:
        """Whether it does not fit."""
        return self.needed > self.free

    def text(self) -> str:
        """The figures in words."""
        named = ", ".join(f"{what} {size(count)}" for what, count in self.parts[:4])
        more = " and others" * (len(self.parts) > 4)
        least = "at least" if self.unknown else "about"
        text = f"needs {least} {size(self.needed)}" + (f" ({named}{more})" if named else "")
        if self.unknown:
            text += f"; not known yet: {', '.join(self.unknown)}"
        if self.perhaps:
            text += f"; up to {size(self.perhaps)} more where what waits is not as it was before"
        return f"{text}; {size(self.free)} are free on the disk of {self.where}"


def balances(world: World, store: Store, needs: Sequence[Need]) -> list[Balance]:
    """What the disk of the store has to hold, and that of the results where it is another one.

    While an item is in flight its finished parts lie beside its draft: the largest counts once more
    for each that may be.
    """
    settings = world.config.run
    parts = {need.stage: need.sure for need in needs if need.sure}
    largest = max((need.largest for need in needs if need.stage in PASSES and need.sure), default=0)
    if largest:
        parts["parts in flight"] = largest * max(settings.in_flight, settings.workers)
    copied = sum(need.sure or 0 for need in needs if need.stage in COPIED)
    unknown = tuple(need.stage for need in needs if need.sure is None)
    results = _existing(world.config.results)
    there = results.stat().st_dev != store.root.stat().st_dev
    if copied and not there:
        parts["results"] = copied
    perhaps = sum(n.bytes - n.sure for n in needs if n.bytes is not None and n.sure is not None)
    ordered = tuple(sorted(parts.items(), key=lambda part: -part[1]))
    free = store.free_bytes()
    found = [Balance("the store", sum(parts.values()), free, ordered, unknown, perhaps)]
    if copied and there:
        free = shutil.disk_usage(results).free
        found.append(Balance("the results", copied, free, (("results", copied),)))
    return found


def _existing(path: Path) -> Path:
    """The nearest folder above a path that is there."""
    while not path.is_dir():
        path = path.parent
    return path


def passes_of(world: World, plans: Plans, store: Store) -> dict[str, Any] | None:
    """Operations and bytes of the forward stages; None where they have no work."""
    if not any(plans[stage].todo or plans[stage].waiting for stage in PASSES):
        return None
    basis = gather_basis(world, plans, store)
    if isinstance(basis, str):
        return {"unknown": basis}
    return forward_estimate(world, plans, basis)


def refuse_short(world: World, store: Store, wanted: Callable[[str], bool]) -> None:
    """Raise RunStopped, with the figures, where the disk cannot hold what is to be made."""
    plans = plan_all(world)
    needs = needs_of(world, plans, store, passes_of(world, plans, store), wanted)
    for balance in balances(world, store, needs):
        if balance.short:
            raise RunStopped(
                f"not enough space, nothing was begun: the work {balance.text()}; make room "
                "(`hiprobe cache du`, `hiprobe cache gc`), or run with --even-if-short"
            )
