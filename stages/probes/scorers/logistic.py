"""Logistic regression, the scorer of HiProbe-VAD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from stages.probes.scorers.contract import FitOptions, FitReport, Rows, Shapes, require_tensors
from stages.probes.scorers.convergence import watched
from stages.probes.scorers.fitting import (
    fitted_rows,
    one_thread,
    row_weights,
    standard,
)
from stages.probes.scorers.logistic_loss import LogisticLoss
from stages.probes.scorers.rowwise import sigmoid, standardised
from stages.probes.spans import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class LogisticScorer:
    """Logistic regression on standardised rows (HiProbe-VAD, arXiv 2507.17394)."""

    kind: ClassVar[str] = "logistic"
    shapes: ClassVar[Shapes] = {
        "weight": ("dim",),
        "bias": (1,),
        "mean": ("dim",),
        "scale": ("dim",),
    }
    weight: Floats
    """[dim], for standardised rows."""
    bias: Floats
    """[1]"""
    mean: Floats
    """[dim], subtracted from every row."""
    scale: Floats
    """[dim], then divides it; 1 where the fitted rows do not vary."""

    @classmethod
    def fit(cls, rows: Rows, labels: Ints, options: FitOptions) -> tuple[Self, FitReport]:
        """Minimise binary cross-entropy with an L2 penalty by L-BFGS, on one thread.

        Standardisation uses the rows as given; balancing comes after it.
        """
        from sklearn.linear_model import LogisticRegression

        mean, scale = standard(rows, options)
        chosen = fitted_rows(labels, options)
        model = LogisticRegression(
            C=options.c,
            class_weight="balanced" if options.balance == "weights" else None,
            max_iter=options.max_iter,
        )
        with one_thread(), watched() as outcome:
            model.fit(((rows - mean) / scale)[chosen], labels[chosen])
            weight = np.ascontiguousarray(model.coef_[0], dtype=np.float64)
            bias = np.asarray(model.intercept_, dtype=np.float64)
            weights = row_weights(labels, options)
            loss = LogisticLoss(lambda: iter((rows,)), labels, weights, mean, scale, options.c)
            least, gradient = loss(np.append(weight, bias))
        report = FitReport(
            iterations=int(model.n_iter_[0]),
            converged=outcome.converged,
            loss=least,
            gradient=float(np.abs(gradient).max()),
        )
        return cls(weight, bias, mean, scale), report

    def score(self, rows: Rows) -> Floats:
        """sigmoid(weight . (row - mean) / scale + bias): the probability of an anomaly, float64 [n].

        Raises ConfigError for rows of another width.
        """
        standard_rows = standardised(rows, self.mean, self.scale)
        return sigmoid(np.einsum("nd,d->n", standard_rows, self.weight) + self.bias[0])

    def tensors(self) -> dict[str, Floats]:
        """weight [dim], bias [1], mean [dim], scale [dim]."""
        return {name: getattr(self, name) for name in self.shapes}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Floats]) -> Self:
        """The scorer that gave these tensors; raises DamagedArtifact where they cannot be its."""
        require_tensors(cls.kind, cls.shapes, tensors)
        return cls(**tensors)
