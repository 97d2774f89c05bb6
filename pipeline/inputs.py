"""What enters the keys of one stage: one definition, for the planner, for tasks and for `why`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cache.keys import canonical, hash_of
from pipeline.graph import Edge, Node
from pipeline.task import Folder
from pipeline.values import LARGE, OWN, own_value, value_of, videos_of
from pipeline.world import DATASET, Video, World

if TYPE_CHECKING:
    from pipeline.plan import StagePlan


class Inputs:
    """The inputs of the items of one stage, as canonical JSON text.

    What all items share is written once; the text of an item is then a few look-ups, since a run
    may have 100,000 of them.
    """

    def __init__(self, node: Node, world: World, upstream: Mapping[str, StagePlan]) -> None:
        self._node, self._world, self._upstream = node, world, upstream
        self.edges = active_edges(node, world, upstream)
        self.reads_source = node.source(world.config.sections.get(node.section))
        self.own = tuple(n for n in node.values if n in OWN and node.item == "video")
        """Names of the values that each item has for itself."""
        self.values = {n: value_of(n, world, upstream) for n in node.values if n not in self.own}
        self.members: dict[str, dict[str, str]] = {}
        """Content digest by video id, for every role that folds many artifacts."""
        self._tables: dict[str, tuple[tuple[StagePlan, ...], dict[str, str]]] = {}
        """Content digest by item, with the stages that it comes from, for roles filled per item."""
        self._fixed: dict[str, str] = {}
        self.missing = ""
        """The stage whose artifact was not there when `text` last returned None."""
        for edge in self.edges:
            self._add(edge)
        for name, value in self.values.items():
            self._fix(name, hash_of(value) if name in LARGE else value)
        if node.backbone:
            self._fix("backbone", world.backbone)
        source = ["source"] if self.reads_source else []
        roles = sorted({*self._tables, *self._fixed, *self.own, *source})
        self._steps = [(r, self._fixed.get(r), self._tables.get(r)) for r in roles]

    def text(self, item: str, video: Video | None) -> str | None:
        """Canonical JSON of an item's inputs; None (see `missing`) where one is not there."""
        texts = []
        for role, fixed, table in self._steps:
            if fixed is not None:
                texts.append(fixed)
            elif table is not None:
                digest = table[1].get(item)
                if digest is None:
                    self.missing = _stage_of(item, table[0])
                    return None
                texts.append(f'"{role}":"{digest}"')
            elif video is not None and role == "source":
                texts.append(f'"source":"{video.digest}"')
            elif video is not None:
                texts.append(f'"{role}":{canonical(own_value(role, self._world, video))}')
        return "{" + ",".join(texts) + "}"

    def single(self, item: str) -> dict[str, tuple[str, str] | Folder]:
        """Where the single artifacts of an item are: (stage, key), or a folder outside the store."""
        found: dict[str, tuple[str, str] | Folder] = {}
        for edge in self.edges:
            if edge.over is not None:
                continue
            scorer = self._world.scorer
            if edge.outside and scorer is not None:
                found[edge.role] = Folder(scorer.path, scorer.digest)
                continue
            source = self._upstream[edge.stage]
            name = item if source.node.item == "video" else DATASET
            if name in source.digests:  # of two stages that fill a role, one has this item
                found[edge.role] = (edge.stage, source.keys[name])
        return found

    def many(self) -> dict[str, tuple[str, dict[str, str]]]:
        """(stage, key by video id) for every role that reads one artifact per video."""
        return {
            edge.role: (edge.stage, self._keys(edge))
            for edge in self.edges
            if edge.over is not None
        }

    def _keys(self, edge: Edge) -> dict[str, str]:
        keys = self._upstream[edge.stage].keys
        return {name: keys[name] for name in self.members[edge.role]}

    def _add(self, edge: Edge) -> None:
        source = self._upstream[edge.stage]
        if edge.over is not None:
            videos = videos_of(self._world, edge.over)
            done = source.digests
            said = {v.video_id: done[v.video_id] for v in videos if v.video_id in done}
            self.members[edge.role] = said
            self._fix(edge.role, fold(said))
        elif edge.outside and self._world.scorer is not None:
            self._fix(edge.role, self._world.scorer.digest_of(edge.stage))
        elif source.node.item == "video":
            stages, digests = self._tables.get(edge.role, ((), {}))
            # There may be 100,000 of them: the table of the only stage is not copied.
            both = {**digests, **source.digests} if stages else source.digests
            self._tables[edge.role] = ((*stages, source), both)
        elif DATASET in source.digests:
            self._fix(edge.role, source.digests[DATASET])
        else:
            self._tables[edge.role] = ((source,), {})

    def _fix(self, role: str, value: Any) -> None:
        self._fixed[role] = f'"{role}":{canonical(value)}'


def active_edges(node: Node, world: World, upstream: Mapping[str, StagePlan]) -> list[Edge]:
    """The edges that count in this run: those of stages that are part of it."""
    return [
        edge
        for edge in node.edges
        if (edge.outside and world.scorer is not None) or not upstream[edge.stage].off
    ]


def _stage_of(item: str, stages: Sequence[StagePlan]) -> str:
    """Which of the stages that fill a role has this item."""
    return next((s.node.name for s in stages if s.holds(item)), stages[-1].node.name)


def fold(members: Mapping[str, str]) -> str:
    """One digest for many artifacts: which video has which content."""
    # Plain text pairs need no check before they become JSON, and there may be 100,000 of them.
    text = json.dumps(sorted(members.items()), separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
