"""Worlds for tests of the planner: made of plain values, with a store that is only a dict."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from cache.catalog import StageCatalog
from cache.keys import hash_of
from pipeline.config import Config, make_config
from pipeline.gather import foresee_videos
from pipeline.graph import GRAPH
from pipeline.plan import StagePlan, plan_stage
from pipeline.world import World

VIDEOS: tuple[tuple[Any, ...], ...] = (
    ("train/n1", "train", 0, "Normal", []),
    ("train/n2", "train", 0, "Normal", []),
    ("train/n3", "train", 0, "Normal", []),
    ("train/a1", "train", 1, "Fight", [[10, 60, "Fight"]]),
    ("train/a2", "train", 1, "Fight", [[30, 90, "Fight"]]),
    ("train/a3", "train", 1, "Fire", [[5, 25, "Fire"]]),
    ("test/n1", "test", 0, "Normal", []),
    ("test/a1", "test", 1, "Fight", [[40, 80, "Fight"]]),
    ("test/a2", "test", 1, "Fire", [[0, 48, "Fire"]]),
)


def sha(text: str) -> str:
    """A digest for a made-up content."""
    return hashlib.sha256(text.encode()).hexdigest()


def listing(videos: tuple[Any, ...] = VIDEOS) -> list[list[Any]]:
    """The value that the index stage starts from."""
    return [
        [name, f"{name}.mp4", 1000, sha(f"bytes of {name}"), split, label, cls, spans]
        for name, split, label, cls, spans in sorted(videos)
    ]


def config(**sections: Mapping[str, Any]) -> Config:
    """Two questions are asked, and four training videos are the probing subset."""
    data = {"videos": "v", "probing_count": 4, **sections.pop("data", {})}
    forward = {"prompts": ["What happens?", "Is it odd?"], **sections.pop("forward", {})}
    return make_config({"data": data, "forward": forward, **sections}, folder=Path("/nowhere"))


def world(
    settings: Config | None = None,
    *,
    rows: list[list[Any]] | None = None,
    committed: Mapping[str, StageCatalog] | None = None,
    **more: Any,
) -> World:
    """A world in which nothing is committed, unless `committed` says so."""
    settings = settings or config()
    backbone = settings.sections["backbone"]
    made = World(
        config=settings,
        versions={node.name: 1 for node in GRAPH},
        listing=rows if rows is not None else listing(),
        committed=committed or {},
        # The identity holds number format and attention, as stages.backbones.identity makes it.
        backbone=hash_of(["weights", backbone.dtype, backbone.attention]),
        **more,
    )
    return dataclasses.replace(made, videos=foresee_videos(made))


def settle(start: World, *, same: Collection[str] = ()) -> tuple[World, dict[str, StagePlan]]:
    """Do all the work that a plan asks for, with contents that follow from the keys.

    The stages in `same` give the same content under every key, as a stage of few outcomes may.
    """
    committed = {
        name: StageCatalog(dict(c.digests), dict(c.sizes)) for name, c in start.committed.items()
    }
    now = dataclasses.replace(start, committed=committed)
    plans: dict[str, StagePlan] = {}
    for node in GRAPH:
        plan = plan_stage(node, now, plans)
        stage = committed.setdefault(node.name, StageCatalog())
        for item in plan.todo:
            made = f"{node.name} of {item}" if node.name in same else plan.keys[item]
            stage.add(plan.keys[item], sha(f"content of {made}"), 1, 1)
        plans[node.name] = plan_stage(node, now, plans)
        assert not plans[node.name].work, node.name
    return now, plans


def work(plans: Mapping[str, StagePlan]) -> dict[str, int]:
    """Items of work by stage, stages without any left out."""
    return {name: plan.work for name, plan in plans.items() if plan.work}
