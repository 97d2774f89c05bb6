"""What `hiprobe cache evict`, `roots`, `pin`, `unpin` and `forget` do and say."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache.atomic import clock_of
from cache.collect import keys_of, made_at
from cache.errors import ConfigError, DamagedArtifact, MissingArtifact
from cache.eviction import evict, finish_all
from cache.roots import Root, forget, named, pin, planning, read_roots, unpin
from cache.store import Store
from pipeline.config import nearest
from pipeline.graph import GRAPH, NODES
from pipeline.progress import clock, size
from pipeline.view import table


@dataclass(frozen=True, slots=True)
class Which:
    """Which artifacts are meant."""

    stages: Sequence[str]
    run: str = ""
    """Name or id of a run or pin: only what it reaches."""
    select: str = ""
    """Glob over the video ids that runs and pins know."""
    key: str = ""
    """First digits of the key."""
    older_s: float = 0.0
    """Made at least so many seconds ago."""


def foresee_eviction(store: Store, which: Which) -> dict[str, Any]:
    """What an eviction would free, what that has cost to make, and who reads it."""
    roots = read_roots(store.root)
    pinned = keys_of(root for root in roots if root.pinned)
    stages = []
    for stage in which.stages:
        _check(stage)
        keys = _selected(store, roots, which, stage)
        free = [key for key in keys if (stage, key) not in pinned]
        stages.append(
            {
                "stage": stage,
                **_cost(store, stage, free),
                "pinned": len(keys) - len(free),
                "read_by": [n.name for n in GRAPH if any(e.stage == stage for e in n.edges)],
                "backbone": NODES[stage].backbone,
            }
        )
    return {"stages": stages, "evicted": False, "free_bytes": store.free_bytes()}


def evict_all(store: Store, value: Mapping[str, Any]) -> dict[str, Any]:
    """Evict what was foreseen; what is gone meanwhile is passed over."""
    finish_all(store)
    freed = 0
    for stage in value["stages"]:
        for key in stage["keys"]:
            # Damaged or gone since it was looked at.
            with contextlib.suppress(MissingArtifact, DamagedArtifact):
                freed += evict(store, stage["stage"], key)
    return {**value, "evicted": True, "freed": freed, "free_bytes": store.free_bytes()}


def eviction_text(value: Mapping[str, Any]) -> str:
    """What is given up, what it took to make, and what will need it again."""
    lines = []
    for stage in value["stages"]:
        name, count = stage["stage"], stage["artifacts"]
        lines.append(
            f"{name}: {count} artifacts, {size(stage['bytes'])}; making them took "
            f"{clock(stage['seconds'])}{' of the backbone' if stage['backbone'] else ''}"
        )
        if count and stage["read_by"]:
            readers = ", ".join(stage["read_by"])
            lines.append(f"  made again when one of these is to be made anew: {readers}")
        if stage["pinned"]:
            lines.append(f"  {stage['pinned']} more are pinned and stay")
        lines += [f"  {text}" for text in stage["damaged"]]
    if value["evicted"]:
        lines.append(f"evicted: {size(value['freed'])} freed, records stay")
    else:
        total = sum(stage["bytes"] for stage in value["stages"])
        lines.append(f"would free {size(total)}; nothing was evicted")
    lines.append(f"free: {size(value['free_bytes'])}")
    return "\n".join(lines)


def list_roots(store: Store) -> list[dict[str, Any]]:
    """Every run and pin that the store knows, and what it reaches here."""
    return [
        {
            "kind": "pin" if root.pinned else "run",
            "id": root.id,
            "name": root.name,
            "by": root.by,
            "written": root.written,
            "artifacts": len(root.keys()),
            "earlier": sum(
                1 for known in root.earlier.values() for until in known.values() if until
            ),
            **root.features,
        }
        for root in read_roots(store.root)
    ]


def roots_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The runs and pins as a table."""
    if not rows:
        return "the store knows of no run and no pin"
    names = ("kind", "id", "by", "written", "artifacts", "earlier")
    return table(names, [[str(row[name]) for name in names] for row in rows])


def pin_run(store: Store, name: str, run: str) -> dict[str, Any]:
    """Keep what a run reaches now until it is unpinned."""
    with planning(store.root):
        root = pin(store.root, name, named(read_roots(store.root), run))
    reached = root.keys()
    here = sum(store.record(*where) is not None for where in reached)
    return {"pin": name, "artifacts": len(reached), "here": here}


def unpin_name(store: Store, name: str) -> str:
    """Give up a pin; returns what that means."""
    unpin(store.root, name)
    return f"{name} is not pinned any more: `hiprobe cache gc` shows what nothing else reaches"


def forget_run(store: Store, run: str) -> str:
    """Forget a run, by its id or by a name that only one has; returns what that means."""
    runs = [root for root in read_roots(store.root) if not root.pinned]
    found = named(runs, run)
    if len(found) > 1:
        ids = ", ".join(root.id for root in found)
        raise ConfigError(f"{len(found)} runs are called {run!r}: give one of the ids {ids}")
    forget(store.root, found[0].id)
    return (
        f"{found[0].id} is forgotten: `hiprobe cache gc` shows what nothing else reaches; running "
        "it again brings it back"
    )


def _check(stage: str) -> None:
    if stage not in NODES:
        raise ConfigError(f"--stage {stage}: there is no such stage{nearest(stage, NODES)}")


def _selected(store: Store, roots: Sequence[Root], which: Which, stage: str) -> list[str]:
    listing = store.listing(stage)
    keys = {key for key in listing.inodes if key.startswith(which.key)} - listing.evicted
    known = named(roots, which.run) if which.run else roots
    if which.run:
        keys &= {key for name, key in keys_of(known) if name == stage}
    if which.select:
        keys &= _of_videos(known, stage, which.select)
    if which.older_s:
        now = clock_of(store.root / "staging")
        keys = {k for k in keys if now - made_at(store.folder(stage, k)) >= which.older_s}
    return sorted(keys)


def _of_videos(roots: Sequence[Root], stage: str, pattern: str) -> set[str]:
    return {
        key
        for root in roots
        for item, key in root.reach.get(stage, {}).items()
        if fnmatch.fnmatchcase(item, pattern)
    }


def _cost(store: Store, stage: str, keys: Collection[str]) -> dict[str, Any]:
    """Bytes of these artifacts, and the seconds that making them took, from their records."""
    known, damaged, total, seconds = [], [], 0, 0.0
    for key in keys:
        try:
            artifact = store.artifact(stage, key)
            total += artifact.commit.bytes
            seconds += float(artifact.commit.seconds.get("all", 0.0))
            known.append(key)
        except MissingArtifact:
            continue  # collected this moment
        except DamagedArtifact as error:
            damaged.append(str(error))
    return {
        "artifacts": len(known),
        "bytes": total,
        "seconds": round(seconds, 3),
        "keys": known,
        "damaged": damaged,
    }
