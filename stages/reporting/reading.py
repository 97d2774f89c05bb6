"""What a report is made of: the inputs of the job, read once and checked for what a page needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.digest import read_json
from manifests.columns import TableSchema
from manifests.schema import (
    CURVES,
    HEAD_SELECTION,
    PROBING_SCORES,
    PROJECTIONS,
    SELECTION,
    SENSITIVITY,
)
from manifests.table import read_table
from stages.contract import Job, Payload

Floats = NDArray[np.float64]
Columns = dict[str, list[Any]]


@dataclass(frozen=True, eq=False)
class Material:
    """Everything about the run as a whole; None where a role is not part of the run."""

    run: Mapping[str, Any]
    """The value "run"."""
    videos: tuple[Mapping[str, Any], ...]
    """The value "videos", in order of the ids."""
    metrics: Mapping[str, Any] | None
    curves: Mapping[str, tuple[Floats, Floats]]
    """By curve ("roc", "pr"): x and y."""
    choice: Mapping[str, Any] | None
    """selection.json: the chosen layer or heads, and by which method of which."""
    layers: Columns | None
    """Columns of the selection, where a layer was chosen."""
    heads: Columns | None
    """Columns of the selection, where heads were."""
    projection: Mapping[str, Any] | None
    """projection.json: how probing rows were brought into the plane."""
    points: Columns | None
    """Their places there."""
    table: Mapping[str, Any] | None
    scorer: Mapping[str, Any] | None
    probing: tuple[Floats, Floats] | None
    """Probing scores of the normal and of the anomalous rows."""
    threshold: Mapping[str, Any] | None
    """threshold.json, which is the same for every video of a run."""
    sensitivity: Columns | None
    """What other kappas would do on training rows; None where that is not known."""


def read_material(job: Job[Any]) -> Material:
    """Read every role of the run as a whole; of the videos, only the threshold of the first."""
    choice, metrics = job.inputs.get("choice"), job.inputs.get("metrics")
    videos = sorted(job.values["videos"], key=lambda video: str(video["video_id"]))
    return Material(
        run=job.values["run"],
        videos=tuple(videos),
        metrics=_record(metrics, "metrics.json"),
        curves=_curves(metrics),
        choice=_record(choice, "selection.json"),
        layers=_columns(choice, "layers.parquet", SELECTION),
        heads=_columns(choice, "heads.parquet", HEAD_SELECTION),
        projection=_record(job.inputs.get("pictures"), "projection.json"),
        points=_columns(job.inputs.get("pictures"), "projections.parquet", PROJECTIONS),
        table=_table(job.inputs.get("table")),
        scorer=_record(job.inputs.get("scorer"), "scorer.json"),
        probing=_probing(job),
        threshold=_threshold(job),
        sensitivity=_columns(job.inputs.get("threshold"), "sensitivity.parquet", SENSITIVITY),
    )


def columns_of(payload: Payload, name: str, schema: TableSchema) -> Columns:
    """A table of a payload as lists by column."""
    columns: Columns = read_table(payload.file(name), schema).to_pydict()
    return columns


def _columns(payload: Payload | None, name: str, schema: TableSchema) -> Columns | None:
    """The same, None where there is no such table."""
    if payload is None or not payload.holds(name):
        return None
    return columns_of(payload, name, schema)


def _table(payload: Payload | None) -> Mapping[str, Any] | None:
    """What the figures rest on, of layers or of heads."""
    if payload is not None and payload.holds("heads.json"):
        return _record(payload, "heads.json")
    return _record(payload, "statistics.json")


def _record(payload: Payload | None, name: str) -> Mapping[str, Any] | None:
    if payload is None:
        return None
    record: Mapping[str, Any] = read_json(payload.file(name))
    return record


def _curves(payload: Payload | None) -> dict[str, tuple[Floats, Floats]]:
    if payload is None:
        return {}
    columns = columns_of(payload, "curves.parquet", CURVES)
    names = np.asarray(columns["curve"], dtype=object)
    x, y = (np.asarray(columns[axis], dtype=np.float64) for axis in ("x", "y"))
    return {name: (x[names == name], y[names == name]) for name in sorted(set(names))}


def _probing(job: Job[Any]) -> tuple[Floats, Floats] | None:
    """Scores of the probing rows by class; None where there is no scorer."""
    payload = job.inputs.get("scorer")
    if payload is None:
        return None
    path = payload.file("probing_scores.parquet")
    columns = read_table(path, PROBING_SCORES).to_pydict()
    scores, labels = np.asarray(columns["score"]), np.asarray(columns["label"])
    return scores[labels == 0], scores[labels == 1]


def _threshold(job: Job[Any]) -> Mapping[str, Any] | None:
    localized = job.many.get("intervals", {})
    return _record(localized[min(localized)], "threshold.json") if localized else None
