"""Euclidean distances between all rows of two classes, tile by tile, without cancellation."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.probes.spans import Floats, Ints

TILE = 1024
"""Most rows on one side of a tile: 8 MB of distances."""
NEAR = 1e-8
"""Squared distances below this share of |x|^2 + |y|^2 are taken from the differences instead."""
PAIRS = 1024
"""Pairs whose differences are held at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """The distances of some rows to some others."""

    rows: slice
    columns: slice
    """Of the rows too; it starts at or after `rows`, and the same slice means the same rows."""
    distances: Floats
    """[rows, columns]"""


def distance_tiles(rows: Floats, normal: int) -> Iterator[Tile]:
    """Every pair of rows [n, dim] once, as tiles on and above the diagonal; one BLAS thread is meant.

    The first `normal` rows are one class, the others another, and no tile is of two classes on one
    side. From |x|^2 + |y|^2 - 2 x.y, for a matrix product is 20 times as fast as differences; what
    cancels in it is kept small by the origin, which is the mean of the class where both rows are of
    one class, else that of all rows. A row is on average no nearer to the rows of a class than to
    their mean, so that an error of NEAR^-1/2 roundings in a distance is as small beside the means
    that a silhouette divides by; nearer pairs are taken from their differences, and equal rows, of
    which there may be many, have distance 0.
    """
    about_all = rows - rows.mean(axis=0)
    same = _Same(rows)
    borders = {0: (0, normal), 1: (normal, len(rows))}
    for label, (start, stop) in borders.items():
        inner = about_all[start:stop]
        inner = inner - inner.mean(axis=0) if len(inner) else inner
        for p, q in _pairs(start, stop, start, stop):
            shifted = (slice(s.start - start, s.stop - start) for s in (p, q))
            left, right = (inner[part] for part in shifted)
            yield Tile(p, q, _distances(left, right, same, (p, q)))
        if label:
            for p, q in _pairs(*borders[0], *borders[1]):
                yield Tile(p, q, _distances(about_all[p], about_all[q], same, (p, q)))


class _Same:
    """Which rows are equal; looked at when it is first asked, since mostly nobody has to know."""

    def __init__(self, rows: Floats) -> None:
        self._rows = rows

    @functools.cached_property
    def number(self) -> Ints:
        """A number for every row, the same for rows of the same bytes, [n]."""
        seen: dict[bytes, int] = {}
        numbers = [seen.setdefault(row.tobytes(), len(seen)) for row in self._rows]
        return np.asarray(numbers, dtype=np.int64)

    def differ(self, i: Ints, j: Ints) -> npt.NDArray[np.bool_]:
        """Whether row i is another than row j, for pairs of different places."""
        found: npt.NDArray[np.bool_] = self.number[i] != self.number[j]
        return found


def _pairs(start: int, stop: int, first: int, last: int) -> Iterator[tuple[slice, slice]]:
    """Slices of at most TILE rows of [start, stop) and of [first, last); of one range each pair once."""
    for p in range(start, stop, TILE):
        for q in range(p if start == first else first, last, TILE):
            yield slice(p, min(p + TILE, stop)), slice(q, min(q + TILE, last))


def _distances(left: Floats, right: Floats, same: _Same, places: tuple[slice, slice]) -> Floats:
    """Distances of the rows of `left` to those of `right`, which stand at these places."""
    norms = [np.einsum("nd,nd->n", part, part) for part in (left, right)]
    total = norms[0][:, None] + norms[1]
    squares: Floats = left @ right.T
    squares *= -2.0
    squares += total
    total *= NEAR
    near = np.flatnonzero(squares <= total)
    squares.flat[near] = 0.0
    i, j = np.divmod(near, len(right))
    apart = i + places[0].start != j + places[1].start
    i, j = i[apart], j[apart]
    if len(i):
        squares[i, j] = _near(
            left, right, i, j, same.differ(i + places[0].start, j + places[1].start)
        )
    return np.sqrt(squares, out=squares)


def _near(left: Floats, right: Floats, i: Ints, j: Ints, differ: npt.NDArray[np.bool_]) -> Floats:
    """Squared distances of some pairs from their differences, 0 where they do not differ."""
    found = np.zeros(len(i))
    known = np.flatnonzero(differ)
    for start in range(0, len(known), PAIRS):
        at = known[start : start + PAIRS]
        apart = left[i[at]] - right[j[at]]
        found[at] = np.einsum("nd,nd->n", apart, apart)
    return found
