"""Stage fit (a data set): the scorer, fitted on the probing videos at the chosen layer or heads."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.digest import read_json, write_json
from cache.errors import ConfigError
from cache.fields import at_least, positive, recipe
from manifests.schema import PROBING_SCORES, SEGMENTS
from stages.contract import Job, Result

if TYPE_CHECKING:
    from stages.probes.choice import Choice
    from stages.probes.scorers import FitReport, Rows, Scorer
    from stages.probes.spans import Floats, Ints

VERSION = 5


@dataclass(frozen=True)
class Settings:
    """How the scorer is fitted."""

    scorer: str = recipe(
        "logistic",
        "kind of scorer: logistic, svm (RBF), distance or mahalanobis (to the two class means)",
        choices=("logistic", "svm", "distance", "mahalanobis"),
    )
    c: float = recipe(1.0, "inverse strength of the L2 penalty (logistic, svm)", check=positive)
    standardise: bool = recipe(True, "give every dimension mean 0 and deviation 1 first")
    balance: str = recipe(
        "weights",
        "what makes both classes count the same: weights, resample or none (not read by distance)",
        choices=("weights", "resample", "none"),
    )
    max_iter: int = recipe(
        1000,
        "most iterations of the optimiser (logistic), or times that many steps as rows (svm)",
        check=at_least(1),
    )
    seed: int = recipe(0, "seed of the resampling", check=at_least(0))


@dataclass(frozen=True, eq=False)
class _Samples:
    """The probing rows, video after video in order of their ids."""

    rows: Rows
    labels: Ints
    videos: list[str]
    """Video id of every row."""
    spans: dict[str, list[Any]]
    """Number, frames and seconds of the segment of every row, by name of the column."""


def compute(job: Job[Settings]) -> Result:
    """Write scorer.safetensors, scorer.json and probing_scores.parquet.

    Reads "choice", "states" and "plan" of every probing video, and the values "labels", "sources"
    {video_id: sha256 of its file}, "features", "question" and "unit". mu and sigma (ddof 0) in
    scorer.json are those of the scores of the probing rows; `files` there ties it to the two others.
    Raises LeakageError for a video that is no training video, ConfigError where a class has no
    sample or the choice does not fit the hidden states.
    """
    from stages.probes.choice import choice_of
    from stages.probes.scorers import SCORERS, FitOptions, save_scorer
    from stages.probes.training import require_both_classes

    settings, begin = job.settings, time.perf_counter()
    choice = choice_of(read_json(job.inputs["choice"].file("choice.json")))
    samples = _read(job, choice)
    n_anomalous = int(samples.labels.sum())
    require_both_classes(len(samples.labels) - n_anomalous, n_anomalous)
    read = time.perf_counter()
    options = FitOptions(
        c=settings.c,
        standardise=settings.standardise,
        balance=settings.balance,
        max_iter=settings.max_iter,
        seed=settings.seed,
    )
    scorer, report = SCORERS[settings.scorer].fit(samples.rows, samples.labels, options)
    scores = scorer.score(samples.rows)
    save_scorer(job.out / "scorer.safetensors", scorer)
    _write(job, samples, choice, scores, scorer, report)
    notes = () if report.converged else (_not_converged(report),)
    seconds = {"read": read - begin, "fit": time.perf_counter() - read}
    return Result(len(scores), seconds=seconds, notes=notes)


def _read(job: Job[Settings], choice: Choice) -> _Samples:
    """Every probing row of the choice; nothing else of the features is read."""
    import numpy as np

    from stages.probes.samples import probed_rows
    from stages.probes.spans import SPAN_NAMES, read_spans, require_rows
    from stages.probes.training import label_of, segment_labels

    rows: list[Rows] = []
    labels: list[Ints] = []
    videos: list[str] = []
    where: dict[str, list[Any]] = {name: [] for name in SPAN_NAMES}
    for video, payload in sorted(job.many["states"].items()):
        found = probed_rows(video, payload, job.values["question"], choice)
        if rows and found.shape[1] != rows[0].shape[1]:
            raise ConfigError(
                f"{video}: hidden states have {found.shape[1]} numbers, those of other probing "
                f"videos {rows[0].shape[1]}; use one backbone for all"
            )
        spans = read_spans(job.many["plan"][video].file("segments.parquet"), SEGMENTS, video)
        require_rows(video, len(found), spans)
        rows.append(found)
        labels.append(segment_labels(video, label_of(video, job.values["labels"]), spans))
        videos += [video] * len(spans)
        for name, column in spans.columns().items():
            where[name] += column.tolist()
    if not rows:
        raise ConfigError("there is no probing video: the probing subset must name at least one")
    return _Samples(np.concatenate(rows), np.concatenate(labels), videos, where)


def _write(
    job: Job[Settings],
    samples: _Samples,
    choice: Choice,
    scores: Floats,
    scorer: Scorer,
    report: FitReport,
) -> None:
    """Write probing_scores.parquet, then scorer.json."""
    import numpy as np

    from manifests.table import write_table
    from stages.probes.metrics import figures_of
    from stages.probes.training import fitted_files

    if not np.isfinite(scores).all():
        raise ConfigError(
            "the fitted scorer gives scores that are not finite: the hidden states are too large; "
            "fit with standardise = true"
        )
    figures = figures_of(scores, samples.labels == 1)
    assert figures is not None, "both classes are present"
    labels, sources = job.values["labels"], job.values["sources"]
    columns: dict[str, Any] = {
        "video_id": samples.videos,
        "split": [labels[video]["split"] for video in samples.videos],
        "digest": [sources[video] for video in samples.videos],
        **samples.spans,
        "label": samples.labels,
        "score": scores,
        "held_out": [None] * len(scores),
    }
    write_table(job.out / "probing_scores.parquet", PROBING_SCORES, columns)
    n_anomalous = int(samples.labels.sum())
    record = {
        "kind": scorer.kind,
        **choice.record(),
        "dim": samples.rows.shape[1],
        "mu": float(scores.mean()),
        "sigma": float(scores.std()),
        "n_normal": len(scores) - n_anomalous,
        "n_anomalous": n_anomalous,
        "iterations": report.iterations,
        "converged": report.converged,
        "balance": job.settings.balance,
        "c": job.settings.c,
        "standardise": job.settings.standardise,
        "unit": job.values["unit"],
        "train_auc": figures.auc,
        "features": job.values["features"],
        "files": fitted_files(job.out),
    }
    write_json(job.out / "scorer.json", record)


def _not_converged(report: FitReport) -> str:
    return (
        f"the scorer had not converged after {report.iterations} iterations: raise fit.max_iter, "
        "lower fit.c, or set fit.standardise = true"
    )
