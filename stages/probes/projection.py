"""Rows of many dimensions in the plane: principal components, and t-SNE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from stages.probes.spans import Floats

COMPONENTS = 50
"""t-SNE sees so many principal components, as its authors advise against noise and slowness."""
LEAST = 5
"""Rows below which neighbourhoods mean nothing."""
SPREAD = 1e-4
"""Deviation of the first coordinate at the start of t-SNE, scikit-learn's value."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Rows in the plane."""

    points: Floats | None
    """[rows, 2]; None where there is no such picture."""
    record: dict[str, Any]
    """How good the picture is, and with what it was made."""
    note: str = ""
    """What was made otherwise than asked for, or not at all."""


def principal(rows: Floats) -> Projection:
    """The first two principal components of rows [n, dim].

    `explained` in the record are their shares of the variance. The sign of a component, which means
    nothing, is such that its largest coordinate is positive.
    """
    scores, shares = _components(rows)
    return Projection(scores[:, :2], {"explained": shares[:2].tolist()})


def neighbours(rows: Floats, *, perplexity: float, iterations: int, seed: int) -> Projection:
    """t-SNE (van der Maaten and Hinton 2008) of rows [n, dim] by scikit-learn, on one thread.

    It begins at the principal components. The perplexity is at most (n - 1) / 3. `kl` in the record
    is the divergence that was reached, `iterations` after how many steps.
    """
    from sklearn.manifold import TSNE

    scores, _ = _components(rows)
    spread = float(scores[:, 0].std())
    if len(rows) < LEAST or not spread > 0:
        why = f"{len(rows)} rows are too few" if len(rows) < LEAST else "all rows are the same"
        return Projection(None, {"kl": None}, f"no t-SNE: {why}")
    used = min(perplexity, (len(rows) - 1) / 3)
    start = (scores[:, :2] / spread * SPREAD).astype(np.float32)
    model = TSNE(
        perplexity=used,
        init=start,
        learning_rate="auto",
        max_iter=iterations,
        random_state=seed,
        n_jobs=1,
    )
    # One thread: forces are summed in an order that depends on the number of threads.
    with threadpool_limits(limits=1):
        points = model.fit_transform(scores[:, :COMPONENTS].astype(np.float32))
    record = {"kl": float(model.kl_divergence_), "iterations": int(model.n_iter_) + 1}
    note = f"perplexity {used:.3g} instead of {perplexity:g}: there are {len(rows)} rows"
    return Projection(
        np.asarray(points, dtype=np.float64),
        {**record, "perplexity": used},
        note if used < perplexity else "",
    )


def _components(rows: Floats) -> tuple[Floats, Floats]:
    """All principal components of rows [n, dim], at least 2, and their shares of the variance."""
    with threadpool_limits(limits=1):
        centred = rows - rows.mean(axis=0)
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    scores = left * sizes
    if scores.shape[1] < 2:
        scores = np.pad(scores, ((0, 0), (0, 2 - scores.shape[1])))
        sizes = np.pad(sizes, (0, 2 - len(sizes)))
    largest = scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])]
    scores = np.where(largest < 0, -scores, scores)
    total = float((sizes**2).sum())
    return scores, sizes**2 / total if total > 0 else np.zeros_like(sizes)
