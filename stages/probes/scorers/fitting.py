"""What fits share: standardisation, resampling, and one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from stages.probes.scorers.contract import FitOptions, Rows
from stages.probes.spans import Floats, Ints


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums of a threaded matrix product depend on the number of threads."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def standard(rows: Rows, options: FitOptions) -> tuple[Floats, Floats]:
    """Mean and population standard deviation per dimension, 1 for a dimension that is constant.

    Of all rows as they are given, balanced or not; 0 and 1 where rows are fitted as they are.
    """
    if not options.standardise:
        return np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    mean = rows.mean(axis=0, dtype=np.float64)
    scale = rows.std(axis=0, dtype=np.float64)
    # Equal float32 values add up exactly in float64, so a constant dimension has exactly 0 here.
    scale[scale == 0] = 1.0
    return mean, scale


def fitted_rows(labels: Ints, options: FitOptions) -> Ints:
    """Numbers of the rows that are fitted: every one once, or both classes equally frequent."""
    if options.balance == "resample":
        return _resampled(labels, options.seed)
    return np.arange(len(labels), dtype=np.int64)


def row_weights(labels: Ints, options: FitOptions) -> Floats:
    """What every row counts in a loss, float64 [n]: how often it is fitted, times its class's weight.

    With `weights` both classes add up to half of the rows, as scikit-learn's "balanced" has it.
    """
    weights = np.bincount(fitted_rows(labels, options), minlength=len(labels)).astype(np.float64)
    if options.balance == "weights":
        weights *= (len(labels) / (2.0 * np.bincount(labels)))[labels]
    return weights


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
