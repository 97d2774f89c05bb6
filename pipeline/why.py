"""Why something would run: which field of which recipe, or which input, is another one."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cache.errors import ConfigError, StoreError
from cache.keys import canonical, differences
from cache.store import Store
from pipeline.environment import source_digest
from pipeline.graph import NODES
from pipeline.inputs import Inputs
from pipeline.plan import StagePlan, Upstream, plan_stage
from pipeline.record import Previous
from pipeline.values import recipe_of_node
from pipeline.world import Video, World

LOOKED_AT = 200
"""Items whose last record is opened to see which input is another one; the rest are only counted."""


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
    if plan.restore:
        counted["evicted, and needed again"] = len(plan.restore)
    if whole := held_whole(plan, world, upstream):
        counted['all their layers are in the store: forward.test_layers = "all" uses them'] = whole
    if previous is None:
        if plan.todo:
            counted["not made yet"] += len(plan.todo)
        return [Reason(text, count) for text, count in counted.items()]
    changed = changed_recipe(plan, world, previous)
    if changed:
        counted["; ".join(changed)] += len(plan.todo)
        return [Reason(text, count) for text, count in counted.items()]
    rows = previous.rows()
    inputs = None
    if plan.node.name != "index" or world.listing:
        inputs = Inputs(plan.node, world, upstream)
    videos = {v.video_id: v for v in world.videos or ()}
    for number, item in enumerate(plan.todo):
        told = _short_reason(plan, item, rows.get(item))
        if not told and number < LOOKED_AT and inputs is not None:
            changes = _input_changes(item, plan, videos.get(item), rows[item], inputs, store)
            told = ", ".join(sorted({path.split(".", 1)[0] for path, _, _ in changes}))
            told = f"other {told}" if told else ""
        counted[told or "other inputs"] += 1
    return [Reason(text, count) for text, count in counted.items()]


def held_whole(plan: StagePlan, world: World, upstream: Upstream) -> int:
    """Of how many videos of a second pass the store holds what a single pass makes.

    They are not used, since then the keys of a run would follow from what a store happens to hold;
    but whoever is about to spend a GPU on them should know.
    """
    if plan.node.over != "second":
        return 0
    sections = world.config.sections
    single = {**sections, "forward": dataclasses.replace(sections["forward"], test_layers="all")}
    config = dataclasses.replace(world.config, sections=single)
    forward = plan_stage(NODES["forward"], dataclasses.replace(world, config=config), upstream)
    return sum(item in forward.digests for item in [*plan.todo, *plan.waiting])


def _short_reason(plan: StagePlan, item: str, row: Mapping[str, Any] | None) -> str:
    """Why an item is to be made, where that can be told without looking at its last artifact."""
    if row is None:
        return "new"
    if row["key"] != plan.keys.get(item):
        return ""
    if row["status"] == "failed":
        return f"failed before ({row['error_class']})"
    return "its artifact is no longer in the store"


def _input_changes(
    item: str,
    plan: StagePlan,
    video: Video | None,
    row: Mapping[str, Any],
    inputs: Inputs,
    store: Store,
) -> list[tuple[str, Any, Any]]:
    """(role, old, new) for what differs from the artifact that the last run had."""
    before = store.record(plan.node.name, row["key"])
    if before is None:
        return []
    try:
        commit = before.commit
    except StoreError:
        return []
    found = differences(dict(commit.inputs), json.loads(inputs.text(item, video) or "{}"))
    return [
        (role, old, _members_changed(commit.members[role], inputs.members[role]))
        if role in inputs.members and role in commit.members
        else (role, old, new)
        for role, old, new in found
    ]


def _members_changed(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """What happened to the videos that are folded into one input."""
    more, fewer = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    other = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
    counts = [(more, "more"), (fewer, "fewer"), (other, "with other content")]
    return ", ".join(f"{len(names)} {text} ({names[0]})" for names, text in counts if names)


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
    video = next((v for v in world.videos or () if v.video_id == item), None)
    for path, old, new in _input_changes(item, plan, video, row, inputs, store):
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
