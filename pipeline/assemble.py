"""From a plan to tasks: everything that a worker needs, gathered for each item."""

from __future__ import annotations

import json
from collections.abc import Collection

from cache.store import Store
from pipeline.gather import model_path
from pipeline.inputs import Inputs
from pipeline.plan import StagePlan, Upstream
from pipeline.task import SourceVideo, Task
from pipeline.values import own_value, recipe_of_node
from pipeline.world import Video, World
from stages.backbones.reference import BackboneReference


def tasks_of(
    plan: StagePlan, world: World, upstream: Upstream, store: Store, items: Collection[str]
) -> list[Task]:
    """The tasks of items of a stage, the longest videos first, so that none is left running alone."""
    node = plan.node
    inputs = Inputs(node, world, upstream)
    recipe = recipe_of_node(node, world)
    backbone = backbone_reference(world) if node.backbone else None
    videos = {v.video_id: v for v in world.videos or ()}
    many = inputs.many()

    def task(item: str, video: Video | None) -> Task:
        text = inputs.text(item, video)
        assert text is not None, f"{node.name} of {item} was planned without its inputs"
        values = dict(inputs.values)
        if video is not None:
            values |= {name: own_value(name, world, video) for name in inputs.own}
        reads = video is not None and inputs.reads_source
        return Task(
            stage=node.name,
            version=world.versions[node.name],
            item=item,
            settings=world.config.sections.get(node.section),
            recipe=recipe,
            inputs=json.loads(text),
            members=inputs.members,
            store=store.root,
            shared=tuple(under.root for under in store.shared),
            bundle=world.bundle,
            single=inputs.single(item),
            many=many,
            values=values,
            source=SourceVideo(world.data / video.path, video.digest) if video and reads else None,
            backbone=backbone,
        )

    weights = weights_of(items, world)
    ordered = sorted(items, key=lambda item: (-weights[item], item))
    return [task(item, videos.get(item)) for item in ordered]


def weights_of(items: Collection[str], world: World) -> dict[str, float]:
    """How much work each item is, roughly: the bytes of its video."""
    sizes = {v.video_id: float(v.bytes) for v in world.videos or ()}
    return {item: sizes.get(item, 1.0) for item in items}


def backbone_reference(world: World) -> BackboneReference:
    """What a worker needs to load the backbone."""
    settings = world.config.sections["backbone"]
    return BackboneReference(
        model=model_path(world.config),
        revision=settings.revision,
        dtype=settings.dtype,
        attention=settings.attention,
        device=settings.device,
        identity=world.backbone,
    )
