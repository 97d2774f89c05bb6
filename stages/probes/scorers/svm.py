"""Support vector machine with an RBF kernel, an alternative in the ablation of HiProbe-VAD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from stages.probes.scorers.contract import FitOptions, FitReport, Rows, Shapes, require_tensors
from stages.probes.scorers.convergence import watched
from stages.probes.scorers.fitting import fitted_rows, one_thread, standard
from stages.probes.scorers.rowwise import sigmoid, squared_distances, standardised
from stages.probes.spans import Floats, Ints

MOST_STEPS = 2**31 - 1
"""LIBSVM counts its steps in 32 bits."""
MOST_PAIRS = 2
"""Rows for each dimension up to which all pairs of them are kept: twice the memory of the rows."""


@dataclass(frozen=True, slots=True, eq=False)
class SvmScorer:
    """C-support vector classification of standardised rows, kernel exp(-gamma |x - y|^2).

    The score is the sigmoid of the decision function f, which is 0 on the boundary and -1 and 1 on
    the margins: 0.5, 0.27 and 0.73. It orders rows exactly as f does, from parameters of the one
    fit alone, and is not a calibrated probability. Platt's scaling would be nearer to one, but it
    needs scores of rows that were not fitted, hence random folds, and can reverse the order of f.
    """

    kind: ClassVar[str] = "svm"
    shapes: ClassVar[Shapes] = {
        "support": ("vectors", "dim"), "dual": ("vectors",), "bias": (1,), "gamma": (1,),
        "mean": ("dim",), "scale": ("dim",),
    }  # fmt: skip
    support: Floats
    """[vectors, dim]: the support vectors, standardised."""
    dual: Floats
    """[vectors]: their coefficients, positive for anomalous ones."""
    bias: Floats
    """[1]"""
    gamma: Floats
    """[1]"""
    mean: Floats
    """[dim], subtracted from every row."""
    scale: Floats
    """[dim], then divides it; 1 where the fitted rows do not vary."""

    @classmethod
    def fit(cls, rows: Rows, labels: Ints, options: FitOptions) -> tuple[Self, FitReport]:
        """Fit by scikit-learn's SVC, on one thread.

        Standardisation uses the rows as given; balancing comes after it. LIBSVM changes two
        coefficients in a step, so an iteration is as many steps as there are fitted rows. The kernel
        of all pairs of rows is made beforehand, by products of matrices, where it takes no more
        memory than a few copies of the rows: LIBSVM goes through them pair by pair.
        """
        from sklearn.svm import SVC

        mean, scale = standard(rows, options)
        chosen = fitted_rows(labels, options)
        fitted = ((rows - mean) / scale)[chosen]
        gamma = _gamma(fitted)
        pairs = len(fitted) <= MOST_PAIRS * fitted.shape[1]
        model = SVC(
            C=options.c,
            kernel="precomputed" if pairs else "rbf",
            gamma=gamma,
            class_weight="balanced" if options.balance == "weights" else None,
            max_iter=min(options.max_iter * len(fitted), MOST_STEPS),
        )
        with one_thread(), watched() as outcome:
            model.fit(_kernel(fitted, fitted, gamma) if pairs else fitted, labels[chosen])
        scorer = cls(
            support=np.ascontiguousarray(fitted[model.support_]),
            dual=np.ascontiguousarray(model.dual_coef_[0], dtype=np.float64),
            bias=np.asarray(model.intercept_, dtype=np.float64),
            gamma=np.asarray([gamma]),
            mean=mean,
            scale=scale,
        )
        iterations = -(-int(model.n_iter_[0]) // len(fitted))
        return scorer, FitReport(iterations, outcome.converged)

    def decision(self, rows: Rows) -> Floats:
        """sum over support vectors of dual * exp(-gamma |row - vector|^2), plus bias: float64 [n].

        Raises ConfigError for rows of another width.
        """
        standard_rows = standardised(rows, self.mean, self.scale)
        kernel = _kernel(standard_rows, self.support, self.gamma[0])
        decision: Floats = np.einsum("nm,m->n", kernel, self.dual) + self.bias[0]
        return decision

    def score(self, rows: Rows) -> Floats:
        """Sigmoid of the decision function: float64 [n] in [0, 1], 0.5 on the boundary.

        Raises ConfigError for rows of another width.
        """
        return sigmoid(self.decision(rows))

    def tensors(self) -> dict[str, Floats]:
        """support [vectors, dim], dual [vectors], bias [1], gamma [1], mean [dim], scale [dim]."""
        return {name: getattr(self, name) for name in self.shapes}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Floats]) -> Self:
        """The scorer that gave these tensors; raises DamagedArtifact where they cannot be its."""
        require_tensors(cls.kind, cls.shapes, tensors)
        return cls(**tensors)


def _kernel(rows: Floats, others: Floats, gamma: float) -> Floats:
    """exp(-gamma |x - y|^2) of every row x and every other y: float64 [n, m]."""
    found = squared_distances(rows, others)
    found *= -gamma
    return np.exp(found, out=found)


def _gamma(rows: Floats) -> float:
    """1 / (dim * variance of all numbers), scikit-learn's rule "scale"; 1 where nothing varies."""
    variance = float(rows.var())
    return 1.0 / (rows.shape[1] * variance) if variance else 1.0
