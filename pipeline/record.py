"""The manifests of a run: one Parquet table per stage, one row per item, failures included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import sums
from cache.errors import DamagedArtifact
from cache.keys import canonical
from cache.store import Store
from manifests.schema import STAGE_MANIFEST
from manifests.table import footer_of, read_table, write_table
from pipeline.environment import source_digest
from pipeline.inputs import fold
from pipeline.plan import StagePlan
from pipeline.task import Outcome
from pipeline.values import recipe_of_node
from pipeline.world import DATASET, Failure, World

REMEMBERED = ("ItemError",)
"""Errors that lie in the item itself: trying again would fail again. Anything else (a crash, an
input/output error, too little memory) is tried again by the next run."""


@dataclass(frozen=True)
class Previous:
    """What the manifest of a stage says of the last run."""

    version: int
    recipe: Mapping[str, Any]
    source: str
    """Digest of the stage's own source then."""
    state: str
    failed: int
    path: Path

    def rows(self) -> dict[str, dict[str, Any]]:
        """All rows by item; read only when somebody asks."""
        table = read_table(self.path, STAGE_MANIFEST)
        return {row["video_id"]: row for row in table.to_pylist()}


def manifest_path(results: Path, stage: str) -> Path:
    """Where the manifest of a stage lies."""
    return results / "manifests" / f"{stage}.parquet"


def read_previous(results: Path, stage: str) -> Previous | None:
    """The footer of a stage's manifest, or None where there is none or it is not as it was written."""
    path = manifest_path(results, stage)
    if not path.exists() or not sums.is_sound(path):
        return None
    try:
        footer = footer_of(path)
        return Previous(
            version=int(footer["stage_version"]),
            recipe=json.loads(footer["recipe"]),
            source=footer["source"],
            state=footer["state"],
            failed=int(footer["failed"]),
            path=path,
        )
    except (OSError, ValueError, KeyError):
        return None  # a manifest only remembers: without it everything is found in the store


def read_failures(results: Path, stages: list[str]) -> dict[str, dict[str, Failure]]:
    """Remembered failures, by stage and key.

    A stage over the data set is cheap beside what it reads: its failure is not remembered.
    """
    found: dict[str, dict[str, Failure]] = {}
    for stage in stages:
        previous = read_previous(results, stage)
        if previous is None or not previous.failed:
            continue
        try:
            rows = read_table(previous.path, STAGE_MANIFEST).to_pylist()
        except DamagedArtifact:
            continue
        found[stage] = {
            row["key"]: Failure(
                row["video_id"], row["key"], row["error_class"], row["message"], row["attempts"]
            )
            for row in rows
            if row["status"] == "failed"
            and row["error_class"] in REMEMBERED
            and row["video_id"] != DATASET
        }
    return found


def state_of(plan: StagePlan) -> str:
    """One digest for what a manifest would say: the same state needs no writing."""
    # The keys, too: what is made anew under another key may have the same content.
    fresh = {item: f"{plan.keys[item]} {digest}" for item, digest in plan.digests.items()}
    failed = {f"failed {item}": f"{f.key} {f.attempts}" for item, f in plan.failed.items()}
    return fold({**fresh, **failed})


def write_manifest(
    results: Path, plan: StagePlan, world: World, store: Store, outcomes: Mapping[str, Outcome]
) -> None:
    """Write the manifest of a stage, unless it says the same already."""
    stage = plan.node.name
    previous = read_previous(results, stage)
    state = state_of(plan)
    recipe = recipe_of_node(plan.node, world)
    version = world.versions[stage]
    said = previous and (previous.state, previous.version, dict(previous.recipe))
    path = manifest_path(results, stage)
    if said == (state, version, json.loads(canonical(recipe))) and sums.is_noted(path):
        return
    old = previous.rows() if previous else {}
    rows = [_ok(item, plan, world, store, outcomes, old) for item in plan.digests]
    rows += [_failed(item, failure) for item, failure in plan.failed.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row[name] for row in rows] for name in STAGE_MANIFEST.names}
    footer = {
        "stage": stage,
        "stage_version": str(version),
        "recipe": canonical(recipe),
        "source": source_digest(stage),
        "state": state,
        "failed": str(len(plan.failed)),
    }
    write_table(path, STAGE_MANIFEST, columns, footer)
    sums.note(path)


def _ok(
    item: str,
    plan: StagePlan,
    world: World,
    store: Store,
    outcomes: Mapping[str, Outcome],
    old: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    key = plan.keys[item]
    rows, size = world.committed[plan.node.name].sizes[key]
    before = old.get(item, {})
    known = before.get("key") == key
    if item in outcomes:
        seconds = canonical(dict(outcomes[item].seconds))
    elif known:
        seconds = before["seconds"]
    else:
        found = store.record(plan.node.name, key)
        seconds = canonical(dict(found.commit.seconds) if found else {})
    return {
        "video_id": item,
        "key": key,
        "digest": plan.digests[item],
        "status": "ok",
        "rows": rows,
        "bytes": size,
        "seconds": seconds,
        "error_class": "",
        "message": "",
        "attempts": (before.get("attempts", 0) if known else 0) + (item in outcomes),
    }


def _failed(item: str, failure: Failure) -> dict[str, Any]:
    return {
        "video_id": item,
        "key": failure.key,
        "digest": "",
        "status": "failed",
        "rows": 0,
        "bytes": 0,
        "seconds": "{}",
        "error_class": failure.error_class,
        "message": failure.message,
        "attempts": failure.attempts,
    }
