"""Histogram entropy per layer, and that of every replicate of a bootstrap over videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from stages.probes.kernels import (
    Bins,
    Workspace,
    add_counts,
    as_tensor,
    folded,
    one_torch_thread,
)
from stages.probes.spans import Floats, Ints
from stages.probes.states import ProbedStates
from stages.probes.tasks import Scheduler, computed, follow, joined, task

CELLS = 1 << 20
"""Cells of the histograms that one task fills at most."""
TABLES = 1 << 25
"""The same times the videos, where every video's counts are kept for the replicates: 64 MB."""
DRAWN = 1 << 17
"""Cells of replicates that are summed up at once."""
LAYERS = 4
"""Layers that one task reads at most: so many are read from a file that is opened once."""
ROWS = 512
"""Rows that are counted at once; short videos are gathered to as many."""
BLOCK_ROWS = 8192
"""Rows of the videos of one task, about, where there are no replicates."""
EXACT = 1 << 24
"""Whole numbers below it, and their sums, are exact in float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Entropies:
    """What `entropy_per_layer` gives, layers in the order of the videos'."""

    mean: Floats
    """Mean over dimensions of the entropy, bits, [layers]."""
    replicates: Floats
    """The same of every replicate, [replicates, layers]."""


@dataclass(frozen=True, slots=True, eq=False)
class _Unit:
    """Some columns of some layers, and their bins."""

    places: range
    """Which of the kept layers."""
    columns: slice
    bins: list[Bins]
    """For each layer."""

    @property
    def width(self) -> int:
        return int(self.columns.stop - self.columns.start)


def entropy_of(counts: npt.NDArray[np.generic]) -> Floats:
    """Entropy in bits of every histogram in [..., bins], 0 log 0 = 0. HiProbe-VAD, eq 5."""
    shares = counts / counts.sum(axis=-1, keepdims=True, dtype=np.float64)
    logs = np.log2(np.maximum(shares, np.finfo(np.float64).tiny))
    logs *= shares
    return np.asarray(-logs.sum(axis=-1) + 0.0, dtype=np.float64)


def entropy_per_layer(
    videos: Sequence[ProbedStates],
    low: Floats,
    high: Floats,
    *,
    bins: int,
    draws: Ints,
    workers: int,
    scheduler: Scheduler = "threads",
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> Entropies:
    """Mean over dimensions of the histogram entropy, bits. HiProbe-VAD, eq 5-6.

    `low` and `high` are [layers, dim], over all samples of all videos; kernels.Bins says which bin a
    value is in. `draws` [replicates, videos] says how often every replicate has every video; the
    bins of a replicate are those of all videos, so that its histograms are sums of theirs. One Dask
    task is a block of videos at some layers. Counts are whole numbers: the result does not depend
    on scheduler or workers by a single bit.
    """
    layers, dim = low.shape
    blocks = _blocks(np.asarray([video.segments for video in videos]))
    units = _units(low, high, bins, len(videos) if len(draws) else 1)
    mean, replicates = np.zeros(layers), np.zeros((len(draws), layers))
    for start in range(0, len(units), wave := 4 * workers):
        some = units[start : start + wave]
        if len(draws):
            # All videos in one task: sums over replicates would be large, and wait for one another.
            tasks = [task(_replicated, unit, videos, draws) for unit in some]
        else:
            parts = ([task(_counted, unit, videos[b]) for b in blocks] for unit in some)
            tasks = [follow(_entropies, joined(part, np.add)) for part in parts]
        for unit, found in zip(some, computed(tasks, scheduler, workers), strict=True):
            mean[unit.places] += found.mean
            replicates[:, unit.places] += found.replicates
        progress(min(start + wave, len(units)), len(units))
    return Entropies(mean / dim, replicates / dim)


def _units(low: Floats, high: Floats, bins: int, tables: int) -> list[_Unit]:
    """All columns of all layers, parted so that `tables` histograms of a unit fit in memory."""
    layers, dim = low.shape
    cells = min(CELLS, TABLES // tables)
    width = min(dim, max(1, cells // (bins + 1)))
    depth = max(1, min(LAYERS, cells // (width * (bins + 1))))
    found = []
    for first in range(0, layers, depth):
        places = range(first, min(first + depth, layers))
        for start in range(0, dim, width):
            part = slice(start, min(start + width, dim))
            of = [Bins.over(low[place, part], high[place, part], bins) for place in places]
            found.append(_Unit(places, part, of))
    return found


def _blocks(rows: Ints) -> list[slice]:
    """Videos, in order, parted into blocks of about BLOCK_ROWS rows."""
    before = np.cumsum(rows) - rows
    _, starts = np.unique(before // BLOCK_ROWS, return_index=True)
    return [slice(a, b) for a, b in pairwise([*starts.tolist(), len(rows)])]


class _Tally:
    """Gathers rows of a unit until there are enough of them, and counts them."""

    def __init__(self, unit: _Unit) -> None:
        layers, columns, bins = len(unit.places), unit.width, unit.bins[0].bins
        self._unit, self._space = unit, Workspace()
        self._rows = torch.empty((layers, 0, columns))
        self._filled = 0
        self._cells = torch.zeros((layers, columns, bins + 1), dtype=torch.int64)

    def take(self, video: ProbedStates) -> None:
        """Count all rows of a video, now or later."""
        for shard in range(video.shards):
            for stored in video.stored(shard, [self._unit.places]):
                rows = as_tensor(stored[:, :, self._unit.columns], video.logical_dtype)
                stop = self._place_for(rows.shape[1])
                self._rows[:, self._filled : stop].copy_(rows)
                self._filled = stop

    def taken(self) -> Ints:
        """Counts of all that was taken since the last time, [layers, columns, bins]."""
        self._count()
        found: Ints = folded(self._cells).numpy()
        self._cells.zero_()
        return found

    def _place_for(self, rows: int) -> int:
        """Where so many rows more will end, after making a place for them."""
        if self._filled + rows > self._rows.shape[1]:
            self._count()
            if rows > self._rows.shape[1]:
                layers, _, columns = self._rows.shape
                self._rows = torch.empty((layers, max(ROWS, rows), columns))
        return self._filled + rows

    def _count(self) -> None:
        for rows, bins, cells in zip(self._rows, self._unit.bins, self._cells, strict=True):
            add_counts(self._space, rows[: self._filled], bins, cells)
        self._filled = 0


def _counted(unit: _Unit, videos: Sequence[ProbedStates]) -> Ints:
    """Histograms of some videos together, [layers, columns, bins]."""
    with one_torch_thread():
        tally = _Tally(unit)
        for video in videos:
            tally.take(video)
        return tally.taken()


def _entropies(counts: Ints) -> Entropies:
    """Sums over the columns."""
    return Entropies(entropy_of(counts).sum(axis=-1), np.zeros((0, len(counts))))


def _replicated(unit: _Unit, videos: Sequence[ProbedStates], draws: Ints) -> Entropies:
    """Sums over the columns, of all videos and of every replicate of `draws`."""
    rows = np.asarray([video.segments for video in videos])
    narrow = np.uint16 if rows.max() < 1 << 16 else np.uint32
    bins = unit.bins[0].bins
    tables = np.empty((len(videos), len(unit.places), unit.width, bins), dtype=narrow)
    # Whole numbers, so that no order of the products' sums changes a bit.
    dtype = np.float32 if int((draws @ rows).max()) < EXACT else np.float64
    weights = torch.from_numpy(draws.astype(dtype))
    step = max(1, DRAWN // (len(draws) * bins))
    mean, replicates = np.zeros(len(unit.places)), np.zeros((len(draws), len(unit.places)))
    with one_torch_thread():
        tally = _Tally(unit)
        for table, video in zip(tables, videos, strict=True):
            tally.take(video)
            table[:] = tally.taken()
        for layer in range(len(unit.places)):
            mean[layer] = entropy_of(tables[:, layer].sum(axis=0, dtype=np.int64)).sum()
            for start in range(0, unit.width, step):
                some = tables[:, layer, start : start + step].astype(dtype)
                drawn = (weights @ torch.from_numpy(some.reshape(len(videos), -1))).numpy()
                counts = drawn.reshape(len(draws), -1, bins)
                replicates[:, layer] += entropy_of(counts).sum(axis=-1)
    return Entropies(mean, replicates)
