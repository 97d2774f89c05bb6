"""What a threshold does on training rows, and the one of the highest F1.

A row counts with its frames and the label that it had in the fit, and is above a threshold where its
smoothed score is strictly so. Frames are counted in integers: no rounding decides between two
thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from cache.errors import ConfigError
from stages.probes.localization import smooth_video
from stages.probes.localization_settings import Settings
from stages.probes.spans import Floats, Ints
from stages.probes.training import TrainingScores, TrainingSeries, require_both_classes
from stages.probes.undefined import share

KAPPAS = tuple(n / 10 for n in range(-10, 31))
"""Where the sensitivity to kappa is shown: from one deviation below the mean to three above."""


@dataclass(frozen=True, slots=True, eq=False)
class Ladder:
    """Values with weights, sorted: how much weight lies above any threshold."""

    values: Floats
    """[n], ascending."""
    below: Ints
    """[n + 1], weight of the first so many values."""

    @classmethod
    def of(cls, values: Floats, weights: Ints) -> Ladder:
        """The ladder of values that come in any order."""
        order = np.argsort(values, kind="stable")
        below: Ints = np.concatenate(([0], np.cumsum(weights[order], dtype=np.int64)))
        return cls(values[order], below)

    @property
    def total(self) -> int:
        """The weight of all values."""
        return int(self.below[-1])

    def above(self, threshold: float) -> int:
        """The weight of the values strictly above a threshold."""
        return self.total - int(self.below[np.searchsorted(self.values, threshold, side="right")])


@dataclass(frozen=True, slots=True)
class Counts:
    """Frames above a threshold, by label, and detections in normal videos."""

    true: int
    """Anomalous frames above it."""
    false: int
    """Normal frames above it."""
    anomalous: int
    """Anomalous frames in all."""
    normal: int
    """Normal frames in all."""
    alarms: int
    """Runs of segments above it in normal videos."""
    hours: float
    """Length of the normal videos."""

    @property
    def f1(self) -> Fraction:
        """2 TP / (2 TP + FP + FN), exactly."""
        return Fraction(2 * self.true, self.true + self.false + self.anomalous)

    def record(self) -> dict[str, float | None]:
        """The shares, None where one is not defined: precision where nothing lies above it."""
        return {
            "precision": share(self.true, self.true + self.false),
            "recall": self.true / self.anomalous,
            "f1": float(self.f1),
            "normal_above": self.false / self.normal,
            "alarms_per_hour": share(self.alarms, self.hours),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Smoothed scores of training rows that a threshold is looked at on."""

    on: str
    """held_out: scores by scorers that were fitted without the video. fitted: the scorer's own."""
    videos: int
    rows: int
    normal: Ladder
    """Smoothed scores of normal rows, weighed by their frames."""
    anomalous: Ladder
    """Those of anomalous rows."""
    peaks: Ladder
    """Smoothed scores of the rows of normal videos: one each."""
    dips: Ladder
    """Of neighbouring rows of a normal video the lower score: one each.

    A run begins at every row above a threshold but where the row before is above it too, so the
    runs above a threshold are peaks less dips above it.
    """
    hours: float
    """Length of the normal videos, those without an anomalous row."""

    def counts(self, threshold: float) -> Counts:
        """What lies above a threshold."""
        return Counts(
            true=self.anomalous.above(threshold),
            false=self.normal.above(threshold),
            anomalous=self.anomalous.total,
            normal=self.normal.total,
            alarms=self.peaks.above(threshold) - self.dips.above(threshold),
            hours=self.hours,
        )

    def record(self, threshold: float) -> dict[str, Any]:
        """What threshold.json says of them, with the shares at the threshold."""
        return {
            "scores": self.on,
            "videos": self.videos,
            "rows": self.rows,
            "normal_frames": self.normal.total,
            "anomalous_frames": self.anomalous.total,
            "normal_hours": self.hours,
            **self.counts(threshold).record(),
        }


def validation_of(series: Sequence[TrainingSeries], settings: Settings) -> Validation:
    """The scores of training videos as the stage localize would smooth them.

    Held-out scores where the videos have them, or else those of the fit. Raises ConfigError where
    only some videos have them or a class has no row, ItemError for unusable presentation times.
    """
    without = [one.video_id for one in series if one.held_out is None]
    if without and len(without) < len(series):
        raise ConfigError(
            f"{len(without)} of {len(series)} training videos ({without[0]}, ...) have no held-out "
            "scores, expected all or none; fit the scorer again"
        )
    curves = [
        smooth_video(
            one.fitted if one.held_out is None else one.held_out, one.spans, settings, one.video_id
        )
        for one in series
    ]
    frames = np.concatenate([one.spans.frames for one in series])
    anomalous = np.concatenate([one.labels for one in series]) == 1
    require_both_classes(int((~anomalous).sum()), int(anomalous.sum()))
    smoothed = np.concatenate(curves)
    calm = [(c, one.spans) for c, one in zip(curves, series, strict=True) if not one.labels.any()]
    nothing = [np.zeros(0)]  # where every video has an anomalous row
    return Validation(
        on="fitted" if without else "held_out",
        videos=len(series),
        rows=len(smoothed),
        normal=Ladder.of(smoothed[~anomalous], frames[~anomalous]),
        anomalous=Ladder.of(smoothed[anomalous], frames[anomalous]),
        peaks=_ones(np.concatenate([*nothing, *(curve for curve, _ in calm)])),
        dips=_ones(np.concatenate([*nothing, *(np.minimum(c[1:], c[:-1]) for c, _ in calm)])),
        hours=sum(float(spans.end_s[-1] - spans.start_s[0]) for _, spans in calm) / 3600,
    )


def _ones(values: Floats) -> Ladder:
    return Ladder.of(values, np.ones(len(values), dtype=np.int64))


def grid_of(step: float) -> tuple[float, ...]:
    """The multiples of a step strictly between 0 and 1, each the number that its decimals say."""
    part = Decimal(repr(step))
    return tuple(float(part * n) for n in range(1, int(1 / part) + 1) if part * n < 1)


@dataclass(frozen=True, slots=True)
class Best:
    """The threshold of the highest F1 on a grid, and how it was found."""

    threshold: float
    step: float
    tried: int
    """Thresholds of the grid."""
    first: float
    last: float
    """The run of thresholds of the highest F1 that the threshold is in the middle of."""
    ties: int
    """Thresholds of the highest F1, in this run or elsewhere."""

    def record(self) -> dict[str, Any]:
        """What threshold.json says of the search."""
        return {
            "step": self.step,
            "tried": self.tried,
            "equally_good": self.ties,
            "from": self.first,
            "to": self.last,
        }


def best_threshold(validation: Validation, step: float) -> Best:
    """tau of HeadHunt-VAD (arXiv 2512.17601): the grid's threshold of the highest frame-level F1.

    Several thresholds can have it, since F1 changes only at the scores of rows: the middle of the
    longest run of them is taken (of runs of one length the lowest, of two middles the lower one). It
    is as far as can be from where the next row would be lost or gained, on either side. Raises
    ConfigError where no threshold of the grid has an anomalous frame above it.
    """
    grid = grid_of(step)
    found = [validation.counts(threshold).f1 for threshold in grid]
    highest = max(found)
    if not highest:
        raise ConfigError(
            f"no anomalous frame of the training videos has a smoothed held-out score above {step}:"
            ' no threshold tells them apart: set localize.threshold = "kappa"'
        )
    at = np.concatenate(([False], [value == highest for value in found], [False]))
    borders = np.flatnonzero(at[1:] != at[:-1])
    starts, stops = borders[::2], borders[1::2]
    run = int(np.argmax(stops - starts))
    first, last = int(starts[run]), int(stops[run]) - 1
    return Best(grid[(first + last) // 2], step, len(grid), grid[first], grid[last], int(at.sum()))


def sensitivity_of(probing: TrainingScores, validation: Validation | None) -> dict[str, list[Any]]:
    """The columns of the sensitivity table; no row where there is nothing to look at."""
    kappas = KAPPAS if validation is not None else ()
    thresholds = [probing.threshold(kappa) for kappa in kappas]
    rows = [] if validation is None else [validation.counts(t).record() for t in thresholds]
    names = ("precision", "recall", "f1", "normal_above", "alarms_per_hour")
    figures = {name: [row[name] for row in rows] for name in names}
    return {"kappa": list(kappas), "threshold": thresholds, **figures}
