"""Silhouette score of the two classes per layer, its standard error, and its bootstrap over videos."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dask
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from stages.probes.distances import Tile, distance_tiles
from stages.probes.spans import Floats, Ints

ReadRows = Callable[[int, Ints], npt.NDArray[np.float32]]
"""Gives some hidden states of one video, at the layer of a number and of increasing segments,
[segments, dim] float32."""

REPLICATES = 256
"""Replicates that are computed at a time: 4 MB for each thousand rows and figure."""


@dataclass(frozen=True, slots=True, eq=False)
class Silhouettes:
    """What `silhouette_per_layer` gives, layers in the order of their numbers."""

    mean: Floats
    """Mean silhouette, [layers]."""
    error: Floats
    """Its standard error as an estimate of that of all rows, [layers]; 0 where all are used."""
    samples: int
    """Rows that it is computed on."""
    replicates: Floats
    """Mean silhouette of every replicate, [replicates, layers]; NaN where it has one class only."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """The rows that are used: normal before anomalous, and of each class video after video."""

    parts: list[tuple[ReadRows, Ints]]
    """How the rows of a video are read, and which of its segments they are."""
    order: Ints
    """[n]: from the order in which they are read to the order here."""
    normal: int
    """How many are normal."""
    population: tuple[int, int]
    """How many normal and anomalous rows there are to sample from."""
    starts: Ints
    """[groups]: the first row of every group, which is the rows of one class of one video."""
    video: Ints
    """[groups]"""

    @property
    def rows(self) -> int:
        return len(self.order)

    @property
    def whole(self) -> bool:
        return self.rows == sum(self.population)

    @property
    def sizes(self) -> Ints:
        """Rows of every group."""
        return np.diff(self.starts, append=self.rows)

    @property
    def normal_groups(self) -> int:
        return int(np.searchsorted(self.starts, self.normal))


def stratified_rows(labels: Ints, most: int, seed: int) -> Ints:
    """Sorted indices of at most `most` rows that keep the classes' shares.

    Of each class there are at least two (one where it has only one, or where `most` is below 4),
    since of a single row no deviation is known. All rows where there are no more than `most`. Both
    classes must be present and `most` >= 2.
    """
    if len(labels) <= most:
        return np.arange(len(labels), dtype=np.int64)
    generator = np.random.default_rng(seed)
    normal, anomalous = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    least = 2 if most >= 4 else 1
    share = round(most * len(anomalous) / len(labels))
    n_anomalous = min(max(share, min(least, len(anomalous))), most - min(least, len(normal)))
    taken = (
        generator.choice(normal, most - n_anomalous, replace=False),
        generator.choice(anomalous, n_anomalous, replace=False),
    )
    return np.sort(np.concatenate(taken)).astype(np.int64)


def silhouette_per_layer(
    videos: Sequence[ReadRows],
    labels: Sequence[Ints],
    layers: Sequence[int],
    *,
    most: int,
    seed: int,
    draws: Ints,
    workers: int,
    progress: Callable[[float, float], None],
) -> Silhouettes:
    """Mean silhouette (Rousseeuw 1987, Euclidean) of the classes by layer, and what it is worth.

    `labels` holds the labels of every video's segments, `layers` are numbers. Exact up to `most`
    rows, else on one stratified sample that is the same for all layers, with the standard error of
    `_standard_error`. A replicate of `draws` [replicates, videos] has each sampled row as often as
    its video is drawn; its silhouette is exact, from the sums of the distances of every row to the
    rows of each video and class. The silhouette of a row that is its class alone is 0, and so is
    that of a row without a distance to any other. `workers` layers are computed at a time: the
    result does not depend on it by a single bit.
    """
    sample = _sampled(videos, labels, stratified_rows(np.concatenate(labels), most, seed))
    found: list[tuple[float, float, Floats]] = []
    # One BLAS thread: the sums of a threaded matrix product depend on the number of threads.
    with threadpool_limits(limits=1):
        for start in range(0, len(layers), workers):
            some = layers[start : start + workers]
            tasks = [dask.delayed(_of_layer)(sample, layer, draws) for layer in some]
            found += dask.compute(*tasks, scheduler="threads", num_workers=workers)
            progress(len(found), len(layers))
    mean, error, replicates = zip(*found, strict=True)
    stacked = np.stack(replicates, axis=1)
    return Silhouettes(np.asarray(mean), np.asarray(error), sample.rows, stacked)


def _sampled(videos: Sequence[ReadRows], labels: Sequence[Ints], kept: Ints) -> _Sample:
    together = np.concatenate(labels)
    borders = np.cumsum([len(part) for part in labels])[:-1]
    owner = np.searchsorted(borders, kept, side="right")
    first = np.concatenate(([0], borders))
    parts = [(read, kept[owner == v] - first[v]) for v, read in enumerate(videos)]
    order = np.lexsort((owner, together[kept]))
    key = np.stack([together[kept], owner])[:, order]
    starts = np.flatnonzero(np.concatenate(([True], (key[:, 1:] != key[:, :-1]).any(axis=0))))
    anomalous = int(together.sum())
    return _Sample(
        [(read, rows) for read, rows in parts if len(rows)],
        order,
        normal=int((key[0] == 0).sum()),
        population=(len(together) - anomalous, anomalous),
        starts=starts,
        video=key[1][starts],
    )


def _of_layer(sample: _Sample, layer: int, draws: Ints) -> tuple[float, float, Floats]:
    """Mean silhouette of a layer, its standard error, and that of every replicate."""
    parts = [read(layer, rows) for read, rows in sample.parts]
    rows = np.concatenate(parts)[sample.order].astype(np.float64)
    sums = np.zeros((sample.rows, len(sample.starts)))
    tiles: list[Tile] = []
    for tile in distance_tiles(rows, sample.normal):
        _add(sums, sample.starts, tile)
        if not sample.whole:
            tiles.append(tile)  # the standard error needs every distance once more
    once = np.ones((1, 1 + int(sample.video.max())), dtype=np.int64)
    mean = float(_means(sample, sums, once)[0])
    error = 0.0 if sample.whole else _standard_error(sample, sums, tiles)
    slices = [draws[n : n + REPLICATES] for n in range(0, len(draws), REPLICATES)]
    replicates = [_means(sample, sums, part) for part in slices]
    return mean, error, np.concatenate([*replicates, np.empty(0)])


def _add(sums: Floats, starts: Ints, tile: Tile) -> None:
    """Add what a tile holds of the sums of the distances of rows to groups, [n, groups]."""
    sides = [(tile.rows, tile.columns, tile.distances)]
    if tile.rows != tile.columns:
        sides.append((tile.columns, tile.rows, tile.distances.T))
    for rows, columns, distances in sides:
        first, last = np.searchsorted(starts, (columns.start, columns.stop - 1), side="right") - 1
        cuts = np.maximum(starts[first : last + 1] - columns.start, 0)
        # Added, since a group may go on from one tile to the next.
        sums[rows, first : last + 1] += np.add.reduceat(distances, cuts, axis=1)


def _means(sample: _Sample, sums: Floats, draws: Ints) -> Floats:
    """Mean silhouette of replicates [replicates, videos], [replicates]; `sums` is [n, groups]."""
    times = draws[:, sample.video].T.astype(np.float64)
    groups, sizes = sample.normal_groups, sample.sizes[:, None]
    sides = (
        (slice(groups), slice(sample.normal)),
        (slice(groups, None), slice(sample.normal, None)),
    )
    counts = [(times[part] * sizes[part]).sum(axis=0) for part, _ in sides]
    total = np.zeros(len(draws))
    for (mine, rows), (others, _), own, other in zip(
        sides, reversed(sides), counts, reversed(counts), strict=True
    ):
        with np.errstate(divide="ignore", invalid="ignore"):  # a class of one row, or of none
            inner = sums[rows, mine] @ times[mine] / (own - 1)
            outer = sums[rows, others] @ times[others] / other
            top = np.maximum(inner, outer)
            values = np.where(top == 0, 0.0, (outer - inner) / top)
        values[:, own == 1] = 0.0
        total += (values * np.repeat(times[mine], sample.sizes[mine], axis=0)).sum(axis=0)
    found = np.full(len(draws), np.nan)
    both = (counts[0] > 0) & (counts[1] > 0)
    np.divide(total, counts[0] + counts[1], out=found, where=both)
    return found


def _standard_error(sample: _Sample, sums: Floats, tiles: Sequence[Tile]) -> float:
    """Standard error of the mean silhouette of a stratified sample, by linearisation.

    With g_j the derivative of the mean by the weight of row j (through its own silhouette, and
    through the mean distances of all other rows to its class), and f_c the share of class c that was
    sampled, the variance is sum_c (1 - f_c) n_c / (n_c - 1) sum_{j in c} (g_j - mean_c g)^2: the
    infinitesimal jackknife of a stratified sample without replacement. A class of one row adds
    nothing: its silhouette is 0 whichever row it is.
    """
    n, normal = sample.rows, sample.normal
    sizes = np.where(np.arange(n) < normal, normal, n - normal)
    inner, outer = _mean_distances(sample, sums, sizes)
    top = np.maximum(inner, outer)
    lone = (sizes == 1) | (top == 0)
    safe = np.where(lone, 1.0, top)
    values = np.where(lone, 0.0, (outer - inner) / safe)
    nearer = inner < outer
    by_inner = np.where(lone, 0.0, -np.where(nearer, safe, outer) / safe**2)
    by_outer = np.where(lone, 0.0, np.where(nearer, inner, safe) / safe**2)
    by_inner /= np.maximum(sizes - 1, 1)
    by_outer /= n - sizes
    slopes = values + _pulled(sample, tiles, by_inner, by_outer)
    for part in (slice(normal), slice(normal, n)):
        # What every other row of a class pulls at, whichever row it is; but no row at itself.
        slopes[part] += by_inner[part] * inner[part]
    variance = 0.0
    for part, whole in zip((slice(normal), slice(normal, n)), sample.population, strict=True):
        count = part.indices(n)[1] - part.indices(n)[0]
        if count > 1:
            variance += (1 - count / whole) * count * float(slopes[part].var(ddof=1))
    return math.sqrt(variance) / n


def _mean_distances(sample: _Sample, sums: Floats, sizes: Ints) -> tuple[Floats, Floats]:
    """Mean distance of every row to the others of its class, and to the other class, [n] each."""
    groups, normal = sample.normal_groups, sample.normal
    to = np.stack([sums[:, :groups].sum(axis=1), sums[:, groups:].sum(axis=1)])
    own = np.concatenate([to[0, :normal], to[1, normal:]])
    other = np.concatenate([to[1, :normal], to[0, normal:]])
    return own / np.maximum(sizes - 1, 1), other / (sample.rows - sizes)


def _pulled(sample: _Sample, tiles: Sequence[Tile], by_inner: Floats, by_outer: Floats) -> Floats:
    """Sum over the rows i of each row's distance to i times the slope at i, [n]."""
    found = np.zeros(sample.rows)
    for tile in tiles:
        across = tile.rows.start < sample.normal <= tile.columns.start
        slope = by_outer if across else by_inner
        found[tile.rows] += tile.distances @ slope[tile.columns]
        if tile.rows != tile.columns:
            found[tile.columns] += tile.distances.T @ slope[tile.rows]
    return found
