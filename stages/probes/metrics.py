"""ROC and precision-recall figures of weighted scores.

A weight is a number of frames: a run of frames with one score and one label is one entry, so that a
data set of millions of frames is some ten thousand numbers.

Only thresholds that admit positives matter: between two of them the number of true positives stands
still, so the ROC curve is a straight line there and recall makes no step. What is summed up below
are therefore the points just before and at each threshold of this kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.probes.spans import Floats, Ints

Bools = npt.NDArray[np.bool_]
Weights = Ints | Floats

TIED, ABOVE, HITS = range(3)
KINDS = 3
"""What is counted at a threshold: negatives at it, negatives between it and the one before, and
positives at it."""
FALSE, TRUE = range(2)
"""The last two kinds, once the tied negatives have joined the others."""
START = 1e-300
"""Weight of an imagined positive above all scores: precision-recall curves start at (0, 1).

It stands in for 0 / 0 there, and vanishes in the rounding once a whole frame is counted.
"""
FEW = 128
"""Weightings up to which one cumulative sum is quicker than one addition for every threshold."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is said of a score where both labels are present."""

    auc: float
    """Area under the ROC curve, trapezoids: scikit-learn's roc_auc_score."""
    ap: float
    """Sum of precision times the step in recall: scikit-learn's average_precision_score."""
    ap_trapezoid: float
    """Trapezoids under (recall, precision) from (0, 1): scikit-learn's auc(recall, precision),
    what many papers call AP."""


class Ranking:
    """Scores sorted once, from high to low with ties together, for any number of weightings."""

    thresholds: int
    """How many distinct scores positives have."""
    cells: Ints
    """[n], where the weight of each score is counted: KINDS cells for every threshold, from the
    highest down; cells past the last threshold are those of the negatives below them all."""

    def __init__(self, scores: Floats, positive: Bools) -> None:
        """Rank one or more scores [n], which must be finite, with their labels [n]."""
        order = np.argsort(-scores)
        ranked, hits = scores[order], positive[order]
        starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
        admits = np.logical_or.reduceat(hits, starts)
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(ranked)))
        kind = np.where(hits, HITS, np.where(admits[group], TIED, ABOVE))
        self.thresholds = int(admits.sum())
        self.cells = np.empty(len(scores), dtype=np.int64)
        self.cells[order] = KINDS * (np.cumsum(admits) - admits)[group] + kind

    def counts(self, weights: Weights) -> Floats:
        """What is counted at every threshold, [thresholds, KINDS], of weights [n]."""
        last = KINDS * self.thresholds
        counted = np.asarray(np.bincount(self.cells, weights, last), dtype=np.float64)
        return counted[:last].reshape(self.thresholds, KINDS)


@dataclass(frozen=True, slots=True)
class _Points:
    """True and false positives just before and at every threshold, [thresholds, weightings]."""

    true_before: Floats
    false_before: Floats
    true: Floats
    false: Floats


def _points(counts: Floats, true: Floats, false: Floats) -> _Points:
    """Sum up counts [thresholds, KINDS, weightings], after `true` and `false` [weightings]."""
    steps = counts[:, ABOVE:].copy()
    steps[:, FALSE] += counts[:, TIED]
    sums = np.empty((len(steps) + 1, *steps.shape[1:]))
    sums[0, FALSE], sums[0, TRUE] = false, true
    if steps.shape[-1] <= FEW:
        np.cumsum(steps, axis=0, out=sums[1:])
        sums[1:] += sums[0]
    else:
        # Along the first axis numpy's cumsum takes four times as long.
        for before, step, after in zip(sums, steps, sums[1:], strict=False):
            np.add(before, step, out=after)
    false_before = sums[1:, FALSE] - counts[:, TIED]
    return _Points(sums[:-1, TRUE], false_before, sums[1:, TRUE], sums[1:, FALSE])


def areas(blocks: Iterable[Floats], positives: Floats, negatives: Floats) -> Floats:
    """auc, ap and ap_trapezoid of several weightings of one ranking, [weightings, 3].

    `blocks` are the counts of successive thresholds, [thresholds, KINDS, weightings]; positives and
    negatives [weightings] are the weights of all scores. NaN where one label has none.
    """
    true, false = np.full_like(positives, START), np.zeros_like(negatives)
    wrong, steps, steps_before = np.zeros((3, len(positives)))
    for counts in blocks:
        hits, at = counts[:, HITS], _points(counts, true, false)
        true, false = at.true[-1], at.false[-1]
        # Twice the pairs that are ranked wrongly, ties for a half: whole numbers, so no rounding.
        wrong += np.einsum("tw,tw->w", hits, at.false_before)
        wrong += np.einsum("tw,tw->w", hits, at.false)
        steps += np.einsum("tw,tw->w", hits, at.true / (at.true + at.false))
        before = at.true_before / (at.true_before + at.false_before)
        steps_before += np.einsum("tw,tw->w", hits, before)
    pairs = 2 * positives * negatives
    with np.errstate(invalid="ignore"):  # 0 / 0 where a label has no weight
        found = np.stack(
            [
                (pairs - wrong) / pairs,
                steps / positives,
                (steps + steps_before) / (2 * positives),
            ],
            axis=1,
        )
    found[pairs == 0] = np.nan
    return found


def figures_of(scores: Floats, positive: Bools, weights: Weights | None = None) -> Figures | None:
    """The figures of scores [n] with labels [n], each counted `weights` [n] times (1).

    None where only one label is present: no figure is defined then.
    """
    counted = np.ones(len(scores)) if weights is None else weights.astype(np.float64)
    positives = counted[positive].sum(keepdims=True)
    negatives = counted[~positive].sum(keepdims=True)
    if not (positives[0] and negatives[0]):
        return None
    counts = Ranking(scores, positive).counts(counted)
    return Figures(*areas([counts[:, :, None]], positives, negatives)[0].tolist())


def roc_points(counts: Floats, negatives: float) -> tuple[Floats, Floats]:
    """False and true positive rates from (0, 0) to (1, 1), of counts [thresholds, KINDS].

    Both labels must be present.
    """
    at = _points(counts[:, :, None], np.zeros(1), np.zeros(1))
    x = np.stack([at.false_before, at.false], axis=1).ravel() / negatives
    y = np.stack([at.true_before, at.true], axis=1).ravel() / at.true[-1]
    return np.concatenate(([0.0], x, [1.0])), np.concatenate(([0.0], y, [1.0]))


def pr_points(counts: Floats) -> tuple[Floats, Floats]:
    """Recall and precision from (0, 1) to recall 1, of counts [thresholds, KINDS].

    Both labels must be present.
    """
    at = _points(counts[:, :, None], np.full(1, START), np.zeros(1))
    true = np.stack([at.true_before, at.true], axis=1).ravel()
    false = np.stack([at.false_before, at.false], axis=1).ravel()
    recall = true / true[-1]
    recall[0] = 0.0
    return np.concatenate(([0.0], recall)), np.concatenate(([1.0], true / (true + false)))


def thinned(x: Floats, y: Floats, most: int) -> tuple[Floats, Floats]:
    """At most `most` points of a curve, evenly spread along its length, both ends kept."""
    if len(x) <= most:
        return x, y
    length = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))))
    wanted = np.linspace(0.0, length[-1], most)
    kept = np.unique(np.append(np.searchsorted(length, wanted[:-1]), len(x) - 1))
    return x[kept], y[kept]
