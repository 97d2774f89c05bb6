"""What logistic regression minimises, as a sum over blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.probes.scorers.chunks import Chunks, blocks
from stages.probes.scorers.rowwise import sigmoid
from stages.probes.spans import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class LogisticLoss:
    """Weighted mean cross-entropy of standardised rows, and |weight|^2 / (2 C n)."""

    chunks: Chunks
    labels: Ints
    weights: Floats
    """[n], what every row counts."""
    mean: Floats
    scale: Floats
    c: float

    def __call__(self, parameters: Floats) -> tuple[float, Floats]:
        """Loss and gradient at [dim + 1]: the weight of every dimension, then the bias."""
        weight, bias, total = parameters[:-1], parameters[-1], self.weights.sum()
        # Dividing the weight and the gradient by the scale is dividing every row by it.
        scaled = weight / self.scale
        loss, gradient = 0.0, np.zeros(len(parameters))
        for first, block in blocks(self.chunks, len(weight)):
            block -= self.mean
            rows = slice(first, first + len(block))
            counts, labels = self.weights[rows], self.labels[rows]
            raw = block @ scaled + bias
            loss += float(counts @ (np.logaddexp(0.0, raw) - labels * raw))
            pull = counts * (sigmoid(raw) - labels)
            gradient[:-1] += pull @ block
            gradient[-1] += pull.sum()
        gradient[:-1] /= self.scale
        gradient /= total
        gradient[:-1] += weight / (self.c * total)
        return float(loss / total + weight @ weight / (2 * self.c * total)), gradient
