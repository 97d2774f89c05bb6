"""The two clusters that K-means finds in the vectors of an attention head, and the classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stages.probes.spans import Floats, Ints

ITERATIONS = 300
"""Most steps of Lloyd's algorithm; it stops where no row changes its cluster."""

Sides = npt.NDArray[np.bool_]


def nmi(labels: Ints, second: Sides) -> float:
    """Normalised mutual information of labels and clusters, both [n] with two values that occur.

    Normalised by the arithmetic mean of both entropies, as HeadHunt-VAD's library does by default.
    """
    joint = np.bincount(2 * labels + second, minlength=4).reshape(2, 2) / len(labels)
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    both = _entropy(rows) + _entropy(columns)
    return float(np.clip(2 * (both - _entropy(joint.ravel())) / both, 0.0, 1.0))


def two_means(rows: Floats, *, starts: int, seed: int) -> Sides | None:
    """Which rows [n, dim] are in the second of the two clusters of K-means; None where all are equal.

    Of `starts` starts by k-means++ (Arthur and Vassilvitskii 2007), each followed by Lloyd's
    algorithm until nothing changes, that of the least inertia; of equal ones the first. A row as far
    from both means belongs to the first. What is drawn depends on `seed`, `starts` and n alone, and
    so a head has the same clusters whatever other heads are looked at.
    """
    if (rows == rows[0]).all():
        return None
    rest = rows - rows.mean(axis=0)
    means = _spread_starts(rest, starts, seed)
    found = np.zeros((starts, len(rows)), dtype=np.bool_)
    gains = np.zeros(starts)
    active = np.arange(starts)
    for _ in range(ITERATIONS):
        sides = _nearer_second(rest, *means)
        moved = (sides != found[active]).any(axis=1)
        active, sides = active[moved], sides[moved]
        if not len(active):
            break
        found[active] = sides
        means, gains[active] = _means(rest, sides)
    return np.asarray(found[int(gains.argmax())])


def _spread_starts(rest: Floats, starts: int, seed: int) -> tuple[Floats, Floats]:
    """Two rows for each start, [starts, dim] each: any one, and one by its squared distance to it."""
    generator = np.random.default_rng(seed)
    first = generator.integers(len(rest), size=starts)
    share = generator.random(starts)
    lengths = np.einsum("nd,nd->n", rest, rest)
    squares = lengths + lengths[first, None] - 2 * (rest[first] @ rest.T)
    sums = np.cumsum(np.maximum(squares, 0.0), axis=1)
    second = (sums <= share[:, None] * sums[:, -1:]).sum(axis=1)
    return rest[first], rest[np.minimum(second, len(rest) - 1)]


def _nearer_second(rest: Floats, one: Floats, other: Floats) -> Sides:
    """[starts, n]: which rows lie nearer to the second mean."""
    level = (np.einsum("sd,sd->s", other, other) - np.einsum("sd,sd->s", one, one)) / 2
    return np.asarray((other - one) @ rest.T > level[:, None])


def _means(rest: Floats, sides: Sides) -> tuple[tuple[Floats, Floats], Floats]:
    """Both means [starts, dim] of each start, and by how much its inertia is below that of no cluster.

    The mean of all rows is zero, so that the sums of both clusters are each other's opposite.
    """
    weights = sides.astype(np.float64)
    sums, n = weights @ rest, weights.sum(axis=1)
    other = np.maximum(len(rest) - n, 1)
    n = np.maximum(n, 1)
    gains = np.einsum("sd,sd->s", sums, sums) * (1 / n + 1 / other)
    return (-sums / other[:, None], sums / n[:, None]), gains


def _entropy(shares: Floats) -> float:
    """In nats; a share of zero adds nothing."""
    known = shares[shares > 0]
    return -float(known @ np.log(known))
