"""Fits on some of the probing videos: with their rows in memory, or streamed from the store."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.probes.fit_settings import STEER
from stages.probes.probing_rows import ProbingRows
from stages.probes.scorers import SCORERS, FitOptions, FitReport, Rows, Scorer, fit_logistic
from stages.probes.scorers.fitting import one_thread
from stages.probes.spans import Floats, Ints

SIDE_BY_SIDE = ("mlp", "svm", STEER)
"""Kinds of which two fits are run at once: products of matrices take nearly all of their time, and the
memory of two is there."""


class ProbingFits(Protocol):
    """How scorers of one kind are fitted on probing videos, which are named by their places."""

    @property
    def rows(self) -> ProbingRows:
        """Of all probing videos."""
        ...

    @property
    def at_once(self) -> int:
        """Fits that may run side by side, each in a thread."""
        ...

    def fit(self, videos: Sequence[int]) -> tuple[Scorer, FitReport]:
        """A scorer of these videos alone."""
        ...

    def score(self, scorer: Scorer, videos: Sequence[int]) -> Floats:
        """What a scorer gives to the rows of some videos, one after the other."""
        ...


def fits_at_once(kind: str) -> int:
    """How many fits of a kind, with their rows in memory, run side by side."""
    return 2 if kind in SIDE_BY_SIDE else 1


@dataclass(frozen=True, slots=True, eq=False)
class InMemory:
    """All rows are there."""

    rows: ProbingRows
    values: Rows
    """[count, dim]"""
    kind: str
    options: FitOptions

    @property
    def at_once(self) -> int:
        """Two where products of large matrices take nearly all of the time; each needs its memory."""
        return fits_at_once(self.kind)

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

    @property
    def at_once(self) -> int:
        """Two: one computes while the other reads."""
        return 2

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

    def one(number: int) -> tuple[Floats, bool]:
        scorer, report = fits.fit([int(video) for video in np.flatnonzero(fold != number)])
        unseen = [int(video) for video in np.flatnonzero(fold == number)]
        return fits.score(scorer, unseen), report.converged

    # The limit of threads is set before the first fit and lifted after the last one: each sets and
    # restores it for the whole process.
    with one_thread(), ThreadPoolExecutor(fits.at_once) as pool:
        found = list(pool.map(one, range(folds)))
    scores = np.empty(fits.rows.count)
    of_row = np.repeat(fold, [len(labels) for labels in fits.rows.labels])
    for number, (unseen, _) in enumerate(found):
        scores[of_row == number] = unseen
    return HeldOut(scores, folds, sum(not converged for _, converged in found))
