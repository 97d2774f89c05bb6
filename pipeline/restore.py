"""What was evicted and is needed again: which items of which stages have to be made once more.

An evicted artifact counts as made: its record has the content digest that everything after it goes
by. Only where something is to be computed from its payload is the payload made again, and what that
needs in turn. Pure functions over plans.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, TypeAlias

from pipeline.graph import GRAPH, NODES, Edge, Node
from pipeline.inputs import active_edges
from pipeline.values import videos_of
from pipeline.world import DATASET, World

if TYPE_CHECKING:
    from pipeline.plan import StagePlan

Plans: TypeAlias = "Mapping[str, StagePlan]"
Needed = dict[str, list[str]]
"""Items by stage, in the order of the graph."""
Place = tuple[str, str]
"""Stage and item."""
Lost = dict[Place, str]
"""Why something that was evicted cannot be made again."""


def mark_restores(world: World, plans: Plans) -> None:
    """Note in every plan what has to be restored for what is to be made, or may be."""
    if not _any_evicted(world):
        return
    work = {name: [*plan.todo, *plan.waiting] for name, plan in plans.items()}
    for stage, items in needed_for_work(world, plans, work).items():
        plans[stage].restore = items


def needed_by(world: World, plans: Plans, stage: str, items: Collection[str]) -> Needed:
    """What has to be restored before these items of a stage can be made."""
    return needed_for_work(world, plans, {stage: list(items)})


def needed_for_work(world: World, plans: Plans, work: Mapping[str, list[str]]) -> Needed:
    """The same for items of several stages."""
    return _closure(world, plans, work) if _any_evicted(world) else {}


def needed_for(world: World, plans: Plans, stage: str) -> Needed:
    """What has to be restored so that every artifact of a stage can be read."""
    plan = plans[stage]
    items = [item for item in plan.digests if _evicted(world, plan, item)]
    return _in_order({**_closure(world, plans, {stage: items}), stage: sorted(items)})


def why_lost(world: World, plans: Plans, stage: str, item: str, lost: Mapping[Place, str]) -> str:
    """Why an item cannot be made or restored, by what is lost already; empty where it can be."""
    if NODES[stage].backbone and not world.backbone_here:
        return f"{stage} needs the backbone, which is not on this machine"
    read = _closure(world, plans, {stage: [item]}, deep=False)
    gone = [(name, each) for name, items in read.items() for each in items]
    for place in gone:
        # Whatever is still evicted now was to be restored before.
        why = lost.get(place, "run again")
        return (
            f"it reads {place[0]} of {place[1]}, which was evicted and cannot be made again: {why}"
        )
    return ""


def _closure(
    world: World, plans: Plans, work: Mapping[str, list[str]], deep: bool = True
) -> Needed:
    """The evicted items that this work reads, and, where `deep`, what making those reads."""
    found: dict[str, set[str]] = {}
    for node in reversed(GRAPH):
        if node.name not in plans or plans[node.name].off:
            continue
        items = [*work.get(node.name, ()), *(found.get(node.name, ()) if deep else ())]
        for edge in active_edges(node, world, plans) if items else ():
            if edge.stage not in plans or (edge.outside and world.scorer is not None):
                continue
            source = plans[edge.stage]
            for name in _read(edge, node, items, world):
                if _evicted(world, source, name):
                    found.setdefault(edge.stage, set()).add(name)
    return _in_order({stage: sorted(items) for stage, items in found.items()})


def _read(edge: Edge, node: Node, items: Collection[str], world: World) -> Collection[str]:
    """The items of the stage of an edge that these items read."""
    if edge.over is not None:
        return [video.video_id for video in videos_of(world, edge.over)]
    return items if NODES[edge.stage].item == "video" else [DATASET]


def _evicted(world: World, plan: StagePlan, item: str) -> bool:
    catalog = world.committed.get(plan.node.name)
    return item in plan.digests and catalog is not None and plan.keys[item] in catalog.evicted


def _any_evicted(world: World) -> bool:
    return any(catalog.evicted for catalog in world.committed.values())


def _in_order(needed: Needed) -> Needed:
    return {node.name: needed[node.name] for node in GRAPH if needed.get(node.name)}
