"""How far apart the two classes lie per layer: KL divergence and discriminant ratio."""

from __future__ import annotations

import numpy as np

from stages.probes.moments import Moments
from stages.probes.spans import Floats


def kl_per_layer(moments: Moments, eps: float) -> Floats:
    """Mean over dimensions of KL(N || A) of two univariate Gaussians, nats, [layers].

    Population variances, floored at `eps`. HiProbe-VAD (arXiv 2507.17394), eq 1-2.
    """
    normal = np.maximum(moments.normal.variance, eps)
    anomalous = np.maximum(moments.anomalous.variance, eps)
    gap = np.square(moments.normal.mean - moments.anomalous.mean)
    divergence = 0.5 * (np.log(anomalous / normal) + (normal + gap) / anomalous - 1.0)
    return np.asarray(divergence.mean(axis=1), dtype=np.float64)


def ldr_per_layer(moments: Moments, eps: float) -> Floats:
    """Mean over dimensions of the local discriminant ratio, [layers].

    Population variances, `eps` added to their sum. HiProbe-VAD (arXiv 2507.17394), eq 3-4.
    """
    gap = np.square(moments.normal.mean - moments.anomalous.mean)
    ratio = gap / (moments.normal.variance + moments.anomalous.variance + eps)
    return np.asarray(ratio.mean(axis=1), dtype=np.float64)
