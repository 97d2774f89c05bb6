"""Distances to the two class means, alternatives in the ablation of HiProbe-VAD.

The score is d_N / (d_N + d_A), where d_N and d_A are the distances to the means of normal and of
anomalous rows: 0 at the normal mean, 0.5 where both are equally far, 1 at the anomalous mean. It
orders rows by the ratio of the distances and has no scale of its own, so it is no probability: in
many dimensions both distances are nearly equal and scores lie close to 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from cache.errors import DamagedArtifact
from stages.probes.scorers.contract import FitOptions, FitReport, Rows, Shapes, require_tensors
from stages.probes.scorers.fitting import fitted_rows, one_thread, standard
from stages.probes.scorers.rowwise import STEP, products, squared_distances, standardised
from stages.probes.spans import Floats, Ints

LEAST_SHRINKAGE = 1e-6
"""Ledoit and Wolf's estimate may be 0, and the covariance of a few rows is then singular."""

CLOSED = FitReport(iterations=0, converged=True)


@dataclass(frozen=True, slots=True, eq=False)
class DistanceScorer:
    """Nearest class mean: Euclidean distances of standardised rows.

    `balance` has nothing to do here: a class is its mean, whatever the number of its rows.
    """

    kind: ClassVar[str] = "distance"
    shapes: ClassVar[Shapes] = {"centres": (2, "dim"), "mean": ("dim",), "scale": ("dim",)}
    centres: Floats
    """[2, dim]: the means of normal and of anomalous rows, standardised."""
    mean: Floats
    """[dim], subtracted from every row."""
    scale: Floats
    """[dim], then divides it; 1 where the fitted rows do not vary."""

    @classmethod
    def fit(cls, rows: Rows, labels: Ints, options: FitOptions) -> tuple[Self, FitReport]:
        """Take the mean of each class."""
        mean, scale = standard(rows, options)
        return cls((_class_means(rows, labels) - mean) / scale, mean, scale), CLOSED

    def score(self, rows: Rows) -> Floats:
        """d_N / (d_N + d_A), float64 [n]; raises ConfigError for rows of another width."""
        return _nearness(standardised(rows, self.mean, self.scale), self.centres)

    def tensors(self) -> dict[str, Floats]:
        """centres [2, dim], mean [dim], scale [dim]."""
        return {name: getattr(self, name) for name in self.shapes}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Floats]) -> Self:
        """The scorer that gave these tensors; raises DamagedArtifact where they cannot be its."""
        require_tensors(cls.kind, cls.shapes, tensors)
        return cls(**tensors)


@dataclass(frozen=True, slots=True, eq=False)
class MahalanobisScorer:
    """Distances under the covariance within the classes, shared by both and shrunk.

    Shrunk towards a multiple of the identity as Ledoit and Wolf (2004) estimate it, so that it can
    be inverted where there are more dimensions than rows. `balance` decides how much each class
    counts in the covariance; the means are those of all rows.
    """

    kind: ClassVar[str] = "mahalanobis"
    shapes: ClassVar[Shapes] = {
        "whitening": ("dim", "dim"), "centres": (2, "dim"), "mean": ("dim",), "scale": ("dim",)
    }  # fmt: skip
    whitening: Floats
    """[dim, dim], lower triangular: times a standardised row, its covariance within the classes is
    the identity."""
    centres: Floats
    """[2, dim]: the means of normal and of anomalous rows, standardised and whitened."""
    mean: Floats
    """[dim], subtracted from every row."""
    scale: Floats
    """[dim], then divides it; 1 where the fitted rows do not vary."""

    @classmethod
    def fit(cls, rows: Rows, labels: Ints, options: FitOptions) -> tuple[Self, FitReport]:
        """Take the mean of each class, and the covariance of the rows around their class's mean.

        Rows that equal their class's mean (one row in each class) leave plain Euclidean distances.
        """
        mean, scale = standard(rows, options)
        means = _class_means(rows, labels)
        around = rows - means[labels]
        around /= scale
        if options.balance == "weights":
            shares = np.bincount(labels) / len(labels)
            around /= np.sqrt(2 * shares)[labels, np.newaxis]
        if options.balance == "resample":
            around = around[fitted_rows(labels, options)]
        with one_thread():
            whitening = _whitening(around)
        centres = products((means - mean) / scale, whitening, step=STEP)
        return cls(whitening, centres, mean, scale), CLOSED

    def score(self, rows: Rows) -> Floats:
        """d_N / (d_N + d_A), float64 [n]; raises ConfigError for rows of another width."""
        standard_rows = standardised(rows, self.mean, self.scale)
        return _nearness(products(standard_rows, self.whitening, step=STEP), self.centres)

    def tensors(self) -> dict[str, Floats]:
        """whitening [dim, dim], centres [2, dim], mean [dim], scale [dim]."""
        return {name: getattr(self, name) for name in self.shapes}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Floats]) -> Self:
        """The scorer that gave these tensors; raises DamagedArtifact where they cannot be its."""
        require_tensors(cls.kind, cls.shapes, tensors)
        if np.triu(tensors["whitening"], 1).any():
            raise DamagedArtifact(
                "whitening of a scorer of kind mahalanobis has numbers above its diagonal, expected "
                "a lower triangular matrix"
            )
        return cls(**tensors)


def _class_means(rows: Rows, labels: Ints) -> Floats:
    """Means of normal and of anomalous rows, float64 [2, dim].

    Of the rows before standardisation: equal float32 values have exactly their value as a mean, so
    that a class that does not vary has no covariance made of rounding.
    """
    return np.stack([rows[labels == k].mean(axis=0, dtype=np.float64) for k in (0, 1)])


def _whitening(around: Floats) -> Floats:
    """W [dim, dim] with W'W the inverse of the shrunk covariance of centred rows [n, dim].

    (1 - s) S + s m I, where S is the covariance (ddof 0), m the mean of its diagonal, and s the share
    that Ledoit and Wolf (2004) estimate: scikit-learn's, from one product of matrices instead of
    three, since the sum over all pairs of dimensions of x_i^2 x_j^2 is |x|^4.
    """
    from scipy.linalg.lapack import dtrtri

    n, dim = around.shape
    covariance = around.T @ around
    covariance /= n
    level = float(np.trace(covariance)) / dim
    if level == 0:
        return np.eye(dim)
    square = float(np.einsum("ij,ij->", covariance, covariance))
    distance = square - dim * level**2
    noise = (float(np.mean(np.einsum("nd,nd->n", around, around) ** 2)) - square) / n
    share = min(max(noise / distance, 0.0), 1.0) if distance > 0 else 0.0
    covariance *= 1 - share
    covariance[np.diag_indices(dim)] += max(share, LEAST_SHRINKAGE) * level
    # LAPACK sees the transpose of the lower factor: an upper one, whose inverse is that of ours.
    inverse, _ = dtrtri(np.linalg.cholesky(covariance).T, lower=0)
    return np.ascontiguousarray(inverse.T)


def _nearness(rows: Floats, centres: Floats) -> Floats:
    """d_N / (d_N + d_A) of rows [n, dim] and the two centres; 0.5 where both distances are 0."""
    normal, anomalous = np.sqrt(squared_distances(rows, centres)).T
    total = normal + anomalous
    nearness: Floats = np.full(len(rows), 0.5)
    np.divide(normal, total, out=nearness, where=total != 0)  # NaN stays NaN
    return nearness
