"""Logistic regression by L-BFGS over rows that do not fit in memory.

The loss is scikit-learn's, and so are start, line search and stopping rule, which makes the
coefficients the same up to rounding; but the loss and its gradient are sums over blocks of rows, and
nothing larger than a block is held. One evaluation is one pass over the rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cache.errors import ConfigError
from stages.probes.scorers.chunks import Chunks, moments
from stages.probes.scorers.contract import FitOptions, FitReport, Rows
from stages.probes.scorers.fitting import one_thread, row_weights
from stages.probes.scorers.logistic import LogisticScorer
from stages.probes.scorers.logistic_loss import LogisticLoss
from stages.probes.spans import Floats, Ints

TOLERANCE = 1e-4
"""A fit has converged where no number of the gradient of the mean loss is larger."""
LEAST_PROGRESS = 64 * float(np.finfo(np.float64).eps)
"""Or where a step changes the loss by less than this part of it: no float64 can tell any more."""
LINE_SEARCH = 50
"""Most evaluations in one line search."""


def fit_logistic(
    chunks: Chunks, labels: Ints, dim: int, options: FitOptions
) -> tuple[LogisticScorer, FitReport]:
    """Fit to rows [n, dim] that come in chunks, with labels [n] of 0 and 1, both present.

    Balancing and standardisation are those of `LogisticScorer.fit`. Raises ConfigError for rows that
    are not finite or not n.
    """
    from scipy.optimize import minimize

    with one_thread():
        mean, scale = _standard(chunks, labels, dim, options)
        loss = LogisticLoss(chunks, labels, row_weights(labels, options), mean, scale, options.c)
        found = minimize(
            loss,
            np.zeros(dim + 1),
            method="L-BFGS-B",
            jac=True,
            options={
                "maxiter": options.max_iter,
                # The steps are limited, and nothing else.
                "maxfun": options.max_iter * LINE_SEARCH,
                "maxls": LINE_SEARCH,
                "gtol": TOLERANCE,
                "ftol": LEAST_PROGRESS,
            },
        )
    report = FitReport(
        iterations=int(found.nit),
        converged=bool(found.success),
        loss=float(found.fun),
        gradient=float(np.abs(found.jac).max()),
    )
    return LogisticScorer(found.x[:-1].copy(), found.x[-1:].copy(), mean, scale), report


def _standard(chunks: Chunks, labels: Ints, dim: int, options: FitOptions) -> tuple[Floats, Floats]:
    """Mean and scale of the rows; a look at all of them even where they are fitted as they are."""
    count = 0

    def counted() -> Iterator[Rows]:
        nonlocal count
        for rows in chunks():
            if not np.isfinite(rows).all():
                at = count + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
                raise ConfigError(f"row {at} of the rows to fit is not finite; compute it again")
            count += len(rows)
            yield rows

    mean, scale = moments(counted, dim)
    if count != len(labels):
        raise ConfigError(f"{count} rows came, {len(labels)} are labelled; they must be as many")
    return (mean, scale) if options.standardise else (np.zeros(dim), np.ones(dim))
