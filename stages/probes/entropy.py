"""Histogram entropy per layer, counted by coarse Dask tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dask
import numpy as np
import numpy.typing as npt

from stages.probes.spans import Floats, Ints

ReadLayer = Callable[[int], npt.NDArray[np.float32]]
"""Gives the hidden states of one video at the layer of a number, [segments, dim] float32."""

CELLS = 1 << 24
"""Histogram cells that one task holds at most: 128 MB of counts."""
ROWS = 32
"""Rows that are binned at a time: their temporaries stay in a core's cache."""


def bin_counts(rows: npt.NDArray[np.float32], low: Floats, high: Floats, bins: int) -> Ints:
    """Counts of rows [n, dim] in `bins` equal bins over [low, high] per dimension, [dim, bins].

    A value x falls in bin floor((x - low) * (bins / (high - low))), the last bin holds `high`; a
    dimension without a range has everything in bin 0.
    """
    dim = len(low)
    width = high - low
    scale = np.divide(bins, width, out=np.zeros(dim), where=width > 0)
    offsets = np.arange(dim, dtype=np.int64) * bins
    counts = np.zeros(dim * bins, dtype=np.int64)
    for start in range(0, len(rows), ROWS):
        codes = ((rows[start : start + ROWS] - low) * scale).astype(np.int64)
        np.clip(codes, 0, bins - 1, out=codes)
        codes += offsets
        counts += np.bincount(codes.ravel(), minlength=dim * bins)
    return counts.reshape(dim, bins)


def entropy_of(counts: Ints) -> Floats:
    """Entropy in bits of every histogram in [..., bins], 0 log 0 = 0. HiProbe-VAD, eq 5."""
    shares = counts / counts.sum(axis=-1, keepdims=True)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=-1) + 0.0, dtype=np.float64)


def entropy_per_layer(
    videos: Sequence[ReadLayer],
    layers: Sequence[int],
    low: Floats,
    high: Floats,
    *,
    bins: int,
    workers: int,
    progress: Callable[[float, float], None],
) -> Floats:
    """Mean over dimensions of the histogram entropy, bits, [layers]. HiProbe-VAD, eq 5-6.

    `layers` are numbers; `low` and `high` are [layers, dim], over all samples of all videos. One Dask task per video
    returns integer counts for a group of layers, which are summed pairwise: the result does not
    depend on `workers` by a single bit.
    """
    group = max(1, CELLS // (low.shape[1] * bins))
    found = np.zeros(len(layers))
    for start in range(0, len(layers), group):
        part = slice(start, start + group)
        tasks = [
            dask.delayed(_count)(read, layers[part], low[part], high[part], bins) for read in videos
        ]
        (counts,) = dask.compute(_summed(tasks), scheduler="threads", num_workers=workers)
        found[part] = [entropy_of(histogram).mean() for histogram in counts]
        progress(min(start + group, len(layers)), len(layers))
    return found


def _count(read: ReadLayer, layers: Sequence[int], low: Floats, high: Floats, bins: int) -> Ints:
    """Counts of one video, [layers, dim, bins]; `low` and `high` are of these layers."""
    return np.stack(
        [bin_counts(read(layer), low[i], high[i], bins) for i, layer in enumerate(layers)]
    )


def _summed(tasks: list[Any]) -> Any:
    """One task that adds all of them up, pairwise, so that few counts wait in memory."""
    add = dask.delayed(np.add)
    while len(tasks) > 1:
        pairs = [add(a, b) for a, b in zip(tasks[::2], tasks[1::2], strict=False)]
        tasks = pairs + (tasks[-1:] if len(tasks) % 2 else [])
    return tasks[0]
