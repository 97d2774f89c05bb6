"""Arithmetic in which the result of a row does not depend on the rows beside it.

A large product goes through BLAS in blocks of one fixed shape, on one thread: with another shape or
another number of threads the order of its sums would be another, so that a video's scores would depend on
how it was cut. Small ones go through einsum, row by row.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from cache.errors import ConfigError
from stages.probes.scorers.contract import Rows
from stages.probes.spans import Floats

BLOCK = 128
"""Rows of every product: as many as fill the tiles of any BLAS kernel, so that all are summed alike;
what is missing is filled with zeros."""
FEW = 8
"""Rows of the fixed operand from which on BLAS is worth it."""
WORKERS = 2
"""Threads that multiply blocks: each block's sums are the same whoever makes them."""
STEP = 512
"""Rows of a triangular operand that are multiplied at once, by the columns up to the last of them."""
CLOSE = 1e-5
"""Share of the lengths below which a distance is taken from the differences themselves: above it, eleven
digits of the other formula are right."""


def standardised(rows: Rows, mean: Floats, scale: Floats) -> Floats:
    """(row - mean) / scale, float64 [n, dim]; NaN all through where a row is not finite.

    Raises ConfigError for rows of another width.
    """
    if rows.ndim != 2 or rows.shape[1] != len(mean):
        raise ConfigError(
            f"the scorer was fitted on [n, {len(mean)}], hidden states are {list(rows.shape)}; "
            "fit it again on features of this backbone"
        )
    found: Floats = np.ascontiguousarray((rows - mean) / scale)
    # An infinite number would end in a kernel of 0 or a sigmoid of 1, and look like a score.
    found[~np.isfinite(found).all(axis=1)] = np.nan
    return found


def products(rows: Floats, matrix: Floats, *, step: int | None = None) -> Floats:
    """Every row of [n, dim] times every row of [m, dim]: float64 [n, m].

    Of a lower triangular matrix (`step` = STEP) the zeros are left out, but for those near the diagonal.
    """
    if len(matrix) < FEW:
        few = [np.einsum("md,d->m", matrix, row) for row in rows]
        return np.stack(few) if few else np.empty((0, len(matrix)))
    found = np.empty((len(rows), len(matrix)))
    size = step or len(matrix)

    def multiply(first: int) -> None:
        part = rows[first : first + BLOCK]
        block = np.zeros((BLOCK, rows.shape[1]))
        block[: len(part)] = part
        for start in range(0, len(matrix), size):
            stop = start + size
            columns = stop if step else rows.shape[1]
            product = block[:, :columns] @ matrix[start:stop, :columns].T
            found[first : first + BLOCK, start:stop] = product[: len(part)]

    with threadpool_limits(limits=1), ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(multiply, range(0, len(rows), BLOCK)))
    return found


def squared_distances(rows: Floats, points: Floats) -> Floats:
    """Squared Euclidean distance of every row [n, dim] to every point [m, dim]: float64 [n, m].

    Of many points |x|^2 + |y|^2 - 2 x.y; where that cancels, as for a row that is one of the points, or
    far from the origin, the sum of the squared differences, as of few points.
    """
    if len(points) < FEW:
        few = [_apart(row, points) for row in rows]
        return np.stack(few) if few else np.empty((0, len(points)))
    found = products(rows, points)
    found *= -2
    lengths = np.einsum("md,md->m", points, points)
    for row, into in zip(rows, found, strict=True):
        both = lengths + np.einsum("d,d->", row, row)
        into += both
        close = np.flatnonzero(into < CLOSE * both)
        into[close] = _apart(row, points[close])
    return found


def _apart(row: Floats, points: Floats) -> Floats:
    """Squared distances of one row to some points, from the differences: [m]."""
    apart = points - row
    found: Floats = np.einsum("md,md->m", apart, apart)
    return found


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), with no overflow at either end."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)
