"""Silhouette score of the two classes per layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    layers: int,
    *,
    most: int,
    seed: int,
    progress: Callable[[float, float], None],
) -> Floats:
    """Mean silhouette (Rousseeuw 1987, Euclidean) of the classes, [layers].

    `labels` holds the labels of every video's segments. Exact up to `most` rows, else on one
    stratified sample that is the same for all layers.
    """
    kept = stratified_rows(np.concatenate(labels), most, seed)
    chosen = np.concatenate(labels)[kept]
    borders = np.cumsum([0, *(len(part) for part in labels)])
    found = np.zeros(layers)
    for layer in range(layers):
        parts = [
            read(layer)[kept[(kept >= start) & (kept < stop)] - start].astype(np.float64)
            for read, start, stop in zip(videos, borders[:-1], borders[1:], strict=True)
            if np.any((kept >= start) & (kept < stop))
        ]
        found[layer] = _silhouette(np.concatenate(parts), chosen)
        progress(layer + 1, layers)
    return found


def _silhouette(rows: Floats, labels: Ints) -> float:
    # A class of one sample has silhouette 0 by definition; scikit-learn refuses two of them.
    if len(rows) == 2:
        return 0.0
    # One thread: the sums of a threaded matrix product depend on the number of threads.
    with threadpool_limits(limits=1):
        return float(silhouette_score(rows, labels))
