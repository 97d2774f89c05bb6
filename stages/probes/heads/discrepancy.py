"""The maximum mean discrepancy of the two classes in the vectors of an attention head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.probes.spans import Floats, Ints

ROUNDING = 1e-12
"""A squared distance below this share of the squared lengths of its rows (about their mean) is what
rounding leaves of 0."""
SAMPLED = 1000
"""Distances that say where their median is looked for."""
PANEL = 64
"""Rows whose distances to all later ones are computed at a time, in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Every pair of two different rows once; made by `pairs_of`, for all heads of the same rows.

    Panel by panel: first the pairs within it, then each of its rows with all rows behind it.
    """

    weights: Floats
    """[pairs], w_i w_j with w = 1 / n_A for anomalous rows and -1 / n_N for normal ones."""
    own: float
    """Sum of w_i^2: every row with itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """Memory that a thread takes once for all heads: fresh pages would cost it as much as the sums."""

    panel: Floats
    """[2, PANEL * n]."""
    distances: Floats
    """[pairs]."""
    spare: Floats
    """[pairs]."""


def pairs_of(labels: Ints) -> Pairs:
    """The pairs of rows with these labels, [n] of 0 and 1 with both present."""
    anomalous, n = int(labels.sum()), len(labels)
    weights = np.where(labels == 1, 1 / anomalous, -1 / (n - anomalous))
    found = np.empty(n * (n - 1) // 2)
    done = 0
    for start in range(0, n, PANEL):
        panel = np.multiply.outer(weights[start : start + PANEL], weights[start:])
        done = _put(panel, found, done)
    return Pairs(found, float(weights @ weights))


def room_for(n: int) -> Room:
    """Memory for heads of n rows."""
    pairs = n * (n - 1) // 2
    return Room(np.empty((2, PANEL * n)), np.empty(pairs), np.empty(pairs))


def mmd(rows: Floats, pairs: Pairs, room: Room) -> float:
    """Squared maximum mean discrepancy with a Gaussian kernel (Gretton et al. 2012, eq 5).

    `rows` [n, dim] are those of the labels that `pairs` was made of, with mean zero. k(x, y) =
    exp(-|x - y|^2 / (2 sigma^2)), where sigma^2 is the median of the squared distances between two
    different rows, of whatever class; NaN where that is 0. The estimate is the biased one, w^T K w
    with the weights of `Pairs`, which is never negative.
    """
    distances = room.distances
    _fill(rows, room)
    scale = _median(distances, room.spare)
    if not scale > 0:
        return float("nan")
    np.multiply(distances, -0.5 / scale, out=distances)
    np.exp(distances, out=distances)
    return max(pairs.own + 2 * float(pairs.weights @ distances), 0.0)


def _fill(rows: Floats, room: Room) -> None:
    """Put the squared distance of every pair into `room`, in the order of `Pairs`."""
    n, done = len(rows), 0
    lengths = np.einsum("nd,nd->n", rows, rows)
    for start in range(0, n, PANEL):
        some = rows[start : start + PANEL]
        shape = (len(some), n - start)
        panel, both = (part[: shape[0] * shape[1]].reshape(shape) for part in room.panel)
        np.matmul(some, rows[start:].T, out=panel)
        np.add.outer(lengths[start : start + len(some)], lengths[start:], out=both)
        panel *= -2
        panel += both
        both *= ROUNDING
        panel[panel < both] = 0.0
        done = _put(panel, room.distances, done)


def _put(panel: Floats, target: Floats, done: int) -> int:
    """Put the pairs of a panel [rows, rows from its first on] behind the `done` ones; their number."""
    inside = len(panel)
    within = panel[:, :inside][np.triu_indices(inside, 1)]
    behind = panel[:, inside:]
    middle = done + len(within)
    target[done:middle] = within
    target[middle : middle + behind.size].reshape(behind.shape)[...] = behind
    return middle + behind.size


def _median(values: Floats, spare: Floats) -> float:
    """The median of some values, which stay in their order; `spare` is as long as they are.

    A sample says between which values it lies, and only these are looked at; where it does not lie
    there, all are.
    """
    half = len(values) // 2
    some = np.sort(values[:: max(len(values) // SAMPLED, 1)])
    low, high = some[int(0.45 * len(some))], some[int(0.55 * len(some))]
    below = int(np.count_nonzero(values < low))
    between = values[(values >= low) & (values <= high)]
    if not below < half < below + len(between):
        below, between = 0, spare
        between[:] = values
    half -= below
    between.partition(half)
    upper = between[half]
    return float(upper if len(values) % 2 else (between[:half].max() + upper) / 2)
