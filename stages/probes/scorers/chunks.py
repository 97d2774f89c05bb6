"""Rows that come in pieces, again and again: blocks of one size, their mean and deviation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cache.errors import ConfigError
from stages.probes.scorers.contract import Rows
from stages.probes.spans import Floats

Chunks = Callable[[], Iterator[Rows]]
"""Gives the same rows, in the same order, in every call; how they are cut does not matter."""

BLOCK_NUMBERS = 2**18
"""Numbers of a block: 2 MiB in float64, which stays in the cache of a core through all that a pass
does with it."""


def blocks(chunks: Chunks, dim: int) -> Iterator[tuple[int, Floats]]:
    """The number of the first row and float64 [rows, dim], every block but the last one full.

    Blocks begin at the same rows however the rows were cut into chunks, so sums over them have the
    same bits. A block is valid until the next one is asked for. Raises ConfigError for rows of
    another width.
    """
    buffer = np.empty((max(1, BLOCK_NUMBERS // dim), dim))
    first = filled = 0
    for rows in chunks():
        if rows.ndim != 2 or rows.shape[1] != dim:
            raise ConfigError(f"rows of [n, {dim}] are fitted, a chunk is {list(rows.shape)}")
        taken = 0
        while taken < len(rows):
            piece = rows[taken : taken + len(buffer) - filled]
            buffer[filled : filled + len(piece)] = piece
            taken, filled = taken + len(piece), filled + len(piece)
            if filled == len(buffer):
                yield first, buffer
                first, filled = first + filled, 0
    if filled:
        yield first, buffer[:filled]


def moments(chunks: Chunks, dim: int) -> tuple[Floats, Floats]:
    """Mean and population standard deviation per dimension, 1 for a dimension that is constant.

    In one pass: the moments of the blocks are merged by the formula of Chan, Golub and LeVeque
    (1983), which does not cancel where the mean is far from 0 as the sum of squares does.
    """
    count, mean, squares = 0, np.zeros(dim), np.zeros(dim)
    for _, block in blocks(chunks, dim):
        n = len(block)
        # Equal float32 values have exactly their value as a mean in float64: no deviation at all.
        here = block.mean(axis=0)
        block -= here
        apart = here - mean
        squares += np.einsum("nd,nd->d", block, block) + apart * apart * (count * n / (count + n))
        mean += apart * (n / (count + n))
        count += n
    scale: Floats = np.sqrt(squares / count)
    scale[scale == 0] = 1.0
    return mean, scale
