"""Percentile bootstrap over videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

from cache.keys import hash_of
from manifests.datasets.names import bare_name, folded
from stages.probes.frames import EvaluatedVideo, Pool
from stages.probes.metrics import KINDS, Ranking, areas
from stages.probes.spans import Floats, Ints

LEVEL = 0.95
CELLS = 1 << 16
"""Thresholds times weightings that are summed up at a time: a block fits the processor's cache."""


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


def drawn_by(videos: Sequence[EvaluatedVideo]) -> dict[str, EvaluatedVideo]:
    """The videos by the names that they are drawn by, in the order of these.

    Bare names, so that a data set gives the same draws in whatever folders it lies; video ids where
    two videos have one bare name.
    """
    names = [folded(bare_name(video.video_id)) for video in videos]
    if len(set(names)) < len(names):
        names = [video.video_id for video in videos]
    return dict(sorted(zip(names, videos, strict=True), key=lambda pair: pair[0]))


def sample_of(videos: Sequence[EvaluatedVideo]) -> str:
    """sha256, in hex, of what is drawn from: names, evaluated frames and intervals.

    Two scorers with one sample, seed and number of replicates have the same videos in each.
    """
    named = drawn_by(videos).items()
    return hash_of([(name, v.n_frames, v.truth.intervals) for name, v in named])


def pooled_figures(pool: Pool, scores: Floats, drawn: Ints) -> Floats:
    """auc, ap and ap_trapezoid of each of one or more draws, [draws, 3]; NaN where not defined.

    `drawn` [draws, videos] is how often each video is taken: a video that is taken twice has each
    of its frames counted twice, one that is taken 0 times is not there. Scores are sorted once, and
    what a video adds to each threshold is counted once; a draw is a sum of these counts, exact to
    the frame.
    """
    ranking = Ranking(scores, pool.positive)
    shape = (KINDS * (ranking.thresholds + 1), drawn.shape[1])
    counts = coo_array((pool.frames.astype(np.float64), (ranking.cells, pool.video)), shape)
    weightings = np.ascontiguousarray(drawn.T, dtype=np.float64)
    positives = np.bincount(pool.video, pool.frames * pool.positive, drawn.shape[1]) @ weightings
    both = np.bincount(pool.video, pool.frames, drawn.shape[1]) @ weightings
    return areas(
        _blocks(counts.tocsr(), weightings, ranking.thresholds), positives, both - positives
    )


def _blocks(counts: csr_array, weightings: Floats, thresholds: int) -> Iterator[Floats]:
    """What every draw counts at successive thresholds, [thresholds, KINDS, draws] at a time."""
    draws = weightings.shape[1]
    at_once = max(1, CELLS // draws)
    for start in range(0, thresholds, at_once):
        stop = min(start + at_once, thresholds)
        yield (counts[KINDS * start : KINDS * stop] @ weightings).reshape(-1, KINDS, draws)


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
