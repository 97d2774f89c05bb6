"""Stage threshold (a data set): the score above which a frame counts as anomalous."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cache.digest import read_json, write_json
from cache.errors import ConfigError, ItemError
from manifests.schema import SENSITIVITY
from stages.contract import Job, Result
from stages.probes.localization_settings import Settings as Settings
from stages.probes.localization_settings import fixed_threshold

if TYPE_CHECKING:
    from stages.probes.thresholds import Best, Validation
    from stages.probes.training import TrainingScores, TrainingSeries

VERSION = 2
OLDER = (
    "the probing scores of this scorer are of an older hiprobe, which did not say which frames they "
    "are of: fit it again"
)
NOT_HELD_OUT = (
    "this scorer comes without held-out scores, those of a training video by a scorer that was fitted "
    "without it: fit it with fit.folds = 2 or more, and at least two probing videos of each class"
)
INSTEAD = 'or set localize.threshold = "kappa" or "fixed:T"'


def compute(job: Job[Settings]) -> Result:
    """Write threshold.json (the threshold, and what it rests on) and sensitivity.parquet.

    Reads "scorer", whose probing scores must be of training rows alone, whatever the rule: raises
    LeakageError otherwise. By rule: T = mu + kappa sigma of the scores of the fitted rows (HiProbe-
    VAD, arXiv 2507.17394); the highest frame-level F1 on held-out scores of the training videos
    (HeadHunt-VAD, arXiv 2512.17601), or ConfigError where there are none; or fixed. The table says
    what other kappas would do on training rows; it has no row where the scorer's table does not say
    which frames its rows are of, or where their presentation times are unusable.
    """
    from manifests.table import write_table
    from stages.probes.thresholds import sensitivity_of
    from stages.probes.training import training_scores, training_series

    scorer = job.inputs["scorer"]
    probing = training_scores(scorer)
    validation, lacking = _validation(training_series(scorer), job.settings)
    threshold, best = _threshold(job.settings, probing, validation, lacking)
    record = _record(job, probing, threshold)
    record["search"] = None if best is None else best.record()
    record["training_rows"] = None if validation is None else validation.record(threshold)
    write_json(job.out / "threshold.json", record)
    write_table(job.out / "sensitivity.parquet", SENSITIVITY, sensitivity_of(probing, validation))
    return Result(1, notes=tuple(_notes(record, lacking)))


def _validation(
    series: tuple[TrainingSeries, ...], settings: Settings
) -> tuple[Validation | None, str]:
    """The training rows that thresholds are looked at on, or why there are none."""
    from stages.probes.thresholds import validation_of

    if not series:
        return None, OLDER
    try:
        return validation_of(series, settings), ""
    except ItemError as error:  # the curve alone is lost: kappa and fixed ask for no times
        return None, str(error)


def _threshold(
    settings: Settings, probing: TrainingScores, validation: Validation | None, lacking: str
) -> tuple[float, Best | None]:
    """The threshold of the rule, and the search that found it."""
    from stages.probes.thresholds import best_threshold

    if settings.threshold == "f1":
        if validation is None or validation.on != "held_out":
            raise ConfigError(f'localize.threshold = "f1": {lacking or NOT_HELD_OUT}, {INSTEAD}')
        best = best_threshold(validation, settings.f1_step)
        return best.threshold, best
    fixed = fixed_threshold(settings.threshold)
    return probing.threshold(settings.kappa) if fixed is None else fixed, None


def _record(job: Job[Settings], probing: TrainingScores, threshold: float) -> dict[str, Any]:
    """The threshold, how it was set, and the scores that stand behind it."""
    from manifests.table import table_digest

    settings, scorer = job.settings, read_json(job.inputs["scorer"].file("scorer.json"))
    kappa: float | None = settings.kappa
    if settings.threshold != "kappa":  # so many deviations above the mean it happens to lie
        kappa = (threshold - probing.mu) / probing.sigma if probing.sigma else None
    smoothing = ("sigma", "sigma_unit", "mode")
    return {
        "threshold": threshold,
        "rule": settings.threshold,
        "mu": probing.mu,
        "sigma": probing.sigma,
        "kappa": kappa,
        "scorer": scorer.get("kind"),
        "labels": scorer.get("labels"),
        "unit": scorer.get("unit"),
        "probing_scores": {
            "digest": table_digest(job.inputs["scorer"].file("probing_scores.parquet")),
            "rows": len(probing.score),
            "videos": len({video for video, _, _ in probing.origins}),
        },
        "smoothing": {name: getattr(settings, name) for name in smoothing},
    }


def _notes(record: dict[str, Any], lacking: str) -> list[str]:
    """What a person should know of a threshold."""
    notes = []
    if record["rule"] == "f1" and record["labels"] != "frame":
        notes.append(
            "the threshold has the best F1 for labels of whole videos, which call every frame of an "
            "anomalous training video anomalous; HeadHunt-VAD finds it with labels of frames: "
            'annotate the training videos and set data.probing_labels = "frame"'
        )
    if lacking:
        notes.append(f"no threshold is shown on training rows: {lacking}")
    return notes
