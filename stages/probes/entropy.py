"""Histogram entropy per layer, and that of every replicate of a bootstrap over videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

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
from stages.probes.states import ProbedStates, Stored
from stages.probes.tasks import Scheduler, computed, follow, joined, task

ReadLayer = Callable[[int], npt.NDArray[np.float32]]
"""Gives the hidden states of one video at the layer of a number, [segments, dim] float32."""

CELLS = 1 << 20
"""Cells of the histograms that one task fills at most."""
REPLICATE_CELLS = 1 << 25
"""The same, times the replicates: 128 MB."""
LAYERS = 4
"""Layers that one task reads at most: so many are read from a file that is opened once."""
ROWS = 512
"""Rows that are counted at once; short videos are gathered to as many."""
BLOCK_ROWS = 8192
"""Rows of the videos of one task, about, where there are no replicates."""
VIDEOS = 16
"""Videos whose histograms are added to those of the replicates at once."""
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


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """Histograms of a unit over some videos."""

    counts: Ints
    """[layers, columns, bins]"""
    replicates: npt.NDArray[np.floating]
    """[replicates, layers, columns, bins], whole numbers."""


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
    rows = np.asarray([video.segments for video in videos])
    units = _units(low, high, bins, len(draws))
    blocks = _blocks(rows, whole=bool(len(draws)))
    exact = int((draws @ rows).max(initial=0)) < EXACT
    weights = draws.astype(np.float32 if exact else np.float64)
    mean, replicates = np.zeros(layers), np.zeros((len(draws), layers))
    for start in range(0, len(units), wave := 4 * workers):
        some = units[start : start + wave]
        tasks = [
            follow(
                _entropies,
                joined([task(_counted, unit, videos[b], weights[:, b]) for b in blocks], _added),
            )
            for unit in some
        ]
        for unit, found in zip(some, computed(tasks, scheduler, workers), strict=True):
            mean[unit.places] += found.mean
            replicates[:, unit.places] += found.replicates
        progress(min(start + wave, len(units)), len(units))
    return Entropies(mean / dim, replicates / dim)


def _units(low: Floats, high: Floats, bins: int, replicates: int) -> list[_Unit]:
    """All columns of all layers, parted so that the histograms of a unit fit in memory."""
    layers, dim = low.shape
    cells = CELLS if not replicates else min(CELLS, max(1, REPLICATE_CELLS // replicates))
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


def _blocks(rows: Ints, *, whole: bool) -> list[slice]:
    """Videos, in order, parted into blocks of about BLOCK_ROWS rows; one block for the `whole`.

    Sums over replicates are as large as a task may have them: they do not wait for one another.
    """
    if whole:
        return [slice(0, len(rows))]
    before = np.cumsum(rows) - rows
    _, starts = np.unique(before // BLOCK_ROWS, return_index=True)
    return [slice(a, b) for a, b in pairwise([*starts.tolist(), len(rows)])]


def _counted(unit: _Unit, videos: Sequence[ProbedStates], draws: npt.NDArray[Any]) -> _Counts:
    """Histograms of some videos, and their sums as `draws` [replicates, videos] has them."""
    with one_torch_thread():
        tally = _Tally(unit, torch.from_numpy(np.ascontiguousarray(draws)))
        for number, video in enumerate(videos):
            for shard in range(video.shards):
                for stored in video.stored(shard, [unit.places]):
                    tally.take(stored[:, :, unit.columns], video.logical_dtype)
            if len(draws):
                tally.end_of_video(number)
        return tally.counts()


class _Tally:
    """Gathers rows until there are enough of them, and counts them."""

    def __init__(self, unit: _Unit, draws: torch.Tensor) -> None:
        layers, columns, bins = len(unit.places), unit.width, unit.bins[0].bins
        self._unit, self._draws, self._space = unit, draws, Workspace()
        self._rows = torch.empty((layers, 0, columns))
        self._filled = 0
        self._cells = torch.zeros((layers, columns, bins + 1), dtype=torch.int64)
        self._all = torch.zeros_like(self._cells)
        # Whole numbers, so that no order of the products' sums changes a bit.
        self._replicates = draws.new_zeros((len(draws), layers * columns * bins))
        self._videos = draws.new_zeros((VIDEOS, layers * columns * bins)) if len(draws) else None
        self._from = 0

    def take(self, stored: Stored, logical_dtype: str) -> None:
        """Count rows [layers, rows, columns] of a video, now or later."""
        if self._filled + stored.shape[1] > self._rows.shape[1]:
            self._count()
            if stored.shape[1] > self._rows.shape[1]:
                shape = (stored.shape[0], max(ROWS, stored.shape[1]), stored.shape[2])
                self._rows = torch.empty(shape)
        stop = self._filled + stored.shape[1]
        self._rows[:, self._filled : stop].copy_(as_tensor(stored, logical_dtype))
        self._filled = stop

    def end_of_video(self, number: int) -> None:
        """What was taken since the last time is all of the video with this number."""
        self._count()
        assert self._videos is not None
        place = number - self._from
        self._videos[place] = folded(self._cells).view(-1)
        self._all += self._cells
        self._cells.zero_()
        if place + 1 == len(self._videos):
            self._add_videos(number + 1)

    def counts(self) -> _Counts:
        """The histograms of all that was taken."""
        self._count()
        self._all += self._cells
        if self._videos is not None:
            self._add_videos(self._draws.shape[1])
        shape = (len(self._draws), *self._cells.shape[:2], self._unit.bins[0].bins)
        return _Counts(folded(self._all).numpy(), self._replicates.view(shape).numpy())

    def _count(self) -> None:
        for rows, bins, cells in zip(self._rows, self._unit.bins, self._cells, strict=True):
            add_counts(self._space, rows[: self._filled], bins, cells)
        self._filled = 0

    def _add_videos(self, stop: int) -> None:
        assert self._videos is not None
        drawn = self._draws[:, self._from : stop]
        self._replicates.addmm_(drawn, self._videos[: stop - self._from])
        self._from = stop


def _added(a: _Counts, b: _Counts) -> _Counts:
    return _Counts(a.counts + b.counts, a.replicates + b.replicates)


def _entropies(found: _Counts) -> Entropies:
    """Sums over the columns, of all videos and of every replicate."""
    replicates = np.zeros(found.replicates.shape[:2])
    for replicate, counts in zip(replicates, found.replicates, strict=True):
        replicate[:] = entropy_of(counts).sum(axis=-1)
    return Entropies(entropy_of(found.counts).sum(axis=-1), replicates)
