"""What `hiprobe cache ls` and `du` say."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache.atomic import clock_of
from cache.catalog import StageCatalog, load_catalog
from cache.collect import made_at
from cache.eviction import size_of
from cache.roots import Root, read_roots
from cache.store import Store
from pipeline.progress import size
from pipeline.view import table


def list_artifacts(store: Store, stage: str) -> list[dict[str, Any]]:
    """Stage, key, content digest, rows and bytes of every artifact."""
    stages = [stage] if stage else store.stages()
    return [
        {"stage": name, "key": key, "digest": digest, "rows": index.sizes[key][0], "bytes": index.sizes[key][1]}
        for name, index in load_catalog(store, stages).items()
        for key, digest in sorted(index.digests.items())
    ]  # fmt: skip


def list_text(rows: list[dict[str, Any]]) -> str:
    """The list as a table."""
    shown = [
        [r["stage"], r["key"][:16], r["digest"][:16], str(r["rows"]), size(r["bytes"])]
        for r in rows
    ]
    return table(["stage", "key", "digest", "rows", "bytes"], shown)


def disk_usage(store: Store, by: str = "stage") -> dict[str, Any]:
    """Artifacts and payload bytes of this very store, and what is free.

    By stage always; by run (or pin) or by age where that is asked for.
    """
    catalog = {n: _own(index) for n, index in load_catalog(store, store.stages()).items()}
    value = {
        "stages": {name: _sums(index) for name, index in catalog.items()},
        "others": _others(store),
        "free_bytes": store.free_bytes(),
    }
    if by == "run":
        value["runs"] = _by_run(catalog, read_roots(store.root))
    elif by == "age":
        value["ages"] = _by_age(store, catalog)
    return value


def usage_text(value: Mapping[str, Any]) -> str:
    """The usage as tables."""
    stages = value["stages"]
    names = ("artifacts", "bytes", "evicted")
    rows = [
        [n, str(u["artifacts"]), size(u["bytes"]), str(u["evicted"])] for n, u in stages.items()
    ]
    sums = {name: sum(u[name] for u in stages.values()) for name in names}
    rows.append(["all", str(sums["artifacts"]), size(sums["bytes"]), str(sums["evicted"])])
    parts = [table(["stage", *names], rows)]
    if "runs" in value:
        head = ["run or pin", "artifacts", "bytes", "it alone", "bytes"]
        rows = [
            [
                r["name"],
                str(r["artifacts"]),
                size(r["bytes"]),
                str(r["alone"]),
                size(r["alone_bytes"]),
            ]
            for r in value["runs"]
        ]
        parts.append(table(head, rows))
    if "ages" in value:
        rows = [[name, str(u["artifacts"]), size(u["bytes"])] for name, u in value["ages"].items()]
        parts.append(table(["came here", "artifacts", "bytes"], rows))
    others = {name: count for name, count in value["others"].items() if count}
    parts += [f"{WORDS[name]}: {size(count)}" for name, count in others.items()]
    parts.append(f"free: {size(value['free_bytes'])}")
    return "\n".join(parts)


WORDS = {
    "quarantine": "set aside as damaged (`hiprobe cache gc --quarantine`)",
    "staging": "being made, or left by processes that are gone (`hiprobe cache gc`)",
}
NOBODY = "(no run or pin)"
AGES = (("today", 1), ("this week", 7), ("this month", 30))
"""Days that an artifact has been here at most."""


@dataclass(frozen=True, slots=True)
class _Own:
    """What one store itself holds of a stage: bytes by key, and the keys without a payload."""

    bytes: Mapping[str, int]
    evicted: frozenset[str]


def _own(index: StageCatalog) -> _Own:
    evicted = index.evicted - index.origin.keys()
    here = {k: b for k, (_, b) in index.sizes.items() if k not in index.origin and k not in evicted}
    return _Own(here, frozenset(evicted))


def _sums(index: _Own) -> dict[str, int]:
    return {
        "artifacts": len(index.bytes),
        "bytes": sum(index.bytes.values()),
        "evicted": len(index.evicted),
    }


def _others(store: Store) -> dict[str, int]:
    return {name: size_of(store.root / name) for name in WORDS}


def _by_run(catalog: Mapping[str, _Own], roots: Sequence[Root]) -> list[dict[str, Any]]:
    """What each root reaches of this store, and what nothing else does; at last what none does."""
    held = {(stage, key): b for stage, own in catalog.items() for key, b in own.bytes.items()}
    reaches = [(root.id, root.keys() & held.keys()) for root in roots]
    times = Counter(where for _, keys in reaches for where in keys)
    reaches.append((NOBODY, held.keys() - times.keys()))
    rows = []
    for name, keys in reaches:
        alone = [where for where in keys if times[where] <= 1]
        rows.append(
            {
                "name": name,
                "artifacts": len(keys),
                "bytes": sum(held[where] for where in keys),
                "alone": len(alone),
                "alone_bytes": sum(held[where] for where in alone),
            }
        )
    return rows


def _by_age(store: Store, catalog: Mapping[str, _Own]) -> dict[str, dict[str, int]]:
    """How long artifacts have been in this store, by the clock of its file system."""
    found = {name: {"artifacts": 0, "bytes": 0} for name in (*(n for n, _ in AGES), "older")}
    now = clock_of(store.root / "staging")
    for stage, own in catalog.items():
        for key, count in own.bytes.items():
            with contextlib.suppress(FileNotFoundError):  # collected this moment
                days = (now - made_at(store.folder(stage, key))) / 86400
                name = next((name for name, most in AGES if days <= most), "older")
                found[name]["artifacts"] += 1
                found[name]["bytes"] += count
    return found
