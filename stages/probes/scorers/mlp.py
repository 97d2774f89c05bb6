"""A multilayer perceptron with one hidden layer, an alternative in the ablation of HeadHunt-VAD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from cache.errors import DamagedArtifact
from stages.probes.scorers.contract import FitOptions, FitReport, Rows, Shapes, require_tensors
from stages.probes.scorers.convergence import watched
from stages.probes.scorers.fitting import one_thread, row_weights, standard
from stages.probes.scorers.rowwise import products, sigmoid, standardised
from stages.probes.spans import Floats, Ints

ACTIVATIONS = ("tanh", "relu")
"""By the number that a scorer's file gives."""


@dataclass(frozen=True, slots=True, eq=False)
class MlpScorer:
    """sigmoid(out . f(W x + b) + c) of standardised rows x, where f is tanh or relu.

    HeadHunt-VAD (arXiv 2512.17601) states neither width nor activation nor optimiser. Here the loss
    is that of the logistic scorer (binary cross-entropy, L2 penalty on all weights by C) and so is
    the optimiser, L-BFGS; it is not convex, and the seed of the first weights decides among optima.
    tanh has no kinks, at which L-BFGS gets stuck before it has converged.
    """

    kind: ClassVar[str] = "mlp"
    shapes: ClassVar[Shapes] = {
        "hidden": ("units", "dim"), "offset": ("units",), "out": ("units",), "bias": (1,),
        "activation": (1,), "mean": ("dim",), "scale": ("dim",),
    }  # fmt: skip
    hidden: Floats
    """[units, dim], for standardised rows."""
    offset: Floats
    """[units], added to what they give."""
    out: Floats
    """[units]"""
    bias: Floats
    """[1]"""
    activation: Floats
    """[1]: the place in ACTIVATIONS."""
    mean: Floats
    """[dim], subtracted from every row."""
    scale: Floats
    """[dim], then divides it; 1 where the fitted rows do not vary."""

    @classmethod
    def fit(cls, rows: Rows, labels: Ints, options: FitOptions) -> tuple[Self, FitReport]:
        """Fit by scikit-learn's MLPClassifier, on one thread.

        Standardisation uses the rows as given; balancing comes after it, as weights of the rows.
        """
        from sklearn.neural_network import MLPClassifier

        mean, scale = standard(rows, options)
        model = MLPClassifier(
            hidden_layer_sizes=(options.hidden,),
            activation=options.activation,
            solver="lbfgs",
            alpha=1 / options.c,  # both are divided by twice the weight of all rows
            max_iter=options.max_iter,
            max_fun=15 * options.max_iter,
            random_state=options.seed,
        )
        with one_thread(), watched() as outcome:
            model.fit((rows - mean) / scale, labels, sample_weight=row_weights(labels, options))
        scorer = cls(
            hidden=np.ascontiguousarray(model.coefs_[0].T),
            offset=model.intercepts_[0],
            out=np.ascontiguousarray(model.coefs_[1][:, 0]),
            bias=model.intercepts_[1],
            activation=np.asarray([ACTIVATIONS.index(options.activation)], dtype=np.float64),
            mean=mean,
            scale=scale,
        )
        return scorer, FitReport(int(model.n_iter_), outcome.converged, float(model.loss_))

    def score(self, rows: Rows) -> Floats:
        """The probability of an anomaly, float64 [n]; raises ConfigError for rows of another width."""
        inner = products(standardised(rows, self.mean, self.scale), self.hidden) + self.offset
        inner = np.maximum(inner, 0) if self.activation[0] else np.tanh(inner)
        return sigmoid(np.einsum("nu,u->n", inner, self.out) + self.bias[0])

    def tensors(self) -> dict[str, Floats]:
        """hidden [units, dim], offset and out [units], bias and activation [1], mean, scale [dim]."""
        return {name: getattr(self, name) for name in self.shapes}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Floats]) -> Self:
        """The scorer that gave these tensors; raises DamagedArtifact where they cannot be its."""
        require_tensors(cls.kind, cls.shapes, tensors)
        if tensors["activation"][0] not in range(len(ACTIVATIONS)):
            raise DamagedArtifact(
                f"activation of a scorer of kind {cls.kind} is 0 or 1, found "
                f"{tensors['activation'][0]}"
            )
        return cls(**tensors)
