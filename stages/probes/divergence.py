"""How far apart the two classes lie per layer: KL divergence and discriminant ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.probes.moments import Moments
from stages.probes.spans import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """Means and population variances of both classes, each [..., dim]."""

    normal_mean: Floats
    normal_variance: Floats
    anomalous_mean: Floats
    anomalous_variance: Floats

    @classmethod
    def of(cls, moments: Moments) -> Gaussians:
        """Those of moments, [layers, dim]; both classes must have a sample."""
        normal, anomalous = moments.normal, moments.anomalous
        return cls(normal.mean, normal.variance, anomalous.mean, anomalous.variance)

    def kl(self, eps: float) -> Floats:
        """Mean over dimensions of KL(N || A), nats, [...]: variances floored at `eps`.

        HiProbe-VAD (arXiv 2507.17394), eq 1-2.
        """
        normal = np.maximum(self.normal_variance, eps)
        anomalous = np.maximum(self.anomalous_variance, eps)
        gap = np.square(self.normal_mean - self.anomalous_mean)
        divergence = 0.5 * (np.log(anomalous / normal) + (normal + gap) / anomalous - 1.0)
        return np.asarray(divergence.mean(axis=-1), dtype=np.float64)

    def ldr(self, eps: float) -> Floats:
        """Mean over dimensions of the local discriminant ratio, [...]: `eps` added below.

        HiProbe-VAD (arXiv 2507.17394), eq 3-4.
        """
        gap = np.square(self.normal_mean - self.anomalous_mean)
        ratio = gap / (self.normal_variance + self.anomalous_variance + eps)
        return np.asarray(ratio.mean(axis=-1), dtype=np.float64)


def kl_per_layer(moments: Moments, eps: float) -> Floats:
    """KL(N || A) of every layer, [layers]."""
    return Gaussians.of(moments).kl(eps)


def ldr_per_layer(moments: Moments, eps: float) -> Floats:
    """Local discriminant ratio of every layer, [layers]."""
    return Gaussians.of(moments).ldr(eps)
