"""How far scores can be read as probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.probes.metrics import Bools, Weights
from stages.probes.spans import Floats

BINS = 15
ROUNDING = 1e-9
"""How far smoothing may carry a probability over 0 or 1."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Errors of scores as probabilities of an anomalous frame; 0 is best."""

    ece: float
    """Expected calibration error: over BINS equally wide bins of the score, the mean of the
    distance between mean score and share of anomalous frames, weighted by frames (Guo et al.,
    arXiv 1706.04599, equation 3). A bin holds its upper border, the first one 0 too."""
    brier: float
    """Mean squared distance between score and label (scikit-learn's brier_score_loss)."""
    base_rate_brier: float
    """The Brier score of a score that is the share of anomalous frames everywhere: what a
    calibrated score that tells nothing apart has."""


def calibration_of(scores: Floats, positive: Bools, weights: Weights) -> Calibration | None:
    """The calibration of scores [n] with labels [n], each counted `weights` [n] times.

    None where a score lies outside [0, 1]. Of the scorers only `logistic` gives a probability;
    where the classes of the probing subset are resampled or weighted, or the smoothing mixes
    segments, it need not be one of this data set's frames.
    """
    if scores.min() < -ROUNDING or scores.max() > 1 + ROUNDING:
        return None
    scores, total = scores.clip(0.0, 1.0), float(weights.sum())
    bins = np.searchsorted(np.arange(1, BINS) / BINS, scores)
    said = np.bincount(bins, weights * scores, BINS)
    found = np.bincount(bins, weights * positive, BINS)
    rate = float(found.sum()) / total
    return Calibration(
        ece=float(np.abs(said - found).sum()) / total,
        brier=float((weights * np.square(scores - positive)).sum()) / total,
        base_rate_brier=rate * (1 - rate),
    )
