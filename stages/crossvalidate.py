"""Stage crossvalidate (a data set): how well a probe at every layer does on unseen probing videos."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.digest import write_json
from cache.errors import ConfigError
from cache.fields import at_least, knob, positive, recipe
from manifests.schema import CROSS_VALIDATION, CV_REPLICATES
from stages.contract import Job, Result

if TYPE_CHECKING:
    from stages.probes.crossvalidation import CrossValidation
    from stages.probes.probing import ProbingVideo
    from stages.probes.spans import Ints

VERSION = 1


@dataclass(frozen=True)
class Settings:
    """How layers are compared where select.method is "cv"."""

    folds: int = recipe(
        5, "folds of whole videos, at most the videos of the smaller class", check=at_least(2)
    )
    c: float = recipe(1.0, "inverse strength of the L2 penalty of the probes", check=positive)
    max_iter: int = recipe(1000, "most iterations of L-BFGS", check=at_least(1))
    seed: int = recipe(0, "seed of the folds and of the bootstrap over videos", check=at_least(0))
    replicates: int = recipe(
        200, "bootstrap replicates that say how stable the choice is; 0 is none", check=at_least(0)
    )
    workers: int = knob(2, "layers that are computed at a time", check=at_least(1))


def compute(job: Job[Settings]) -> Result:
    """Write layers.parquet (ROC AUC on held-out videos per layer) and replicates.parquet.

    crossvalidation.json says how, training_rows.parquet which videos they rest on. Reads "states"
    and "plan" of every probing video, and the values "labels" {video_id: {"split": "train", "label":
    ..., "intervals": ...}} and "question". Rows are the kept layers, by number. Raises LeakageError
    for a video that is no training video, ConfigError with fewer than two videos of a class, or
    where videos come from different backbones.
    """
    from stages.probes.crossvalidation import cross_validate
    from stages.probes.probing import probing_videos
    from stages.probes.resampling import video_draws
    from stages.probes.training import write_training_rows

    settings, begin = job.settings, time.perf_counter()
    videos = probing_videos(job.many, job.values["labels"], job.values["question"])
    samples = {video.video_id: video.labels for video in videos}
    write_training_rows(job.out / "training_rows.parquet", job.values["labels"], samples)
    labels = list(samples.values())
    fold = _folds(labels, settings)
    opened = time.perf_counter()
    layers = videos[0].states.layers
    found = cross_validate(
        [video.states.layer for video in videos],
        labels,
        fold,
        layers,
        options=_options(settings),
        draws=video_draws(labels, settings.replicates, settings.seed),
        workers=settings.workers,
        progress=job.progress,
    )
    _write(job, videos, fold, found)
    seconds = {"open": opened - begin, "fit": time.perf_counter() - opened}
    return Result(len(layers), seconds=seconds, notes=_notes(found, fold, settings))


def _folds(labels: list[Ints], settings: Settings) -> Ints:
    """The fold of every video."""
    from stages.probes.folds import NONE, video_folds

    fold = video_folds(labels, settings.folds, settings.seed)
    if (fold == NONE).any():
        anomalous = sum(bool(part.any()) for part in labels)
        raise ConfigError(
            f"the probing subset has {len(labels) - anomalous} normal and {anomalous} anomalous "
            "videos, cross-validation needs 2 of each to hold some out: add probing videos "
            '(data.probing_count, data.probing_share), or set select.method to another than "cv"'
        )
    return fold


def _options(settings: Settings) -> Any:
    """The probes: standardised, classes balanced by weights."""
    from stages.probes.scorers import FitOptions

    return FitOptions(
        c=settings.c,
        standardise=True,
        balance="weights",
        max_iter=settings.max_iter,
        seed=settings.seed,
    )


def _write(
    job: Job[Settings], videos: list[ProbingVideo], fold: Ints, found: CrossValidation
) -> None:
    import numpy as np

    from manifests.table import write_table

    layers, settings = videos[0].states.layers, job.settings
    anomalous = sum(int(video.labels.sum()) for video in videos)
    normal = sum(len(video.labels) for video in videos) - anomalous
    columns = {
        "layer": layers,
        "n_normal": [normal] * len(layers),
        "n_anomalous": [anomalous] * len(layers),
        "cv": found.mean,
        "cv_std": found.deviation,
        "cv_pooled": found.pooled,
        "not_converged": found.not_converged,
    }
    write_table(job.out / "layers.parquet", CROSS_VALIDATION, columns)
    count = len(found.replicates)
    replicates = {
        "replicate": np.repeat(np.arange(count), len(layers)),
        "layer": np.tile(layers, count),
        "cv": [None if np.isnan(v) else float(v) for v in found.replicates.ravel()],
    }
    write_table(job.out / "replicates.parquet", CV_REPLICATES, replicates)
    record = {
        "folds": {video.video_id: int(n) for video, n in zip(videos, fold, strict=True)},
        "c": settings.c,
        "max_iter": settings.max_iter,
        "seed": settings.seed,
        "replicates": settings.replicates,
        "n_normal": normal,
        "n_anomalous": anomalous,
    }
    write_json(job.out / "crossvalidation.json", record)


def _notes(found: CrossValidation, fold: Ints, settings: Settings) -> tuple[str, ...]:
    made, notes = int(fold.max()) + 1, []
    if made < settings.folds:
        notes.append(
            f"{made} folds instead of {settings.folds}: the smaller class has no more probing videos"
        )
    if lost := int(found.not_converged.sum()):
        notes.append(
            f"{lost} of {made * len(found.mean)} fits had not converged: raise "
            "crossvalidate.max_iter, or lower crossvalidate.c"
        )
    return tuple(notes)
