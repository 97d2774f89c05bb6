"""A bootstrap over the probing videos: which videos a replicate draws, and how often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.probes.spans import Ints


def video_draws(labels: Sequence[Ints], replicates: int, seed: int) -> Ints:
    """How often every replicate draws every video, [replicates, videos].

    `labels` holds the labels of every video's samples, 0 and 1. Videos are drawn with replacement
    among those with an anomalous sample and among those without one, as many of each as there are:
    a replicate has both classes wherever the subset has. Whole videos are drawn, because the samples
    of one video resemble each other.
    """
    generator = np.random.default_rng(seed)
    anomalous = np.asarray([bool(part.any()) for part in labels])
    draws = np.zeros((replicates, len(labels)), dtype=np.int64)
    for stratum in (np.flatnonzero(~anomalous), np.flatnonzero(anomalous)):
        if len(stratum):
            drawn = generator.integers(len(stratum), size=(replicates, len(stratum)))
            for draw, counts in zip(drawn, draws, strict=True):
                counts[stratum] = np.bincount(draw, minlength=len(stratum))
    return draws
