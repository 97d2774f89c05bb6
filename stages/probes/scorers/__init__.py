"""Scorers: from hidden states or attention heads to how anomalous a segment is.

A new kind is one class with the methods of `Scorer` and one line in SCORERS. Scoring is plain
NumPy; only `fit` needs scikit-learn.
"""

from stages.probes.scorers.contract import (
    FitOptions,
    FitReport,
    Rows,
    Scorer,
    SteerOptions,
)
from stages.probes.scorers.distance import DistanceScorer, MahalanobisScorer
from stages.probes.scorers.logistic import LogisticScorer
from stages.probes.scorers.mlp import MlpScorer
from stages.probes.scorers.registry import SCORERS, load_scorer, save_scorer
from stages.probes.scorers.rowwise import sigmoid
from stages.probes.scorers.steer import SteerScorer
from stages.probes.scorers.streaming import fit_logistic
from stages.probes.scorers.svm import SvmScorer

__all__ = [
    "SCORERS",
    "DistanceScorer",
    "FitOptions",
    "FitReport",
    "LogisticScorer",
    "MahalanobisScorer",
    "MlpScorer",
    "Rows",
    "Scorer",
    "SteerOptions",
    "SteerScorer",
    "SvmScorer",
    "fit_logistic",
    "load_scorer",
    "save_scorer",
    "sigmoid",
]
