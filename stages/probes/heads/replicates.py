"""How far a head's separability moves where other videos are drawn for the probing subset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.probes.spans import Floats, Ints

ROUNDING = 1e-12
"""A spread below this share of the mean squared length of the rows is what rounding leaves of 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Runs of rows of one video and one class, and how often each replicate has them."""

    starts: Ints
    """[runs], the first row of each."""
    classes: tuple[tuple[Ints, Floats, Floats], tuple[Ints, Floats, Floats]]
    """For normal and anomalous rows: the numbers of their runs, how often every replicate draws each,
    [replicates, runs], and how many rows it then has, [replicates]."""


def drawn_runs(labels: Sequence[Ints], draws: Ints) -> Drawn:
    """The runs in the rows of videos that lie one after the other, and the `draws` of these videos.

    `labels` holds those of every video's rows, `draws` is [replicates, videos].
    """
    together = np.concatenate(labels)
    video = np.repeat(np.arange(len(labels)), [len(part) for part in labels])
    new = np.flatnonzero((np.diff(together) != 0) | (np.diff(video) != 0)) + 1
    starts = np.concatenate(([0], new))
    lengths = np.diff(np.append(starts, len(together)))

    def of_class(label: int) -> tuple[Ints, Floats, Floats]:
        runs = np.flatnonzero(together[starts] == label)
        times = draws[:, video[starts[runs]]].astype(np.float64)
        return runs, times, times @ lengths[runs]

    return Drawn(starts, (of_class(0), of_class(1)))


def separability_replicates(rows: Floats, drawn: Drawn) -> Floats:
    """Separability in every replicate, [replicates], of the rows [n, dim] of a head.

    The mean of the rows is zero, which keeps the sums small. NaN where a replicate lacks a class or
    the rows of neither have any spread.
    """
    sums = np.add.reduceat(rows, drawn.starts, axis=0)
    squares = np.add.reduceat(np.einsum("nd,nd->n", rows, rows), drawn.starts)
    means, spread, level = [], np.zeros(len(drawn.classes[0][2])), np.zeros(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        for runs, times, n in drawn.classes:
            means.append(times @ sums[runs] / n[:, None])
            length = times @ squares[runs] / n
            spread = spread + length - np.einsum("rd,rd->r", means[-1], means[-1])
            level = level + length
        gap = means[1] - means[0]
        found = np.einsum("rd,rd->r", gap, gap) / spread
    return np.where(spread > ROUNDING * level, found, np.nan)
