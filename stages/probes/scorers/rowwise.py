"""Arithmetic in which the result of a row does not depend on the rows beside it.

Without BLAS: there the order of a sum follows from the shape of the whole product and from the
number of threads, so that a video's scores would depend on how it was cut.
"""

from __future__ import annotations

import numpy as np

from cache.errors import ConfigError
from stages.probes.scorers.contract import Rows
from stages.probes.spans import Floats

BLOCK = 64
"""Rows of the fixed operand at a time: 64 of 4096 numbers (2 MiB) stay in the cache of a core."""


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


def products(rows: Floats, matrix: Floats) -> Floats:
    """Every row of [n, dim] times every row of [m, dim]: float64 [n, m]."""
    found = np.empty((len(rows), len(matrix)))
    for first in range(0, len(matrix), BLOCK):
        part = slice(first, first + BLOCK)
        for row, into in zip(rows, found, strict=True):
            into[part] = np.einsum("md,d->m", matrix[part], row)
    return found


def squared_distances(rows: Floats, points: Floats) -> Floats:
    """Squared Euclidean distance of every row [n, dim] to every point [m, dim]: float64 [n, m].

    From the differences, not from |x|^2 + |y|^2 - 2 x.y, which cancels far from the origin.
    """
    found = np.empty((len(rows), len(points)))
    for first in range(0, len(points), BLOCK):
        part = slice(first, first + BLOCK)
        for row, into in zip(rows, found, strict=True):
            apart = points[part] - row
            into[part] = np.einsum("md,md->m", apart, apart)
    return found


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), with no overflow at either end."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)
