"""Stage evaluate (a data set): figures against the annotations of the test videos."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.ahead import ahead
from cache.digest import read_json, write_json
from cache.errors import ConfigError
from cache.fields import at_least, recipe
from manifests.schema import CURVES, INTERVALS, REPLICATES, SMOOTHED
from stages.contract import Job, Result

if TYPE_CHECKING:
    from stages.probes.frames import EvaluatedVideo, Pool

VERSION = 3
POINTS = 500
"""Points of a curve that are kept for drawing."""


def _overlaps(value: Any) -> str | None:
    if len(value) == len(set(value)) and all(0 < t <= 1 for t in value):
        return None
    return "must be different numbers above 0 and at most 1"


@dataclass(frozen=True)
class Settings:
    """How the annotations are read, and what is computed besides the figures themselves."""

    labels: str = recipe(
        "exact",
        "how an annotation s e becomes frames: exact (s to e - 1), inclusive (s to e), or floor16 "
        "(exact, on the first 16 * (n // 16) frames)",
        choices=("exact", "floor16", "inclusive"),
    )
    bootstrap: int = recipe(1000, "replicates of the bootstrap; 0 is none", check=at_least(0))
    seed: int = recipe(0, "seed of the bootstrap", check=at_least(0))
    tiou: tuple[float, ...] = recipe(
        (0.1, 0.3, 0.5), "temporal IoUs at which detected intervals count", check=_overlaps
    )


def compute(job: Job[Settings]) -> Result:
    """Write metrics.json, curves.parquet and replicates.parquet.

    Reads "intervals" (localize) of every test video and "scorer", and the values "truth" {video_id:
    {"label", "class", "intervals", "listed_frames"}} of exactly these videos, "missing" [video ids
    that failed before], "absent" {"train" | "test": [names of listed videos that are not there]} and
    "tested" {video_id: sha256 of its file}. Raises LeakageError where the scorer was fitted on one
    of them, ConfigError where the annotations do not fit the videos. A figure that is not defined
    is null and its reason stands under "undefined".
    """
    from manifests.table import write_table
    from stages.probes.evaluation import evaluation_of
    from stages.probes.frames import pool_of
    from stages.probes.training import require_unseen, training_scores
    from stages.reporting.coverage import remarks_of

    settings, begin = job.settings, time.perf_counter()
    missing = sorted(job.values["missing"])
    _require_same_videos(job, missing)
    tested = {video: job.values["tested"][video] for video in job.many["intervals"]}
    require_unseen(training_scores(job.inputs["scorer"]).sources(), tested)
    videos = list(ahead(functools.partial(_read, job), sorted(job.many["intervals"])))
    read = time.perf_counter()
    found = evaluation_of(
        videos, bootstrap=settings.bootstrap, seed=settings.seed, tiou=settings.tiou
    )
    metrics = {
        **found.metrics,
        "labels": settings.labels,
        "missing": {"count": len(missing), "videos": missing},
        "absent": _absent(job),
        "threshold": _threshold(job),
    }
    write_json(job.out / "metrics.json", metrics)
    write_table(job.out / "curves.parquet", CURVES, _curves(pool_of(videos)))
    write_table(job.out / "replicates.parquet", REPLICATES, found.replicate_columns())
    notes = tuple(remark.text for remark in remarks_of(metrics))
    seconds = {"read": read - begin, "compute": time.perf_counter() - read}
    auxiliary = frozenset({"replicates.parquet"})
    return Result(len(videos), seconds=seconds, notes=notes, auxiliary=auxiliary)


def _require_same_videos(job: Job[Settings], missing: list[str]) -> None:
    """Raise ConfigError unless annotated and evaluated videos are the same, and there are any."""
    found, expected = set(job.many["intervals"]), set(job.values["truth"])
    for names, text in (
        (found - expected, "have no annotation; add them to the labels"),
        (expected - found, "are annotated and were not localized; run the stages before"),
        (found & set(missing), "are given both as evaluated and as missing"),
    ):
        if names:
            shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            raise ConfigError(f"evaluate: {len(names)} test videos ({shown}) {text}")
    if not found:
        raise ConfigError(
            f"evaluate: there is no test video to evaluate ({len(missing)} failed before); give "
            "the data set a test split, or see why they failed"
        )


def _read(job: Job[Settings], video: str) -> EvaluatedVideo:
    from stages.probes.frames import Detection, evaluated_video, read_truth
    from stages.probes.spans import read_columns, spans_of

    payload = job.many["intervals"][video]
    columns = read_columns(payload.file("smoothed.parquet"), SMOOTHED)
    spans = spans_of(columns, video)
    detected = read_columns(payload.file("intervals.parquet"), INTERVALS)
    found = zip(*(detected[n].tolist() for n in ("start_frame", "end_frame", "peak")), strict=True)
    view: Any = job.settings.labels
    truth = read_truth(video, job.values["truth"][video], spans.n_frames, view)
    threshold = read_json(payload.file("threshold.json"))["threshold"]
    detections = [Detection(start, end, peak) for start, end, peak in found]
    return evaluated_video(video, truth, spans, columns, threshold, detections)


def _absent(job: Job[Settings]) -> dict[str, Any]:
    """Listed videos that are not there, by split, with their number."""
    absent = job.values["absent"]
    return {split: {"count": len(v), "videos": sorted(v)} for split, v in sorted(absent.items())}


def _threshold(job: Job[Settings]) -> Mapping[str, Any]:
    """The one threshold record of all videos; raises ConfigError where they differ."""
    records = {v: read_json(p.file("threshold.json")) for v, p in job.many["intervals"].items()}
    first = min(records)
    for video in sorted(records):
        if records[video] != records[first]:
            raise ConfigError(
                f"evaluate: {video} was localized with {records[video]}, {first} with "
                f"{records[first]}; one threshold must hold for all: localize them again"
            )
    return dict(records[first])


def _curves(pool: Pool) -> dict[str, list[Any]]:
    """The columns of the curves table; without rows where only one label is present."""
    from stages.probes.metrics import Ranking, pr_points, roc_points, thinned

    columns: dict[str, list[Any]] = {"curve": [], "point": [], "x": [], "y": []}
    if pool.positive.all() or not pool.positive.any():
        return columns
    counts = Ranking(pool.smoothed, pool.positive).counts(pool.frames)
    negatives = float(pool.frames[~pool.positive].sum())
    for name, points in (("roc", roc_points(counts, negatives)), ("pr", pr_points(counts))):
        x, y = thinned(*points, POINTS)
        columns["curve"] += [name] * len(x)
        columns["point"] += list(range(len(x)))
        columns["x"] += x.tolist()
        columns["y"] += y.tolist()
    return columns
