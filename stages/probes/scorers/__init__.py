"""Scorers: from the hidden states of one layer to how anomalous a segment is.

A new kind is one class with the methods of `Scorer` and one line in SCORERS. Scoring is plain
NumPy; only `fit` needs scikit-learn.
"""

from stages.probes.scorers.contract import FitOptions, FitReport, Rows, Scorer
from stages.probes.scorers.distance import DistanceScorer, MahalanobisScorer
from stages.probes.scorers.logistic import LogisticScorer
from stages.probes.scorers.registry import SCORERS, load_scorer, save_scorer
from stages.probes.scorers.rowwise import sigmoid
from stages.probes.scorers.svm import SvmScorer

__all__ = [
    "SCORERS",
    "DistanceScorer",
    "FitOptions",
    "FitReport",
    "LogisticScorer",
    "MahalanobisScorer",
    "Rows",
    "Scorer",
    "SvmScorer",
    "load_scorer",
    "save_scorer",
    "sigmoid",
]
