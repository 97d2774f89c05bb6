"""The results of a run, in one folder: tables, metrics, report, scorer."""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from cache import sums
from cache.artifact import Artifact
from cache.atomic import replace_bytes, replace_json
from cache.digest import read_json
from cache.store import Store
from manifests.columns import TableSchema
from manifests.schema import (
    EXPLANATIONS,
    INTERVALS,
    RUN_EXPLANATIONS,
    RUN_INTERVALS,
    RUN_SCORES,
    SMOOTHED,
    VIDEOS,
)
from manifests.table import arrow_schema, read_table, write_arrow
from pipeline.config import Config
from pipeline.inputs import fold
from pipeline.plan import StagePlan
from pipeline.task import SCORER
from pipeline.toml import to_toml
from pipeline.values import selected
from pipeline.world import DATASET, World

STATE = "outputs.json"
SELECTION = "selection.json"
POINTS = "projections.parquet"
OUTDATED = "outdated"
TABLES = {"layer": "layers.parquet", "heads": "heads.parquet"}
"""The table that a choice comes with, by what was to be chosen."""
RESULTS = (
    "config.toml", "videos.parquet", "scores.parquet", "intervals.parquet", "explanations.parquet",
    *TABLES.values(), SELECTION, "metrics.json", "replicates.parquet", POINTS, "report.html",
    "scorer", "threshold",
)  # fmt: skip
"""What lies in the results folder of a run, beside its manifests and its log."""
THRESHOLD = ("threshold.json", "sensitivity.parquet")
"""What the folder of a threshold holds."""


def write_outputs(
    config: Config, world: World, plans: Mapping[str, StagePlan], store: Store
) -> None:
    """Bring the results folder up to date with what is committed; write only what changed."""
    folder = config.results
    if not plans["index"].digests:
        return
    folder.mkdir(parents=True, exist_ok=True)
    state = _read_state(folder)
    before = dict(state)
    outputs = _Outputs(folder, store, plans, state)
    outputs.resolved(config, world)
    outputs.videos()
    outputs.joined("scores.parquet", "localize", "smoothed.parquet", SMOOTHED, RUN_SCORES)
    outputs.joined("intervals.parquet", "localize", "intervals.parquet", INTERVALS, RUN_INTERVALS)
    outputs.joined(
        "explanations.parquet", "explain", "explanations.parquet", EXPLANATIONS, RUN_EXPLANATIONS
    )
    for what, name in TABLES.items():
        if what == selected(world):
            outputs.copied(name, "select", (name,))
        else:
            outputs.retire(name)
    outputs.copied(SELECTION, "select", (SELECTION,))
    outputs.copied("metrics.json", "evaluate", ("metrics.json",))
    outputs.copied("replicates.parquet", "evaluate", ("replicates.parquet",))
    outputs.copied(POINTS, "projection", (POINTS,))
    outputs.copied("report.html", "report", ("report.html",))
    outputs.copied("scorer", "fit", SCORER)
    outputs.copied("threshold", "threshold", THRESHOLD)
    if state != before or not sums.is_noted(folder / STATE):
        replace_json(folder / STATE, state)
        sums.note(folder / STATE)


def _read_state(folder: Path) -> dict[str, str]:
    """What each result was made from: unknown, but not nothing, where that is lost."""
    path = folder / STATE
    if path.exists() and sums.is_sound(path):
        with contextlib.suppress(ValueError, RecursionError):
            return dict(read_json(path))
    return {name: "unknown" for name in RESULTS if sums.knows(folder / name)}


class _Outputs:
    """The results folder, and the state (digests of what each file was made from) of its files."""

    def __init__(
        self, folder: Path, store: Store, plans: Mapping[str, StagePlan], state: dict[str, str]
    ) -> None:
        self._folder, self._store, self._plans, self._state = folder, store, plans, state

    def resolved(self, config: Config, world: World) -> None:
        """config.toml: every field with the value that was used, and the backbone's identity."""
        text = to_toml(config, identity=world.backbone)
        self._renew(
            "config.toml", fold({"text": text}), lambda path: replace_bytes(path, text.encode())
        )

    def videos(self) -> None:
        """videos.parquet: the index manifest with what decoding has found."""
        index, done = self._plans["index"], self._plans["decode"].digests
        state = fold({DATASET: index.digests[DATASET], **done})

        def write(path: Path) -> None:
            artifact = self._store.artifact("index", index.keys[DATASET])
            table = read_table(artifact.file("videos.parquet"), VIDEOS)
            found = {
                name: read_json(self._open("decode", name).file("video.json")) for name in done
            }
            write_arrow(path, _with_frames(table, found))

        self._renew("videos.parquet", state, write)

    def joined(
        self, name: str, stage: str, payload: str, schema: TableSchema, joined: TableSchema
    ) -> None:
        """One table for all videos, from one table per video."""
        plan = self._plans[stage]
        if not plan.digests:
            self.retire(name)
            return

        def write(path: Path) -> None:
            tables = []
            for video in sorted(plan.digests):
                table = read_table(self._open(stage, video).file(payload), schema)
                names = pa.array([video] * len(table), pa.string())
                tables.append(table.add_column(0, "video_id", names))
            whole = pa.concat_tables([t.replace_schema_metadata(None) for t in tables])
            write_arrow(path, whole.cast(arrow_schema(joined)))

        self._renew(name, fold(plan.digests), write)

    def copied(self, name: str, stage: str, payload: tuple[str, ...]) -> None:
        """A file, or a folder of files, just as the artifact of a data set stage holds it."""
        plan = self._plans[stage]
        if not plan.digests:
            self.retire(name)
            return

        def write(path: Path) -> None:
            artifact = self._open(stage, DATASET)
            if len(payload) == 1:
                _copy(artifact.file(payload[0]), path)
                return
            path.mkdir(exist_ok=True)
            for file in payload:
                _copy(artifact.file(file), path / file)

        # The key too: what is copied may be auxiliary, and so no part of the content digest.
        state = fold({plan.keys[DATASET]: plan.digests[DATASET]})
        self._renew(name, state, write, payload if len(payload) > 1 else ())

    def _open(self, stage: str, item: str) -> Artifact:
        return self._store.artifact(stage, self._plans[stage].keys[item])

    def retire(self, name: str) -> None:
        """Move a result of another configuration than the folder now shows to `outdated/`.

        Left in its place it would be taken for this one's.
        """
        if self._state.pop(name, None) is None:
            return
        path, old = self._folder / name, self._folder / OUTDATED / name
        sums.forget(path)
        old.parent.mkdir(exist_ok=True)
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # another run has moved it this moment
            path.replace(old)

    def _renew(
        self, name: str, state: str, write: Callable[[Path], None], inside: tuple[str, ...] = ()
    ) -> None:
        """Write a file, or a folder with these files inside, unless it is there as it should be."""
        path = self._folder / name
        files = [path / file for file in inside] or [path]
        if self._state.get(name) == state and all(map(sums.is_noted, files)):
            return
        write(path)
        for file in files:
            sums.note(file)
        self._state[name] = state


def _with_frames(table: pa.Table, found: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """The index manifest with the columns that decoding fills."""
    names = table["video_id"].to_pylist()
    columns = {"n_frames": "n_frames", "fps": "fps", "width": "width", "height": "height"}
    columns["duration"] = "duration_s"
    for column, key in columns.items():
        position = table.schema.get_field_index(column)
        values = [found[name][key] if name in found else None for name in names]
        field = table.schema.field(position)
        table = table.set_column(position, field, pa.array(values, field.type))
    return table


def _copy(source: Path, target: Path) -> None:
    # Two runs of one name may be at work: each writes beside the place under a name of its own.
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        shutil.copyfile(source, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def read_metrics(results: Path) -> dict[str, Any] | None:
    """metrics.json of a run, or None where it has none. Raises DamagedArtifact."""
    return _record(results / "metrics.json")


def read_selection(results: Path) -> dict[str, Any] | None:
    """selection.json of a run, or None where it has none. Raises DamagedArtifact."""
    return _record(results / SELECTION)


def _record(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(sums.require(path).read_text(encoding="utf-8"))
    return found
