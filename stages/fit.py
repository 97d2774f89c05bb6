"""Stage fit (a data set): the scorer, fitted on the probing videos at the chosen layer or heads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.digest import read_json, write_json
from cache.errors import ConfigError
from manifests.schema import PROBING_SCORES
from stages.contract import Job, Result
from stages.probes.fit_settings import STEER, STREAMING, read_by
from stages.probes.fit_settings import Settings as Settings

if TYPE_CHECKING:
    from stages.probes.probing_fits import HeldOut, ProbingFits
    from stages.probes.probing_rows import ProbingRows
    from stages.probes.scorers import FitOptions, FitReport, Scorer
    from stages.probes.spans import Floats

VERSION = 6


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """What a fit has given."""

    scorer: Scorer
    report: FitReport
    scores: Floats
    """Of the probing rows, which it was fitted on."""
    held_out: HeldOut


def compute(job: Job[Settings]) -> Result:
    """Write scorer.safetensors, scorer.json and probing_scores.parquet.

    Reads "choice", "states" and "plan" of every probing video, and the values "labels", "sources"
    {video_id: sha256 of its file}, "features", "question" and "unit". mu and sigma (ddof 0) in
    scorer.json are those of the scores of the probing rows; `files` there ties it to the two others.
    Raises LeakageError for a video that is no training video, ConfigError where a class has no
    sample or the choice does not fit the hidden states or the scorer.
    """
    from stages.probes.choice import choice_of
    from stages.probes.probing_rows import probing_rows
    from stages.probes.scorers import save_scorer
    from stages.probes.training import require_both_classes

    begin = time.perf_counter()
    choice = choice_of(read_json(job.inputs["choice"].file("choice.json")))
    rows = probing_rows(
        job.many["states"], job.many["plan"], job.values["labels"], job.values["question"], choice
    )
    n_anomalous = sum(int(labels.sum()) for labels in rows.labels)
    require_both_classes(rows.count - n_anomalous, n_anomalous)
    fits = _fits(job.settings, rows)
    read = time.perf_counter()
    found = _fit(job.settings, fits)
    fitted = time.perf_counter()
    save_scorer(job.out / "scorer.safetensors", found.scorer)
    _write_scores(job, rows, found)
    _write_record(job, rows, found)
    seconds = {"read": read - begin, "fit": fitted - read}
    return Result(rows.count, seconds=seconds, notes=_notes(job.settings, found))


def _fits(settings: Settings, rows: ProbingRows) -> ProbingFits:
    """How scorers are fitted; in memory the rows are read here."""
    from stages.probes.probing_fits import InMemory, Streamed, fits_at_once

    options = _options(settings, rows)
    if settings.scorer == "logistic" and settings.solver == STREAMING:
        return Streamed(rows, options)
    values = rows.all(fits_at_once(settings.scorer))
    return InMemory(rows, values, settings.scorer, options)


def _options(settings: Settings, rows: ProbingRows) -> FitOptions:
    from stages.probes.scorers import FitOptions, SteerOptions

    choice, steer = rows.choice, None
    if settings.scorer == STEER:
        steer = SteerOptions(
            heads=len(choice.heads),
            context=rows.context,
            ablation=settings.steer,
            gate=settings.steer_gate,
            rank=settings.steer_rank,
            epochs=settings.steer_epochs,
            rate=settings.steer_rate,
            decay=settings.steer_decay,
            penalty=settings.steer_lambda,
        )
    return FitOptions(
        c=settings.c,
        standardise=settings.standardise,
        balance=settings.balance,
        max_iter=settings.max_iter,
        seed=settings.seed,
        hidden=settings.mlp_hidden,
        activation=settings.mlp_activation,
        steer=steer,
    )


def _fit(settings: Settings, fits: ProbingFits) -> _Fitted:
    """The scorer of all probing videos, its scores of them, and those of the held-out ones.

    Raises ConfigError where a score is not finite.
    """
    import numpy as np

    from stages.probes.folds import video_folds
    from stages.probes.probing_fits import held_out

    every = range(len(fits.rows.videos))
    scorer, report = fits.fit(every)
    scores = fits.score(scorer, every)
    fold = video_folds(fits.rows.labels, settings.folds, settings.seed)
    unseen = held_out(fits, fold)
    for found in (scores, unseen.scores):
        if found is not None and not np.isfinite(found).all():
            raise ConfigError(
                "the fitted scorer gives scores that are not finite: the hidden states are too "
                "large; fit with standardise = true"
            )
    return _Fitted(scorer, report, scores, unseen)


def _write_scores(job: Job[Settings], rows: ProbingRows, found: _Fitted) -> None:
    """Write probing_scores.parquet, a row for every probing row."""
    import numpy as np

    from manifests.table import write_table

    labels, sources = job.values["labels"], job.values["sources"]
    videos = [
        video for video, of in zip(rows.videos, rows.spans, strict=True) for _ in range(len(of))
    ]
    spans = [of.columns() for of in rows.spans]
    held = found.held_out.scores
    columns: dict[str, Any] = {
        "video_id": videos,
        "split": [labels[video]["split"] for video in videos],
        "digest": [sources[video] for video in videos],
        **{name: np.concatenate([of[name] for of in spans]) for name in spans[0]},
        "label": np.concatenate(rows.labels),
        "score": found.scores,
        "held_out": [None] * rows.count if held is None else held,
    }
    write_table(job.out / "probing_scores.parquet", PROBING_SCORES, columns)


def _write_record(job: Job[Settings], rows: ProbingRows, found: _Fitted) -> None:
    """Write scorer.json: what the scorer is, what it was fitted on, and how that went."""
    from stages.probes.training import fitted_files

    settings, scores, held = job.settings, found.scores, found.held_out
    n_anomalous = sum(int(labels.sum()) for labels in rows.labels)
    record = {
        "kind": found.scorer.kind,
        **rows.choice.record(),
        "dim": rows.dim,
        "mu": float(scores.mean()),
        "sigma": float(scores.std()),
        "n_normal": rows.count - n_anomalous,
        "n_anomalous": n_anomalous,
        "labels": _labelled(job.values["labels"]),
        "unit": job.values["unit"],
        "settings": {name: getattr(settings, name) for name in read_by(settings.scorer)},
        "iterations": found.report.iterations,
        "converged": found.report.converged,
        "loss": found.report.loss,
        "gradient": found.report.gradient,
        "train_auc": _auc(rows, scores),
        "held_out_auc": None if held.scores is None else _auc(rows, held.scores),
        "folds": held.folds,
        "features": job.values["features"],
        "files": fitted_files(job.out),
    }
    write_json(job.out / "scorer.json", record)


def _auc(rows: ProbingRows, scores: Floats) -> float:
    """ROC AUC of the probing rows."""
    import numpy as np

    from stages.probes.metrics import figures_of

    figures = figures_of(scores, np.concatenate(rows.labels) == 1)
    assert figures is not None, "both classes are present"
    return figures.auc


def _labelled(labels: Mapping[str, Any]) -> str:
    """Whether the labels are those of whole videos, or of frames in any of them."""
    frames = any(label["intervals"] is not None for label in labels.values())
    return "frame" if frames else "video"


def _notes(settings: Settings, found: _Fitted) -> tuple[str, ...]:
    """What a person should know about the fit."""
    report, held, notes = found.report, found.held_out, []
    if not report.converged:
        notes.append(
            f"the scorer had not converged after {report.iterations} iterations: "
            + _advice(settings.scorer)
        )
    if settings.folds and not held.folds:
        notes.append(
            "no probing row has a held-out score: that takes two probing videos of each class"
        )
    if held.unfinished:
        notes.append(f"{held.unfinished} of {held.folds} held-out fits had not converged")
    return tuple(notes)


def _advice(kind: str) -> str:
    if kind == STEER:
        return "raise fit.steer_epochs, or lower fit.steer_rate"
    return "raise fit.max_iter, lower fit.c, or set fit.standardise = true"
