"""Scorers: from the hidden states of one layer to the probability of an anomaly.

A new kind is one class with the methods of `Scorer` and one line in SCORERS. Scoring is plain
NumPy; only `fit` needs scikit-learn.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from cache.digest import read_json
from cache.errors import ConfigError, DamagedArtifact
from stages.probes.spans import Floats, Ints

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How a scorer is fitted."""

    c: float
    """Inverse strength of the L2 penalty."""
    standardise: bool
    """Subtract the mean and divide by the standard deviation of the fitted rows."""
    balance: str
    """weights, resample or none."""
    max_iter: int
    seed: int


@dataclass(frozen=True, slots=True)
class FitReport:
    """How a fit ended."""

    iterations: int
    converged: bool


class Scorer(Protocol):
    """A fitted scorer."""

    kind: ClassVar[str]

    @classmethod
    def fit(cls, rows: Rows, labels: Ints, options: FitOptions) -> tuple[Self, FitReport]:
        """Fit to rows [n, dim] with labels [n] of 0 and 1, both present."""
        ...

    def score(self, rows: Rows) -> Floats:
        """Probability of an anomaly, float64 [n], of rows [n, dim]."""
        ...

    def tensors(self) -> dict[str, Floats]:
        """The parameters by name, float64."""
        ...

    @classmethod
    def from_tensors(cls, tensors: dict[str, Floats]) -> Self:
        """The scorer that gave these tensors."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LogisticScorer:
    """Logistic regression on standardised rows, the scorer of HiProbe-VAD (arXiv 2507.17394)."""

    kind: ClassVar[str] = "logistic"
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
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        mean, scale = _standard(rows) if options.standardise else _identity(rows.shape[1])
        chosen = (
            _resampled(labels, options.seed)
            if options.balance == "resample"
            else np.arange(len(labels))
        )
        model = LogisticRegression(
            C=options.c,
            class_weight="balanced" if options.balance == "weights" else None,
            max_iter=options.max_iter,
        )
        # One thread: the sums of a threaded matrix product depend on the number of threads.
        with threadpool_limits(limits=1), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(((rows - mean) / scale)[chosen], labels[chosen])
        failed = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
        for other in (w for w in caught if w not in failed):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        weight = np.ascontiguousarray(model.coef_[0], dtype=np.float64)
        bias = np.asarray(model.intercept_, dtype=np.float64)
        report = FitReport(int(model.n_iter_[0]), not failed)
        return cls(weight, bias, mean, scale), report

    def score(self, rows: Rows) -> Floats:
        """sigmoid(weight . (row - mean) / scale + bias), float64 [n].

        Without BLAS, so that a row's score does not depend on the rows beside it.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.weight):
            raise ConfigError(
                f"the scorer was fitted on [n, {len(self.weight)}], hidden states are "
                f"{list(rows.shape)}; fit it again on features of this backbone"
            )
        standard = np.ascontiguousarray((rows - self.mean) / self.scale)
        return sigmoid(np.einsum("nd,d->n", standard, self.weight) + self.bias[0])

    def tensors(self) -> dict[str, Floats]:
        """weight [dim], bias [1], mean [dim], scale [dim]."""
        return {"weight": self.weight, "bias": self.bias, "mean": self.mean, "scale": self.scale}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Floats]) -> Self:
        """The scorer that gave these tensors; raises DamagedArtifact where one is missing."""
        names = ("weight", "bias", "mean", "scale")
        if set(tensors) != set(names):
            raise DamagedArtifact(f"a logistic scorer holds {names}, found {sorted(tensors)}")
        return cls(*(tensors[name] for name in names))


SCORERS: dict[str, type[Scorer]] = {LogisticScorer.kind: LogisticScorer}
"""Scorers by kind."""


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), with no overflow at either end."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)


def save_scorer(path: Path, scorer: Scorer) -> None:
    """Write a scorer's tensors as safetensors."""
    save_file(dict(scorer.tensors()), path)


def load_scorer(folder: Path) -> Scorer:
    """The scorer in a folder that holds scorer.json and scorer.safetensors.

    Raises ConfigError for a kind that this version does not know.
    """
    kind = read_json(folder / "scorer.json")["kind"]
    if kind not in SCORERS:
        raise ConfigError(f"scorer.json: kind {kind!r} is unknown, expected one of {list(SCORERS)}")
    return SCORERS[kind].from_tensors(load_file(folder / "scorer.safetensors"))


def _identity(dim: int) -> tuple[Floats, Floats]:
    return np.zeros(dim), np.ones(dim)


def _standard(rows: Rows) -> tuple[Floats, Floats]:
    """Mean and population standard deviation per dimension, 1 for a dimension that is constant."""
    mean = rows.mean(axis=0, dtype=np.float64)
    scale = rows.std(axis=0, dtype=np.float64)
    # Equal float32 values add up exactly in float64, so a constant dimension has exactly 0 here.
    scale[scale == 0] = 1.0
    return mean, scale


def _resampled(labels: Ints, seed: int) -> Ints:
    """Row numbers in which both classes are equally frequent.

    Every row of the smaller class is repeated the same number of times; the remainder is drawn
    without replacement, so that no row counts more than once more than another.
    """
    normal, anomalous = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    small, large = sorted((normal, anomalous), key=len)
    times, rest = divmod(len(large), len(small))
    extra = np.random.default_rng(seed).choice(small, rest, replace=False)
    return np.sort(np.concatenate([large, np.tile(small, times), extra])).astype(np.int64)
