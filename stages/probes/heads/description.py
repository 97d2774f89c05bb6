"""Every figure of the heads of one layer at one prompt, and what all heads have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.probes.heads import figures
from stages.probes.heads.clusters import nmi, two_means
from stages.probes.heads.discrepancy import Pairs, Room, mmd, pairs_of
from stages.probes.heads.replicates import Drawn, drawn_runs, separability_replicates
from stages.probes.resampling import video_draws
from stages.probes.silhouette import stratified_rows
from stages.probes.spans import Floats, Ints
from stages.probes.states import Rows


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is the same for all heads; made by `subject_of`."""

    labels: Ints
    """[n], of the segments of all videos."""
    sampled: Ints
    """Which rows MMD and NMI are computed on, increasing."""
    pairs: Pairs
    """Of these."""
    drawn: Drawn
    """The bootstrap over videos."""
    eps: float
    starts: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """Figures of some heads; NaN where one is not defined."""

    figures: dict[str, Floats]
    """By name, [heads]."""
    separability: Floats
    """In every replicate, [heads, replicates]."""


def subject_of(
    labels: Sequence[Ints], *, eps: float, samples: int, starts: int, seed: int, replicates: int
) -> Subject:
    """What all heads have in common where every video's segments have these `labels`."""
    together = np.concatenate(labels)
    sampled = stratified_rows(together, samples, seed)
    draws = video_draws(labels, replicates, seed)
    pairs = pairs_of(together[sampled])
    return Subject(together, sampled, pairs, drawn_runs(labels, draws), eps, starts, seed)


def describe(rows: Rows, subject: Subject, room: Room) -> Described:
    """The figures of heads, float32 [n, heads, dim]; all are computed in float64, head by head."""
    found = [
        _figures(np.ascontiguousarray(rows[:, head], dtype=np.float64), subject, room)
        for head in range(rows.shape[1])
    ]
    names = found[0][0]
    return Described(
        {name: np.asarray([one[name] for one, _ in found]) for name in names},
        np.stack([replicates for _, replicates in found]),
    )


def _figures(rows: Floats, subject: Subject, room: Room) -> tuple[dict[str, float], Floats]:
    """Those of one head [n, dim]."""
    moments = figures.class_moments(rows, subject.labels)
    centred = _centred(rows)
    whole = len(subject.sampled) == len(rows)
    some = centred if whole else _centred(rows[subject.sampled])
    clusters = two_means(some, starts=subject.starts, seed=subject.seed)
    return {
        "lda": figures.lda(*moments, subject.eps),
        "kl": figures.symmetric_kl(*moments, subject.eps),
        "mmd": mmd(some, subject.pairs, room),
        "nmi": float("nan") if clusters is None else nmi(subject.labels[subject.sampled], clusters),
        "separability": figures.separability(*moments),
    }, separability_replicates(centred, subject.drawn)


def _centred(rows: Floats) -> Floats:
    """Rows about their mean; of rows that are all the same exactly zero, not a rounding."""
    rest: Floats = rows - rows[0]
    rest -= rest.mean(axis=0)
    return rest
