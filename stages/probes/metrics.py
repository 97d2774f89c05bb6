"""ROC and precision-recall figures of weighted scores.

A weight is a number of frames: a run of frames with one score and one label is one entry, so that a
data set of millions of frames is some ten thousand numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.probes.spans import Floats, Ints

Bools = npt.NDArray[np.bool_]
Weights = Ints | Floats


@dataclass(frozen=True, slots=True)
class Figures:
    """What is said of a score where both labels are present."""

    auc: float
    """Area under the ROC curve, trapezoids."""
    ap: float
    """Average precision: sum of precision times the step in recall (scikit-learn's definition)."""
    ap_trapezoid: float
    """Trapezoids under (recall, precision) from (0, 1): what many papers call AP."""


class Ranking:
    """Scores sorted once, from high to low with ties together, for any number of weightings."""

    def __init__(self, scores: Floats, positive: Bools) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ranked = scores[self._order]
        self._positive = positive[self._order]
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))

    def counts(self, weights: Weights) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """True and false positives at every threshold, [..., thresholds], of weights [..., n]."""
        ranked = weights[..., self._order]
        true = np.cumsum(np.where(self._positive, ranked, 0), axis=-1)[..., self._ends]
        both = np.cumsum(ranked, axis=-1)[..., self._ends]
        return true, both - true

    def figures(self, weights: Weights) -> Floats:
        """[..., 3]: auc, ap, ap_trapezoid; NaN where one label has no weight."""
        true, false = self.counts(weights)
        positives, negatives = true[..., -1:], false[..., -1:]
        defined = ((positives > 0) & (negatives > 0))[..., 0]
        recall = true / np.maximum(positives, 1)
        fall_out = false / np.maximum(negatives, 1)
        precision = np.divide(true, true + false, out=np.ones(true.shape), where=true + false > 0)
        step = np.diff(recall, axis=-1, prepend=0.0)
        before = np.concatenate([np.ones_like(precision[..., :1]), precision[..., :-1]], axis=-1)
        lower = np.concatenate([np.zeros_like(recall[..., :1]), recall[..., :-1]], axis=-1)
        wide = np.diff(fall_out, axis=-1, prepend=0.0)
        found = np.stack(
            [
                (wide * (recall + lower)).sum(axis=-1) / 2,
                (step * precision).sum(axis=-1),
                (step * (precision + before)).sum(axis=-1) / 2,
            ],
            axis=-1,
        )
        return np.where(defined[..., None], found, np.nan)


def figures_of(scores: Floats, positive: Bools, weights: Weights | None = None) -> Figures | None:
    """The figures of scores [n] with labels [n], each counted `weights` [n] times (1).

    None where only one label is present: no figure is defined then.
    """
    if len(scores) == 0:
        return None
    counted = np.ones(len(scores), dtype=np.int64) if weights is None else weights
    found = Ranking(scores, positive).figures(counted)
    if np.isnan(found[0]):
        return None
    return Figures(float(found[0]), float(found[1]), float(found[2]))


def roc_points(scores: Floats, positive: Bools, weights: Weights) -> tuple[Floats, Floats]:
    """False and true positive rates from (0, 0) to (1, 1); both labels must be present."""
    true, false = Ranking(scores, positive).counts(weights)
    return (
        np.concatenate(([0.0], false / false[-1])),
        np.concatenate(([0.0], true / true[-1])),
    )


def pr_points(scores: Floats, positive: Bools, weights: Weights) -> tuple[Floats, Floats]:
    """Recall and precision from (0, 1) on; both labels must be present."""
    true, false = Ranking(scores, positive).counts(weights)
    return (
        np.concatenate(([0.0], true / true[-1])),
        np.concatenate(([1.0], true / (true + false))),
    )


def thinned(x: Floats, y: Floats, most: int) -> tuple[Floats, Floats]:
    """At most `most` points of a curve, evenly spread along its length, both ends kept."""
    if len(x) <= most:
        return x, y
    length = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))))
    wanted = np.linspace(0.0, length[-1], most)
    kept = np.unique(np.append(np.searchsorted(length, wanted[:-1]), len(x) - 1))
    return x[kept], y[kept]
