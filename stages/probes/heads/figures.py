"""How far apart the two classes lie in the vectors of an attention head, from their moments.

HeadHunt-VAD (arXiv 2512.17601) ranks heads by four figures, of which two stand here, SteerVAD (arXiv
2602.24021) by one. Each is NaN where it is not defined: a head that says the same of every segment,
or the same of every segment of a class where that class needs a covariance of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from stages.probes.spans import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class ClassMoments:
    """What the figures need of the rows of one class in one head."""

    n: int
    mean: Floats
    """[dim]."""
    covariance: Floats
    """[dim, dim], ddof 0."""
    fourth: float
    """Mean of the fourth power of the distance of a row from the mean."""

    @property
    def variance(self) -> float:
        """Mean squared distance of a row from the mean."""
        return float(np.trace(self.covariance))


def class_moments(rows: Floats, labels: Ints) -> tuple[ClassMoments, ClassMoments]:
    """Those of the normal and of the anomalous rows [n, dim]; both must be there."""
    return _moments(rows[labels == 0]), _moments(rows[labels == 1])


def separability(normal: ClassMoments, anomalous: ClassMoments) -> float:
    """||muA - muN||^2 / (s2_A + s2_N) (SteerVAD), s2 the class's `variance`."""
    gap, spread = anomalous.mean - normal.mean, normal.variance + anomalous.variance
    return float(gap @ gap) / spread if spread > 0 else float("nan")


def lda(normal: ClassMoments, anomalous: ClassMoments, eps: float) -> float:
    """(muA - muN)^T S_W^-1 (muA - muN), S_W the pooled covariance within the classes.

    There may be fewer rows than dimensions, and then S_W has no inverse; it is shrunk as
    `shrunk_covariance` says. Fisher's scatter is n times this, which no ranking sees.
    """
    n = normal.n + anomalous.n
    covariance = (normal.n * normal.covariance + anomalous.n * anomalous.covariance) / n
    fourth = (normal.n * normal.fourth + anomalous.n * anomalous.fourth) / n
    within = ClassMoments(n, normal.mean, covariance, fourth)
    if not within.variance > 0:
        return float("nan")
    return _squared(_solved(_factor(within, eps), anomalous.mean - normal.mean))


def symmetric_kl(normal: ClassMoments, anomalous: ClassMoments, eps: float) -> float:
    """(KL(A || N) + KL(N || A)) / 2 of Gaussians with the classes' means and covariances, nats.

    The covariances are those of `shrunk_covariance`. The two logarithms of determinants cancel, and
    with N = L L^T and A = M M^T the trace of N^-1 A is the squared Frobenius norm of L^-1 M.
    """
    if not (normal.variance > 0 and anomalous.variance > 0):
        return float("nan")
    gap = anomalous.mean - normal.mean
    one, other = _factor(normal, eps), _factor(anomalous, eps)
    traces = _squared(_solved(one, other)) + _squared(_solved(other, one))
    gaps = _squared(_solved(one, gap)) + _squared(_solved(other, gap))
    return (traces - 2 * len(gap) + gaps) / 4


def shrunk_covariance(moments: ClassMoments, eps: float) -> Floats:
    """Ledoit-Wolf covariance [dim, dim].

    (1 - s) S + s m I, where S is the covariance (ddof 0), m the mean of its diagonal, and s the
    share that Ledoit and Wolf (2004) estimate from the rows, but at least `eps`: of two rows they
    shrink nothing, and S has no inverse.
    """
    plain, dim = moments.covariance, len(moments.mean)
    level, square = moments.variance / dim, _squared(plain)
    noise, distance = (moments.fourth - square) / moments.n, square - dim * level**2
    share = min(max(noise / distance if distance > 0 else 0.0, eps), 1.0)
    shrunk = (1 - share) * plain
    shrunk.flat[:: dim + 1] += share * level
    return shrunk


def _moments(rows: Floats) -> ClassMoments:
    # About the first row: of rows that are all the same the covariance is then zero, not a rounding.
    rest = rows - rows[0]
    shift = rest.mean(axis=0)
    rest -= shift
    lengths = np.einsum("nd,nd->n", rest, rest)
    covariance = rest.T @ rest / len(rows)
    return ClassMoments(len(rows), rows[0] + shift, covariance, float(np.mean(lengths**2)))


def _factor(moments: ClassMoments, eps: float) -> Floats:
    """The Cholesky factor of the shrunk covariance, lower."""
    found = cholesky(shrunk_covariance(moments, eps), lower=True, check_finite=False)
    return np.asarray(found)


def _solved(factor: Floats, right: Floats) -> Floats:
    """L^-1 of a matrix or a vector."""
    return np.asarray(solve_triangular(factor, right, lower=True, check_finite=False))


def _squared(values: Floats) -> float:
    return float(np.vdot(values, values))
