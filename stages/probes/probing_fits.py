"""Fits on some of the probing videos: with their rows in memory, or streamed from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.probes.probing_rows import ProbingRows
from stages.probes.scorers import SCORERS, FitOptions, FitReport, Rows, Scorer, fit_logistic
from stages.probes.spans import Floats, Ints


class ProbingFits(Protocol):
    """How scorers of one kind are fitted on probing videos, which are named by their places."""

    @property
    def rows(self) -> ProbingRows:
        """Of all probing videos."""
        ...

    def fit(self, videos: Sequence[int]) -> tuple[Scorer, FitReport]:
        """A scorer of these videos alone."""
        ...

    def score(self, scorer: Scorer, videos: Sequence[int]) -> Floats:
        """What a scorer gives to the rows of some videos, one after the other."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class InMemory:
    """All rows are there."""

    rows: ProbingRows
    values: Rows
    """[count, dim]"""
    kind: str
    options: FitOptions

    def fit(self, videos: Sequence[int]) -> tuple[Scorer, FitReport]:
        """Fit by the kind's own solver."""
        return SCORERS[self.kind].fit(
            self._of(videos), self.rows.labels_of(videos), self.options
        )  # fmt: skip

    def score(self, scorer: Scorer, videos: Sequence[int]) -> Floats:
        """The scores of the rows of some videos."""
        return scorer.score(self._of(videos))

    def _of(self, videos: Sequence[int]) -> Rows:
        if len(videos) == len(self.rows.videos):
            return self.values
        counts = [len(labels) for labels in self.rows.labels]
        wanted = np.isin(np.arange(len(counts)), videos)
        chosen: Rows = self.values[np.repeat(wanted, counts)]
        return chosen


@dataclass(frozen=True, slots=True, eq=False)
class Streamed:
    """The rows of a video are read when they are needed, in every pass again."""

    rows: ProbingRows
    options: FitOptions

    def fit(self, videos: Sequence[int]) -> tuple[Scorer, FitReport]:
        """Logistic regression by passes over the store."""
        return fit_logistic(
            lambda: self.rows.chunks(videos),
            self.rows.labels_of(videos),
            self.rows.dim,
            self.options,
        )

    def score(self, scorer: Scorer, videos: Sequence[int]) -> Floats:
        """The scores of the rows of some videos, read one video at a time."""
        return np.concatenate([scorer.score(found) for found in self.rows.chunks(videos)])


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Scores of rows by scorers that have not seen their videos."""

    scores: Floats | None
    """[count]; None where there are no folds."""
    folds: int
    """0 where there are none."""
    unfinished: int
    """Fits that had not converged."""


def held_out(fits: ProbingFits, fold: Ints) -> HeldOut:
    """Score every probing video by a scorer that was fitted on the videos of all other folds.

    `fold` is that of every video, as `video_folds` gives it. Kind, options and seed are those of the
    scorer of all videos; standardisation and balance are of the rows that are fitted.
    """
    folds = int(fold.max()) + 1
    if folds < 2:
        return HeldOut(None, 0, 0)
    scores = np.empty(fits.rows.count)
    of_row = np.repeat(fold, [len(labels) for labels in fits.rows.labels])
    unfinished = 0
    for number in range(folds):
        scorer, report = fits.fit([int(v) for v in np.flatnonzero(fold != number)])
        scores[of_row == number] = fits.score(
            scorer, [int(v) for v in np.flatnonzero(fold == number)]
        )
        unfinished += not report.converged
    return HeldOut(scores, folds, unfinished)
