"""The maximum mean discrepancy of the two classes in the vectors of an attention head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.probes.spans import Floats, Ints

ROUNDING = 1e-12
"""A squared distance below this share of the squared lengths of its rows (about their mean) is what
rounding leaves of 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Every pair of two different rows once; made by `pairs_of`, for all heads of the same rows."""

    first: Ints
    """[pairs], the number of one row."""
    second: Ints
    """[pairs], that of the other."""
    places: Ints
    """[pairs], where the pair lies in a flattened [n, n] matrix."""
    weights: Floats
    """[pairs], w_i w_j with w = 1 / n_A for anomalous rows and -1 / n_N for normal ones."""
    own: float
    """Sum of w_i^2: every row with itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """Memory that a thread takes once for all heads: fresh pages would cost it as much as the sums."""

    products: Floats
    """[n, n]."""
    distances: Floats
    """[pairs]."""
    spare: Floats
    """[pairs]."""


def pairs_of(labels: Ints) -> Pairs:
    """The pairs of rows with these labels, [n] of 0 and 1 with both present."""
    anomalous = int(labels.sum())
    weights = np.where(labels == 1, 1 / anomalous, -1 / (len(labels) - anomalous))
    first, second = np.triu_indices(len(labels), 1)
    places = first * len(labels) + second
    both = weights[first] * weights[second]
    return Pairs(first, second, places, both, float(weights @ weights))


def room_for(n: int) -> Room:
    """Memory for heads of n rows."""
    pairs = n * (n - 1) // 2
    return Room(np.empty((n, n)), np.empty(pairs), np.empty(pairs))


def mmd(rows: Floats, pairs: Pairs, room: Room) -> float:
    """Squared maximum mean discrepancy with a Gaussian kernel (Gretton et al. 2012, eq 5).

    `rows` [n, dim] are those of the labels that `pairs` was made of, with mean zero. k(x, y) =
    exp(-|x - y|^2 / (2 sigma^2)), where sigma^2 is the median of the squared distances between two
    different rows, of whatever class; NaN where that is 0. The estimate is the biased one, w^T K w
    with the weights of `Pairs`, which is never negative.
    """
    distances, spare = room.distances, room.spare
    # NumPy computes a product with its own transpose as one triangle.
    np.matmul(rows, rows.T, out=room.products)
    lengths = np.diagonal(room.products).copy()
    # mode="clip" is what lets take write into its target without a copy; every place is inside.
    np.take(lengths, pairs.first, out=distances, mode="clip")
    distances += np.take(lengths, pairs.second, out=spare, mode="clip")
    np.take(room.products, pairs.places, out=spare, mode="clip")
    spare *= 2
    least = ROUNDING * distances
    distances -= spare
    distances[distances < least] = 0.0
    scale = _median(distances, spare)
    if not scale > 0:
        return float("nan")
    np.multiply(distances, -0.5 / scale, out=distances)
    np.exp(distances, out=distances)
    return max(pairs.own + 2 * float(pairs.weights @ distances), 0.0)


def _median(values: Floats, spare: Floats) -> float:
    """The median of some values, which stay in their order; `spare` is as long as they are."""
    spare[:] = values
    half = len(spare) // 2
    spare.partition(half)
    upper = spare[half]
    return float(upper if len(spare) % 2 else (spare[:half].max() + upper) / 2)
