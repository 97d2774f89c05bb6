"""Why something would run: which field of which recipe, or which input, is another one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cache.errors import ConfigError, StoreError
from cache.keys import canonical, differences
from cache.store import Store
from pipeline.environment import source_digest
from pipeline.inputs import Inputs
from pipeline.plan import StagePlan, Upstream, recipe_of_node
from pipeline.record import Previous
from pipeline.world import World


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some items of a stage are to be made."""

    text: str
    items: int


def changed_recipe(plan: StagePlan, world: World, previous: Previous) -> list[str]:
    """The recipe fields and the version that differ from the last run: "field: old -> new"."""
    now = json.loads(canonical(recipe_of_node(plan.node, world)))
    section = plan.node.section or plan.node.name
    found = [
        f"{section}.{path}: {show(old)} -> {show(new)}"
        for path, old, new in differences(dict(previous.recipe), now)
    ]
    version = world.versions[plan.node.name]
    if previous.version != version:
        found.append(f"version of the stage: {previous.version} -> {version}")
    return found


def reasons(
    plan: StagePlan, world: World, upstream: Upstream, previous: Previous | None, store: Store
) -> list[Reason]:
    """Why the items of a stage would be computed, grouped; empty where nothing would."""
    if not plan.work:
        return []
    counted: Counter[str] = Counter(f"waits for {stage}" for stage in plan.waiting.values())
    if previous is None:
        if plan.todo:
            counted["not made yet"] += len(plan.todo)
        return [Reason(text, count) for text, count in counted.items()]
    changed = changed_recipe(plan, world, previous)
    if changed:
        counted["; ".join(changed)] += len(plan.todo)
        return [Reason(text, count) for text, count in counted.items()]
    rows = previous.rows()
    inputs = (
        Inputs(plan.node, world, upstream) if plan.node.name != "index" or world.listing else None
    )
    for item in plan.todo:
        counted[_item_reason(item, plan, world, rows.get(item), inputs, store)] += 1
    return [Reason(text, count) for text, count in counted.items()]


def _item_reason(
    item: str,
    plan: StagePlan,
    world: World,
    row: Mapping[str, Any] | None,
    inputs: Inputs | None,
    store: Store,
) -> str:
    if row is None:
        return "new"
    if row["status"] == "failed" and row["key"] == plan.keys.get(item):
        return f"failed before ({row['error_class']})"
    if row["key"] == plan.keys.get(item):
        return "its artifact is no longer in the store"
    if inputs is None:
        return "source files to be digested"
    changed = {
        path.split(".", 1)[0]
        for path, _, _ in _input_changes(item, plan, world, row, inputs, store)
    }
    return f"other {', '.join(sorted(changed))}" if changed else "other inputs"


def _input_changes(
    item: str,
    plan: StagePlan,
    world: World,
    row: Mapping[str, Any],
    inputs: Inputs,
    store: Store,
) -> list[tuple[str, Any, Any]]:
    """(role, old, new) for what differs from the artifact that the last run had."""
    before = store.find(plan.node.name, row["key"])
    if before is None:
        return []
    video = next((v for v in world.videos or () if v.video_id == item), None)
    text = inputs.text(item, video)
    try:
        return differences(dict(before.commit.inputs), json.loads(text or "{}"))
    except StoreError:
        return []


def explain_item(
    plan: StagePlan,
    world: World,
    upstream: Upstream,
    previous: Previous | None,
    store: Store,
    item: str,
) -> list[str]:
    """Everything that `why STAGE VIDEO` has to say of one item, as lines."""
    name = plan.node.name
    if item in plan.digests:
        return [f"{name} of {item} is fresh: key {plan.keys[item]}, digest {plan.digests[item]}"]
    if item in plan.failed:
        failure = plan.failed[item]
        return [
            f"{name} of {item} failed ({failure.error_class}, {failure.attempts} attempts): "
            f"{failure.message}",
            "its key is the same, so it is tried again only by `hiprobe run --retry-failed`",
        ]
    if item in plan.blocked:
        return [f"{name} of {item} cannot be made: {plan.blocked[item]}"]
    if item in plan.waiting:
        return [
            f"{name} of {item} waits for {plan.waiting[item]}: if that gives the same bytes as "
            "before, this stays fresh"
        ]
    if item not in plan.todo and item not in plan.unselected:
        raise ConfigError(f"{name} has no item {item!r}")
    lines = [f"{name} of {item} is to be made:"]
    row = previous.rows().get(item) if previous else None
    if previous is None or row is None:
        return [*lines, "  it was not made in this run's folder before"]
    lines += [f"  {text}" for text in changed_recipe(plan, world, previous)]
    inputs = Inputs(plan.node, world, upstream)
    for path, old, new in _input_changes(item, plan, world, row, inputs, store):
        lines.append(f"  input {path}: {show(old)} -> {show(new)}")
    if row["key"] == plan.keys.get(item):
        lines.append("  its artifact is no longer in the store")
    return lines


def show(value: Any) -> str:
    """A value as a line can hold it."""
    text = canonical(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def source_warning(plan: StagePlan, world: World, previous: Previous | None) -> str:
    """A warning where the source of a stage changed since the last run and its version did not."""
    stage = plan.node.name
    if previous is None or previous.version != world.versions[stage]:
        return ""
    if previous.source == source_digest(stage):
        return ""
    return (
        f"the source of stage {stage} changed since its artifacts were made, its VERSION did not: "
        "raise it in the stage's module if the numbers change"
    )
