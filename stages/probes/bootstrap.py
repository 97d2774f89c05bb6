"""Percentile bootstrap over videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cache.keys import hash_of
from stages.probes.frames import EvaluatedVideo, Pool
from stages.probes.metrics import Ranking
from stages.probes.spans import Floats, Ints

LEVEL = 0.95
CELLS = 1 << 20
"""Weights (replicates times pieces) in memory at a time."""


@dataclass(frozen=True, slots=True)
class Band:
    """A percentile interval at LEVEL."""

    low: float
    high: float
    replicates: int
    """Replicates in which the figure was defined."""


def draws(videos: int, replicates: int, seed: int) -> Ints:
    """How often each video is drawn, [replicates, videos]; each row sums to `videos`."""
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(videos, np.full(videos, 1.0 / videos), size=replicates)
    return np.asarray(drawn, dtype=np.int64)


def sample_of(videos: Sequence[EvaluatedVideo]) -> str:
    """sha256, in hex, of what is drawn from: ids, evaluated frames and intervals, by video id.

    Two scorers with one sample, seed and number of replicates have the same videos in each.
    """
    return hash_of(sorted((v.video_id, v.n_frames, v.truth.intervals) for v in videos))


def pooled_replicates(pool: Pool, scores: Floats, drawn: Ints) -> Floats:
    """auc, ap and ap_trapezoid of every replicate, [replicates, 3]; NaN where not defined.

    A video that is drawn twice has each of its frames counted twice, and scores are sorted once.
    """
    ranking = Ranking(scores, pool.positive)
    at_once = max(1, CELLS // len(scores))
    if len(drawn) == 0:
        return np.empty((0, 3))
    parts = [
        ranking.figures(drawn[start : start + at_once][:, pool.video] * pool.frames)
        for start in range(0, len(drawn), at_once)
    ]
    return np.concatenate(parts)


def mean_replicates(values: Floats, drawn: Ints) -> Floats:
    """Mean of a per-video value over the drawn videos, [replicates]; NaN values take no part."""
    present = ~np.isnan(values)
    counts = drawn[:, present]
    total = counts.sum(axis=1)
    sums = (counts * values[present]).sum(axis=1)
    means = np.full(len(drawn), np.nan)
    np.divide(sums, total, out=means, where=total > 0)
    return means


def band_of(replicates: Floats) -> Band | None:
    """The percentile interval of the defined replicates; None where none is defined."""
    defined = replicates[~np.isnan(replicates)]
    if len(defined) == 0:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Band(float(low), float(high), len(defined))
