"""Silhouette score of the two classes per layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dask
import numpy as np
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from stages.probes.entropy import ReadLayer
from stages.probes.spans import Floats, Ints


def stratified_rows(labels: Ints, most: int, seed: int) -> Ints:
    """Sorted indices of at most `most` rows that keep the classes' shares, at least one of each.

    All rows where there are no more than `most`. Both classes must be present and `most` >= 2.
    """
    if len(labels) <= most:
        return np.arange(len(labels), dtype=np.int64)
    generator = np.random.default_rng(seed)
    normal, anomalous = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    share = round(most * len(anomalous) / len(labels))
    n_anomalous = min(max(share, 1), most - 1)
    taken = (
        generator.choice(normal, most - n_anomalous, replace=False),
        generator.choice(anomalous, n_anomalous, replace=False),
    )
    return np.sort(np.concatenate(taken)).astype(np.int64)


def silhouette_per_layer(
    videos: Sequence[ReadLayer],
    labels: Sequence[Ints],
    layers: Sequence[int],
    *,
    most: int,
    seed: int,
    workers: int,
    progress: Callable[[float, float], None],
) -> Floats:
    """Mean silhouette (Rousseeuw 1987, Euclidean) of the classes, [layers].

    `labels` holds the labels of every video's segments, `layers` are numbers. Exact up to `most` rows, else on one
    stratified sample that is the same for all layers. `workers` layers are computed at a time.
    """
    together = np.concatenate(labels)
    kept = stratified_rows(together, most, seed)
    borders = np.cumsum([len(part) for part in labels])[:-1]
    owner = np.searchsorted(borders, kept, side="right")
    starts = np.concatenate(([0], borders))
    chosen = [(read, kept[owner == v] - starts[v]) for v, read in enumerate(videos)]

    def of_layer(layer: int) -> float:
        parts = [read(layer)[rows].astype(np.float64) for read, rows in chosen if len(rows)]
        return _silhouette(np.concatenate(parts), together[kept])

    found: list[float] = []
    # One BLAS thread: the sums of a threaded matrix product depend on the number of threads.
    with threadpool_limits(limits=1):
        for start in range(0, len(layers), workers):
            tasks = [dask.delayed(of_layer)(layer) for layer in layers[start : start + workers]]
            found += dask.compute(*tasks, scheduler="threads", num_workers=workers)
            progress(len(found), len(layers))
    return np.asarray(found)


def _silhouette(rows: Floats, labels: Ints) -> float:
    # A class of one sample has silhouette 0 by definition; scikit-learn refuses two of them.
    return 0.0 if len(rows) == 2 else float(silhouette_score(rows, labels))
