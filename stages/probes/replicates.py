"""KL and LDR of every replicate of a bootstrap over videos, from the moments of the videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from stages.probes.divergence import Gaussians
from stages.probes.moments import ClassMoments
from stages.probes.spans import Floats, Ints

ReadMoments = Callable[[int], tuple[ClassMoments, ClassMoments]]
"""Gives the normal and anomalous moments of one video at the place of a layer, each [dim]."""


def divergence_replicates(
    videos: Sequence[ReadMoments], layers: int, draws: Ints, eps: float
) -> tuple[Floats, Floats]:
    """KL and LDR of every replicate and layer, both [replicates, layers].

    `draws` [replicates, videos] says how often each replicate has each video. NaN where it has no
    sample of a class. One layer of all videos is in memory at a time.
    """
    kl, ldr = np.full((2, len(draws), layers), np.nan)
    # One BLAS thread: the sums of a threaded matrix product depend on the number of threads.
    with threadpool_limits(limits=1):
        for layer in range(layers):
            parts = [read(layer) for read in videos]
            normal, anomalous = (_drawn([part[c] for part in parts], draws) for c in (0, 1))
            both = (normal[0] > 0) & (anomalous[0] > 0)
            found = Gaussians(*(values[both] for values in (*normal[1:], *anomalous[1:])))
            kl[both, layer], ldr[both, layer] = found.kl(eps), found.ldr(eps)
    return kl, ldr


def _drawn(videos: Sequence[ClassMoments], draws: Ints) -> tuple[Floats, Floats, Floats]:
    """Count [replicates], mean and variance [replicates, dim] of a class, its videos as drawn.

    About the mean of all of them, merged by matrix products: Chan, Golub and LeVeque (1979), eq 2.1,
    for many samples at once. Of no samples mean and variance are 0.
    """
    n = np.asarray([video.n for video in videos], dtype=np.float64)
    mean, m2 = (np.stack([getattr(video, name) for video in videos]) for name in ("mean", "m2"))
    centre = n @ mean / max(1.0, n.sum())
    mean -= centre
    weights = draws * n
    count = weights.sum(axis=1)
    safe = np.maximum(count, 1.0)[:, None]
    shift = weights @ mean / safe
    squares = (draws @ m2 + weights @ np.square(mean)) / safe
    return count, centre + shift, np.maximum(squares - np.square(shift), 0.0)
