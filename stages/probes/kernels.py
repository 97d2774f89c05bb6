"""What is computed from the stored numbers of one chunk, at what one core can do.

Chunks are widened to float32 in buffers that are used again, tile by tile, so that they stay in the
caches of a core between the steps. Sums are float64, in the order
of the rows: every result is the same to the bit, whatever ran beside it.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch

from stages.probes.spans import Floats, Ints
from stages.probes.states import Stored

Item = TypeVar("Item")

TILE = 1 << 19
"""Elements of a tile at most: 6 MB of float32 and float64."""
FUZZ = 2.0**-20
"""Share of a bin: a value so little below an edge counts as on the edge."""

Rows = slice | Ints
"""Some rows of a chunk: a run of them, or their numbers."""


class Workspace:
    """The buffers of one thread, as large as the largest tile so far."""

    def __init__(self) -> None:
        """Begin with none."""
        self._made: dict[str, torch.Tensor] = {}

    def buffer(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Uninitialised, of a shape; the one of the same name before is gone."""
        made, size = self._made.get(name), math.prod(shape)
        if made is None or made.numel() < size:
            made = self._made[name] = torch.empty(size, dtype=dtype)
        return made[:size].view(*shape)

    def widened(self, stored: Stored, logical_dtype: str) -> torch.Tensor:
        """The float32 values of numbers as they lie on disk; exact."""
        found = self.buffer("float32", stored.shape, torch.float32)
        return found.copy_(as_tensor(stored, logical_dtype))


def as_tensor(stored: Stored, logical_dtype: str) -> torch.Tensor:
    """The same numbers, not copied, as torch knows them."""
    if logical_dtype == "bfloat16":
        return torch.from_numpy(stored.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(stored)


def grouped(layers: int, rows: int, width: int) -> list[range]:
    """Places of layers, parted into groups whose [layers, rows, width] is a tile, or one layer."""
    count = max(1, min(layers, TILE // (rows * width)))
    return [range(start, min(start + count, layers)) for start in range(0, layers, count)]


_alone = threading.Lock()
_inside = 0
_threads = 0


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Torch computes with the calling thread alone, here and in whoever else is inside.

    Several threads, each of which torch gives all cores, get in one another's way. The number of
    threads is one of each thread, and a new thread starts with what was set last: the number
    that is restored is that of before the first came in.
    """
    global _inside, _threads
    with _alone:
        if not _inside:
            _threads = torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _alone:
            _inside -= 1
            torch.set_num_threads(_threads)


def rows_of_classes(labels: Ints) -> tuple[Rows, Rows]:
    """The rows of label 0 and those of label 1; a slice where they follow one another."""
    found: list[Rows] = []
    for value in (0, 1):
        rows = np.flatnonzero(labels == value)
        run = not len(rows) or int(rows[-1] - rows[0]) + 1 == len(rows)
        first = int(rows[0]) if len(rows) else 0
        found.append(slice(first, first + len(rows)) if run else rows)
    return found[0], found[1]


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """What `range_and_moments` fills: float64, of some layers and all their columns."""

    low: Floats
    """[layers, width], over all rows."""
    high: Floats
    mean: Floats
    """[classes, layers, width]; of a class without rows it stays as it was."""
    m2: Floats
    """[classes, layers, width], sum of (x - mean)^2."""

    @classmethod
    def empty(cls, classes: int, layers: int, width: int) -> Partial:
        """To be filled."""
        ranges = np.empty((2, layers, width))
        moments = np.zeros((2, classes, layers, width))
        return cls(*ranges, *moments)

    def of(self, layers: slice) -> Partial:
        """That of some layers, the very same memory."""
        return Partial(
            self.low[layers], self.high[layers], self.mean[:, layers], self.m2[:, layers]
        )


def range_and_moments(
    space: Workspace, stored: Stored, logical_dtype: str, classes: Sequence[Rows], out: Partial
) -> None:
    """Fill `out` from numbers [layers, rows, width]: the range, and the moments of each class.

    `classes` are the rows of each. Mean and squared deviations are taken in two passes, in float64
    and about the mean of these very rows, so that no offset costs digits. Where a value is not
    finite the range says so, and the moments are not taken.
    """
    layers, rows, width = stored.shape
    columns = max(1, TILE // (layers * rows))
    for start in range(0, width, columns):
        part = slice(start, start + columns)
        values = space.widened(stored[:, :, part], logical_dtype)
        plain = values.numpy()
        low, high = out.low[:, part], out.high[:, part]
        low[:] = np.minimum.reduce(plain, axis=1)
        high[:] = np.maximum.reduce(plain, axis=1)
        if np.isfinite(low).all() and np.isfinite(high).all():
            for chosen, mean, m2 in zip(classes, out.mean, out.m2, strict=True):
                _moments(space, values[:, chosen], mean[:, part], m2[:, part])


def _moments(space: Workspace, values: torch.Tensor, mean: Floats, m2: Floats) -> None:
    """Mean and squared deviations of [layers, rows, columns]; of no rows both stay as they are."""
    if not (n := values.shape[1]):
        return
    wide = space.buffer("float64", values.shape, torch.float64).copy_(values)
    centre = np.add.reduce(wide.numpy(), axis=1)
    centre /= n
    wide -= torch.from_numpy(centre).unsqueeze(1)
    mean[:] = centre
    np.einsum("lnd,lnd->ld", wide.numpy(), wide.numpy(), out=m2)


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Equal bins over the range of each of some columns; made by `Bins.over`.

    A value x falls in bin floor((x - low) * (bins / (high - low)) + FUZZ), in float64; the last one
    holds `high`. So a value that lies on an edge, and one within a millionth of a bin below, is in
    the bin above, whichever way a product rounds. A column without a range has all in bin 0.
    """

    bins: int
    scale: torch.Tensor
    offset: torch.Tensor

    @classmethod
    def over(cls, low: Floats, high: Floats, bins: int) -> Bins:
        """Bins over [low, high], both [columns] and exact in float32."""
        span = high - low
        scale = np.divide(bins, span, out=np.zeros(len(low)), where=span > 0)
        # One cell more per column holds what is exactly `high`: it is added to the last bin. The
        # product takes 24 bits of x / span and 6 of the bins: far below FUZZ in error.
        cells = np.arange(len(low)) * float(bins + 1)
        return cls(bins, torch.from_numpy(scale), torch.from_numpy(cells + FUZZ - low * scale))


def add_counts(space: Workspace, values: torch.Tensor, bins: Bins, cells: torch.Tensor) -> None:
    """Add the counts of float32 values [rows, columns] to `cells`, int64 [columns, bins + 1]."""
    rows, columns = values.shape
    step = max(1, TILE // columns)
    for start in range(0, rows, step):
        tile = values[start : start + step]
        wide = space.buffer("float64", tile.shape, torch.float64).copy_(tile)
        torch.addcmul(bins.offset, wide, bins.scale, out=wide)
        codes = space.buffer("int32", tile.shape, torch.int32).copy_(wide)
        cells += torch.bincount(codes.view(-1), minlength=cells.numel()).view(cells.shape)


def folded(cells: torch.Tensor) -> torch.Tensor:
    """Counts [..., bins] of cells [..., bins + 1]: what lies on the upper end is in the last bin."""
    counts = cells[..., :-1].clone()
    counts[..., -1] += cells[..., -1]
    return counts


def each_share(work: Callable[[Sequence[Item]], None], items: Sequence[Item], workers: int) -> None:
    """Do `work` on `items`, in up to `workers` threads that have consecutive shares of them.

    Raises what the first share that failed has raised.
    """
    shares = min(workers, len(items))
    if shares <= 1:
        work(items)
        return
    borders = [len(items) * n // shares for n in range(shares + 1)]
    with ThreadPoolExecutor(shares) as pool:
        done = [pool.submit(work, items[a:b]) for a, b in pairwise(borders)]
    for share in done:
        share.result()
