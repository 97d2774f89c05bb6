"""Class-wise moments of hidden states that can be merged (Chan, Golub and LeVeque 1979)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from cache.errors import ConfigError, ItemError
from stages.probes.spans import Floats, Ints

CLASSES = ("normal", "anomalous")


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


def _of_rows(rows: npt.NDArray[np.float32]) -> ClassMoments:
    """Moments of rows [n, layers, dim], each layer in float64 around its own mean.

    Float32 sums would be wrong by multiples on dimensions with a large mean; float64 of one layer
    at a time costs no more than they do.
    """
    n, layers, dim = rows.shape
    mean, m2 = np.zeros((layers, dim)), np.zeros((layers, dim))
    for layer in range(layers if n else 0):
        values = rows[:, layer].astype(np.float64)
        mean[layer] = values.mean(axis=0)
        values -= mean[layer]
        m2[layer] = np.einsum("nd,nd->d", values, values)
    return ClassMoments(n, mean, m2)


def block_moments(
    block: npt.NDArray[np.float32], layers: tuple[int, ...], labels: Ints, item: str, start: int
) -> Moments:
    """Moments of one block [rows, layers, dim] whose rows have `labels` [rows].

    Raises ItemError for a value that is not finite; `start` is the block's first segment.
    """
    low, high = block.min(axis=0), block.max(axis=0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        row, layer, dimension = (int(i) for i in np.argwhere(~np.isfinite(block))[0])
        raise ItemError(
            f"{item}: the hidden state of segment {start + row}, layer {layers[layer]}, dimension "
            f"{dimension} is {block[row, layer, dimension]}, expected a finite number; run the "
            "forward stage again, in float32 or bfloat16 if this was float16"
        )
    classes = [
        _of_rows(block if (labels == value).all() else block[labels == value]) for value in (0, 1)
    ]
    return Moments(layers, classes[0], classes[1], low.astype(np.float64), high.astype(np.float64))


def moments_of(
    blocks: Iterable[tuple[int, npt.NDArray[np.float32]]],
    layers: tuple[int, ...],
    labels: Ints,
    item: str,
) -> Moments:
    """Moments of a video from its blocks (first row, [rows, layers, dim]), labels [segments]."""
    whole: Moments | None = None
    for start, block in blocks:
        part = block_moments(block, layers, labels[start : start + len(block)], item, start)
        whole = part if whole is None else merge(whole, part)
    if whole is None:
        raise ItemError(f"{item}: there are no hidden states; run the forward stage again")
    return whole


def write_moments(path: Path, moments: Moments) -> None:
    """Write moments as safetensors: layers, CLASS.n, CLASS.mean, CLASS.m2, min and max."""
    tensors: dict[str, npt.NDArray[np.generic]] = {"min": moments.low, "max": moments.high}
    tensors["layers"] = np.asarray(moments.layers, dtype=np.int64)
    for name, part in zip(CLASSES, (moments.normal, moments.anomalous), strict=True):
        tensors[f"{name}.n"] = np.asarray([part.n], dtype=np.int64)
        tensors[f"{name}.mean"] = part.mean
        tensors[f"{name}.m2"] = part.m2
    save_file(tensors, path)


def read_moments(path: Path) -> Moments:
    """Read what `write_moments` wrote."""
    tensors = load_file(path)
    classes = [
        ClassMoments(int(tensors[f"{name}.n"][0]), tensors[f"{name}.mean"], tensors[f"{name}.m2"])
        for name in CLASSES
    ]
    layers = tuple(int(number) for number in tensors["layers"])
    return Moments(layers, classes[0], classes[1], tensors["min"], tensors["max"])
