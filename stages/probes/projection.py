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


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """All principal components of some rows; made by `components_of`."""

    scores: Floats
    """[rows, components], at least two of them."""
    shares: Floats
    """Of the variance, [components]; 0 where nothing varies."""


def principal(components: Components) -> Projection:
    """The first two components; `explained` in the record are their shares of the variance."""
    return Projection(components.scores[:, :2], {"explained": components.shares[:2].tolist()})


def neighbours(
    components: Components, *, perplexity: float, iterations: int, seed: int
) -> Projection:
    """t-SNE (van der Maaten and Hinton 2008) by scikit-learn, on one thread.

    It begins at the first two components. The perplexity is at most (n - 1) / 3. `kl` in the record
    is the divergence that was reached, `iterations` after how many steps.
    """
    from sklearn.manifold import TSNE

    scores = components.scores
    count, spread = len(scores), float(scores[:, 0].std())
    if count < LEAST or not spread > 0:
        why = f"{count} rows are too few" if count < LEAST else "all rows are the same"
        return Projection(None, {"kl": None}, f"no t-SNE: {why}")
    used = min(perplexity, (count - 1) / 3)
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
    note = f"perplexity {used:.3g} instead of {perplexity:g}: there are {count} rows"
    return Projection(
        np.asarray(points, dtype=np.float64),
        {**record, "perplexity": used},
        note if used < perplexity else "",
    )


def components_of(rows: Floats) -> Components:
    """The principal components of rows [n, dim], on one thread.

    The sign of a component, which means nothing, is such that its largest coordinate is positive.
    """
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
    return Components(scores, sizes**2 / total if total > 0 else np.zeros_like(sizes))
