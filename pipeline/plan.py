"""The planner: pure functions that say what must be done, and touch nothing.

A stage is planned when everything that it reads has been planned. An item is *fresh* where its key
is committed, *to do* where it is not, *failed* where this very key failed before, *blocked* where
something that it reads failed, and *waiting* where an input is still to be made, so that its own
key cannot be known yet: it may turn out fresh (the same bytes give the same key).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cache.catalog import StageCatalog
from cache.keys import Keymaker
from pipeline.graph import FITTING, GRAPH, Node
from pipeline.inputs import Inputs, active_edges
from pipeline.pause import no_collection
from pipeline.restore import mark_restores
from pipeline.values import compared, recipe_of_node, two_passes, videos_of
from pipeline.world import DATASET, Failure, World

ONE_PASS = 'forward.test_layers = "all": one pass keeps the same of every video'
"""Why there is no second pass: the default."""
UNASKED = {
    "layer": "select.method chooses heads: layers are not compared",
    "heads": "select.method chooses a layer: heads are not compared",
    "cv": "select.method is not cv: no probe is cross-validated",
}
"""Why there is no stage that compares what select.method does not look at."""
BY_CHOICE = frozenset({ONE_PASS, *UNASKED.values()})
"""Reasons that a person has chosen, and that the end of a run need not tell."""


@dataclass(slots=True)
class StagePlan:
    """What one stage has to do."""

    node: Node
    off: str = ""
    """Why the stage is not part of this run; empty where it is."""
    keys: dict[str, str] = field(default_factory=dict)
    """Key by item, for every item whose inputs are known."""
    digests: dict[str, str] = field(default_factory=dict)
    """Content digest by item, for every fresh item."""
    todo: list[str] = field(default_factory=list)
    """Items to compute now."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Items whose inputs are not made yet, with the stage that they wait for."""
    unselected: set[str] = field(default_factory=set)
    """Items that --select or --limit leaves out, and that are not fresh."""
    failed: dict[str, Failure] = field(default_factory=dict)
    """Items that failed before under the key that they have now."""
    blocked: dict[str, str] = field(default_factory=dict)
    """Items that cannot be made, with the reason: a stage that failed, or a model that is away."""
    restore: list[str] = field(default_factory=list)
    """Fresh items whose payload was evicted, and that something to be made reads (pipeline/restore)."""

    @property
    def total(self) -> int:
        """All items of the stage."""
        parts = (self.digests, self.todo, self.waiting, self.unselected, self.failed, self.blocked)
        return sum(len(part) for part in parts)

    def holds(self, item: str) -> bool:
        """Whether this is an item of the stage; asked 100,000 times, so no list is searched."""
        parts = (self.keys, self.waiting, self.unselected, self.failed, self.blocked)
        return any(item in part for part in parts)

    @property
    def work(self) -> int:
        """Items that are to do, that may be once their inputs are there, or that were evicted."""
        return len(self.todo) + len(self.waiting) + len(self.restore)


Upstream = Mapping[str, StagePlan]


@no_collection()
def plan_all(world: World) -> dict[str, StagePlan]:
    """Plan every stage, in the order of the graph."""
    plans: dict[str, StagePlan] = {}
    for node in GRAPH:
        plans[node.name] = plan_stage(node, world, plans)
    mark_restores(world, plans)
    return plans


@no_collection()
def plan_stage(node: Node, world: World, upstream: Upstream) -> StagePlan:
    """Plan one stage, given the plans of everything before it."""
    plan = StagePlan(node, off=switched_off(node, world, upstream))
    if plan.off:
        return plan
    if node.item == "dataset":
        _plan_dataset(plan, world, upstream)
    elif world.videos is None:
        plan.waiting[DATASET] = "index"
    else:
        _plan_videos(plan, world, upstream)
    return plan


def switched_off(node: Node, world: World, upstream: Upstream) -> str:
    """Why a stage is not part of this run, or nothing."""
    if node.name in FITTING and world.scorer is not None:
        return "an outside scorer is given"
    if node.over == "second" and not two_passes(world):
        return ONE_PASS
    if node.compares and node.compares not in compared(world):
        return UNASKED[node.compares]
    if node.backbone and not world.backbone:
        return world.backbone_problem or "no backbone is given: set backbone.model"
    return _without_videos(node, world) or _without_inputs(node, world, upstream)


def _without_videos(node: Node, world: World) -> str:
    """Why there is no video for a stage, or nothing (also where the videos are not known yet)."""
    if world.videos is None:
        return ""
    selecting = bool(node.compares) or (node.over == "first" and two_passes(world))
    if selecting and world.scorer is not None:
        return 'run.scorer with forward.test_layers = "selected": nothing is left to be selected'
    if selecting and not videos_of(world, "probing"):
        return (
            "no training video has a label: give data.labels with training videos, or a fitted "
            "scorer as run.scorer"
        )
    if node.over == "second" and not videos_of(world, "second"):
        return "every video is in the probing subset"
    if node.name == "evaluate" and not videos_of(world, "test"):
        return "no test video has a label"
    return ""


def _without_inputs(node: Node, world: World, upstream: Upstream) -> str:
    """Why a role of a stage cannot be filled, or nothing: every stage that could is off."""
    filled = {edge.role for edge in active_edges(node, world, upstream)}
    for edge in node.edges:
        if not edge.optional and edge.role not in filled:
            return upstream[edge.stage].off
    return ""


def keymaker(node: Node, world: World) -> Keymaker:
    """What makes the keys of a stage."""
    return Keymaker(node.name, world.versions[node.name], recipe_of_node(node, world))


def _plan_dataset(plan: StagePlan, world: World, upstream: Upstream) -> None:
    node = plan.node
    if node.name == "index" and world.listing is None:
        plan.todo.append(DATASET)  # its key is known once the source files are digested
        return
    for edge in active_edges(node, world, upstream):
        source = upstream[edge.stage]
        if edge.outside and world.scorer is not None:
            continue
        held = {*source.waiting, *source.unselected, *source.todo}
        if edge.over is not None:
            # What failed is left out, and said; what is still to be made is waited for.
            held &= {v.video_id for v in videos_of(world, edge.over)}
        elif source.failed or source.blocked:
            plan.blocked[DATASET] = _lost(source)
            return
        if held:
            plan.waiting[DATASET] = edge.stage
            return
    text = Inputs(node, world, upstream).text(DATASET, None)
    assert text is not None, f"{node.name} was planned before what it reads"
    _decide(plan, DATASET, keymaker(node, world).key_of_text(text), world, True)


def _plan_videos(plan: StagePlan, world: World, upstream: Upstream) -> None:
    inputs = Inputs(plan.node, world, upstream)
    make_key = keymaker(plan.node, world).key_of_text
    for video in videos_of(world, plan.node.over):
        name = video.video_id
        if inputs.reads_source and not video.digest:
            reason = world.unreadable.get(name, "the file could not be read")
            plan.failed[name] = Failure(name, "", "OSError", reason, 1)
            continue
        text = inputs.text(name, video)
        if text is None:
            _hold(plan, name, upstream[inputs.missing])
        else:
            chosen = world.chosen is None or name in world.chosen
            _decide(plan, name, make_key(text), world, chosen)


def _hold(plan: StagePlan, item: str, source: StagePlan) -> None:
    """An input of this item is not there: it waits, is blocked, or was not selected."""
    if source.node.item == "dataset":
        if source.failed or source.blocked:
            plan.blocked[item] = _lost(source)
        else:
            plan.waiting[item] = source.node.name
    elif item in source.failed:
        plan.blocked[item] = f"{source.node.name} failed"
    elif item in source.blocked:
        plan.blocked[item] = source.blocked[item]
    elif item in source.unselected:
        plan.unselected.add(item)
    else:
        plan.waiting[item] = source.node.name


def _lost(source: StagePlan) -> str:
    """Why the one artifact of a data set stage is not there: what blocks it, or that it failed."""
    return source.blocked.get(DATASET) or f"{source.node.name} failed"


def _decide(plan: StagePlan, item: str, key: str, world: World, chosen: bool) -> None:
    """Fresh, failed before, left out, or to do: for an item whose key is known."""
    plan.keys[item] = key
    committed = world.committed.get(plan.node.name) or StageCatalog()
    digest = committed.digests.get(key)
    if digest is not None:
        plan.digests[item] = digest
        return
    failure = world.failures.get(plan.node.name, {}).get(key)
    lacking = lacking_for(plan.node, world)
    # What failed where a bundle was made has failed here, and cannot be tried again.
    if lacking and (failure is None or world.bundle is None):
        plan.blocked[item] = lacking
    elif failure is not None and (lacking or not world.retry_failed):
        plan.failed[item] = failure
    elif chosen:
        plan.todo.append(item)
    else:
        plan.unselected.add(item)


def lacking_for(node: Node, world: World) -> str:
    """What there is not here to make an item of a stage, or nothing."""
    if world.bundle is not None:
        if node.backbone:
            return "the bundle holds no model"
        if node.source(world.config.sections.get(node.section)):
            return "the bundle holds no videos"
        if node.whole:
            return f"{node.name} reads all layers, the bundle holds {world.bundle.what} alone"
    elif node.backbone and not world.backbone_here:
        return "the backbone is not on this machine"
    return ""
