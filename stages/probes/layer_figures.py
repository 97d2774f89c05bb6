"""All that moments and histograms say of every layer, over many videos and on any Dask scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.probes.divergence import Gaussians
from stages.probes.entropy import entropy_per_layer
from stages.probes.moments import Moments, block_moments, blocks_of, merge
from stages.probes.spans import Floats, Ints
from stages.probes.states import ProbedStates
from stages.probes.tasks import Scheduler, computed, joined, task
from stages.probes.training import require_both_classes


@dataclass(frozen=True, slots=True, eq=False)
class LayerFigures:
    """What `layer_figures` gives, each array [layers] in the order of `moments.layers`."""

    moments: Moments
    kl: Floats
    ldr: Floats
    entropy: Floats


def moments_of_videos(
    videos: Sequence[ProbedStates],
    labels: Sequence[Ints],
    *,
    workers: int,
    scheduler: Scheduler = "threads",
) -> Moments:
    """The moments of all videos, whose segments have `labels`; one Dask task is some shards of one.

    They are those of the stages moments and statistics, to the bit, on every scheduler.
    """
    parts = []
    for video, mine in zip(videos, labels, strict=True):
        blocks = [task(block_moments, video, block, mine) for block in blocks_of(video)]
        parts.append(joined(blocks, merge))
    found: Moments = computed([joined(parts, merge)], scheduler, workers)[0]
    return found


def layer_figures(
    videos: Sequence[ProbedStates],
    labels: Sequence[Ints],
    *,
    bins: int,
    eps: float,
    workers: int,
    scheduler: Scheduler = "threads",
) -> LayerFigures:
    """Moments, KL, LDR and entropy of every layer over videos whose segments have `labels`.

    Nothing is kept between the two passes but the moments, and a task holds one chunk at a time:
    memory does not grow with the videos. Raises ItemError for a value that is not finite,
    ConfigError where a class has no sample, DamagedArtifact.
    """
    moments = moments_of_videos(videos, labels, workers=workers, scheduler=scheduler)
    require_both_classes(moments.normal.n, moments.anomalous.n)
    entropies = entropy_per_layer(
        videos,
        moments.low,
        moments.high,
        bins=bins,
        draws=np.zeros((0, len(videos)), dtype=np.int64),
        workers=workers,
        scheduler=scheduler,
    )
    found = Gaussians.of(moments)
    return LayerFigures(moments, found.kl(eps), found.ldr(eps), entropies.mean)
