"""Class-wise moments of hidden states that can be merged (Chan, Golub and LeVeque 1979)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import load_file, save

from cache.errors import ConfigError, ItemError
from stages.probes.kernels import (
    Partial,
    Workspace,
    as_tensor,
    each_share,
    grouped,
    one_torch_thread,
    range_and_moments,
    rows_of_classes,
)
from stages.probes.spans import Floats, Ints
from stages.probes.states import ProbedStates, Stored

CLASSES = ("normal", "anomalous")
BLOCK = 16
"""Shards that one task takes at most: 8,192 segments."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassMoments:
    """Count, mean and sum of squared deviations of one class."""

    n: int
    mean: Floats
    """[layers, dim]; zero where n is 0."""
    m2: Floats
    """[layers, dim], sum of (x - mean)^2."""

    @property
    def variance(self) -> Floats:
        """Population variance (ddof 0), [layers, dim]; n must not be 0."""
        return self.m2 / self.n


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Moments of both classes and the range over both, each array [layers, dim] float64."""

    layers: tuple[int, ...]
    """The number of each layer, increasing."""
    normal: ClassMoments
    anomalous: ClassMoments
    low: Floats
    high: Floats

    @property
    def dim(self) -> int:
        """Width of a hidden state."""
        return len(self.low[0])


def merge_class(a: ClassMoments, b: ClassMoments) -> ClassMoments:
    """The moments of the union of two disjoint samples (Chan et al., eq 2.1)."""
    n = a.n + b.n
    if a.n == 0 or b.n == 0:
        return b if a.n == 0 else a
    delta = b.mean - a.mean
    mean = a.mean + delta * (b.n / n)
    return ClassMoments(n, mean, a.m2 + b.m2 + delta * delta * (a.n * b.n / n))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of the union of two disjoint samples of the same layers."""
    return Moments(
        a.layers,
        merge_class(a.normal, b.normal),
        merge_class(a.anomalous, b.anomalous),
        np.minimum(a.low, b.low),
        np.maximum(a.high, b.high),
    )


def merge_tree(count: int, leaf: Callable[[int], Moments]) -> Moments:
    """Merge `count` parts pairwise; only about log2(count) of them are in memory at a time."""
    if count < 1:
        raise ConfigError("there is no probing video: the probing subset must name at least one")

    def merged(start: int, stop: int) -> Moments:
        if stop - start == 1:
            return leaf(start)
        middle = (start + stop) // 2
        return merge(merged(start, middle), merged(middle, stop))

    return merged(0, count)


def shard_moments(states: ProbedStates, shard: int, labels: Ints, workers: int = 1) -> Moments:
    """Moments of one shard of a video whose segments have `labels` [segments].

    Raises ItemError for a value that is not finite. Its layers are shared among `workers` threads.
    """
    rows = states.segments_of(shard)
    mine = labels[rows]
    classes = rows_of_classes(mine)
    part = Partial.empty(len(CLASSES), len(states.layers), states.dim)
    groups = grouped(len(states.layers), len(mine), states.dim)

    def fill(some: Sequence[range]) -> None:
        space = Workspace()
        with one_torch_thread():
            for group, stored in zip(some, states.stored(shard, some), strict=True):
                of = part.of(slice(group.start, group.stop))
                range_and_moments(space, stored, states.logical_dtype, classes, of)
                _require_finite(states, rows.start, group, stored, of)

    each_share(fill, groups, workers)
    found = [
        ClassMoments(int((mine == value).sum()), mean, m2)
        for value, (mean, m2) in enumerate(zip(part.mean, part.m2, strict=True))
    ]
    return Moments(states.layers, found[0], found[1], part.low, part.high)


def block_moments(
    states: ProbedStates, shards: Sequence[int], labels: Ints, workers: int = 1
) -> Moments:
    """Moments of some shards of a video, merged in order."""
    return functools.reduce(
        merge, (shard_moments(states, shard, labels, workers) for shard in shards)
    )


def blocks_of(states: ProbedStates) -> list[range]:
    """The shards of a video, parted into what one task takes."""
    return [range(n, min(n + BLOCK, states.shards)) for n in range(0, states.shards, BLOCK)]


def moments_of(states: ProbedStates, labels: Ints, workers: int = 1) -> Moments:
    """Moments of a video whose segments have `labels` [segments].

    The same to the bit for any number of `workers`. Raises ItemError for a value that is not
    finite, DamagedArtifact.
    """
    blocks = blocks_of(states)
    return merge_tree(
        len(blocks), lambda number: block_moments(states, blocks[number], labels, workers)
    )


def _require_finite(
    states: ProbedStates, start: int, group: range, stored: Stored, part: Partial
) -> None:
    """Raise ItemError that names the first value of [layers, rows, dim] that is not finite."""
    if np.isfinite(part.low).all() and np.isfinite(part.high).all():
        return
    values = as_tensor(stored, states.logical_dtype).float().numpy()
    layer, row, dimension = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
    raise ItemError(
        f"{states.item}: the hidden state of segment {start + row}, layer "
        f"{states.layers[group[layer]]}, dimension {dimension} is {values[layer, row, dimension]}, "
        "expected a finite number; run the forward stage again, in float32 or bfloat16 if this was "
        "float16"
    )


def write_moments(path: Path, moments: Moments) -> None:
    """Write moments as safetensors: layers, CLASS.n, CLASS.mean, CLASS.m2, min and max."""
    tensors: dict[str, npt.NDArray[np.generic]] = {"min": moments.low, "max": moments.high}
    tensors["layers"] = np.asarray(moments.layers, dtype=np.int64)
    for name, part in zip(CLASSES, (moments.normal, moments.anomalous), strict=True):
        tensors[f"{name}.n"] = np.asarray([part.n], dtype=np.int64)
        tensors[f"{name}.mean"] = part.mean
        tensors[f"{name}.m2"] = part.m2
    # Not save_file, whose error does not say that the disk is full.
    path.write_bytes(save(tensors))


def read_moments(path: Path) -> Moments:
    """Read what `write_moments` wrote."""
    tensors = load_file(path)
    classes = [
        ClassMoments(int(tensors[f"{name}.n"][0]), tensors[f"{name}.mean"], tensors[f"{name}.m2"])
        for name in CLASSES
    ]
    layers = tuple(int(number) for number in tensors["layers"])
    return Moments(layers, classes[0], classes[1], tensors["min"], tensors["max"])


def read_layer(path: Path, place: int) -> tuple[ClassMoments, ClassMoments]:
    """The normal and anomalous moments of what `write_moments` wrote at one layer, each [dim].

    `place` is the layer's in `Moments.layers`; no other is read.
    """
    with safe_open(path, "np") as tensors:
        found = [
            ClassMoments(
                int(tensors.get_tensor(f"{name}.n")[0]),
                *(tensors.get_slice(f"{name}.{what}")[place] for what in ("mean", "m2")),
            )
            for name in CLASSES
        ]
    return found[0], found[1]
