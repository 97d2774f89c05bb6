"""How well a probe at each layer tells the classes apart in videos that it was not fitted on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dask
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from threadpoolctl import threadpool_limits

from stages.probes.scorers import FitOptions, LogisticScorer, Rows
from stages.probes.spans import Floats, Ints
from stages.probes.states import ReadLayer

REPLICATES = 64
"""Replicates that are counted at a time: 10 MB for 20,000 rows."""
FITTING = threading.Lock()
"""One fit at a time: how it catches a solver's warning concerns the whole process."""


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """Areas under the ROC curve of held-out rows, layers in the order of their numbers."""

    mean: Floats
    """Mean over the folds of the area of the rows of each fold, [layers].

    The rows of a fold are scored by one probe. In one pool the scores of as many probes as there are
    folds are compared with each other, and every probe has an offset and a spread of its own.
    """
    deviation: Floats
    """Deviation (ddof 0) over the folds, [layers]."""
    pooled: Floats
    """The area of the rows of all folds in one pool, [layers]."""
    not_converged: Ints
    """Folds whose fit had not converged, [layers]."""
    replicates: Floats
    """`mean` where videos are drawn again, [replicates, layers], held-out scores as they are: folds
    without both classes take no part, and NaN stands where no fold has both."""


def cross_validate(
    videos: Sequence[ReadLayer],
    labels: Sequence[Ints],
    fold: Ints,
    layers: Sequence[int],
    *,
    options: FitOptions,
    draws: Ints,
    workers: int,
    progress: Callable[[float, float], None],
) -> CrossValidation:
    """Fit a logistic regression without each fold of videos, and score that fold with it.

    `labels` holds the labels of every video's segments, `fold` [videos] their folds, each of which
    must have both classes, and `draws` [replicates, videos] is how often a replicate takes each
    video. `workers` layers are computed at a time, each of which is in memory whole; the result does
    not depend on it by a single bit.
    """
    rows = _Rows.of(labels, fold)
    found: list[_OfLayer] = []
    # One BLAS thread: the sums of a threaded matrix product depend on the number of threads.
    with threadpool_limits(limits=1):
        for start in range(0, len(layers), workers):
            some = layers[start : start + workers]
            tasks = [dask.delayed(_of_layer)(videos, n, rows, options, draws) for n in some]
            found += dask.compute(*tasks, scheduler="threads", num_workers=workers)
            progress(len(found), len(layers))
    return CrossValidation(
        np.asarray([np.mean(one.folds) for one in found]),
        np.asarray([np.std(one.folds) for one in found]),
        np.asarray([one.pooled for one in found]),
        np.asarray([one.not_converged for one in found], dtype=np.int64),
        np.stack([one.replicates for one in found], axis=1),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Of every row, video after video: label, number of the video, and fold."""

    label: Ints
    video: Ints
    fold: Ints

    @classmethod
    def of(cls, labels: Sequence[Ints], fold: Ints) -> _Rows:
        video = np.repeat(np.arange(len(labels)), [len(part) for part in labels])
        return cls(np.concatenate(labels), video, fold[video])


@dataclass(frozen=True, slots=True, eq=False)
class _OfLayer:
    folds: list[float]
    pooled: float
    not_converged: int
    replicates: Floats


def _of_layer(
    videos: Sequence[ReadLayer], layer: int, rows: _Rows, options: FitOptions, draws: Ints
) -> _OfLayer:
    scores, not_converged = held_out(
        np.concatenate([read(layer) for read in videos]), rows.label, rows.fold, options
    )
    once = np.ones((1, draws.shape[1]), dtype=np.int64)
    both = np.concatenate([once, draws])
    folds = []
    for number in range(int(rows.fold.max()) + 1):
        part = rows.fold == number
        folds.append(areas(scores[part], rows.label[part] == 1, rows.video[part], both))
    areas_of = np.stack(folds)
    pooled = areas(scores, rows.label == 1, rows.video, once)[0]
    return _OfLayer(areas_of[:, 0].tolist(), float(pooled), not_converged, _mean(areas_of[:, 1:]))


def held_out(rows: Rows, labels: Ints, fold: Ints, options: FitOptions) -> tuple[Floats, int]:
    """Scores of rows [n, dim] by probes that were fitted without their fold, [n].

    Also how many of the fits had not converged. `fold` [n] counts from 0; the rows without any one
    fold must have both classes.
    """
    scores = np.empty(len(rows))
    not_converged = 0
    for number in range(int(fold.max()) + 1):
        out = fold == number
        seen, their = rows[~out], labels[~out]
        with FITTING:
            scorer, report = LogisticScorer.fit(seen, their, options)
        scores[out] = scorer.score(rows[out])
        not_converged += not report.converged
    return scores, not_converged


def areas(scores: Floats, positive: npt.NDArray[np.bool_], video: Ints, draws: Ints) -> Floats:
    """Area under the ROC curve of scores [n] in every draw of videos, [draws]; ties count half.

    `video` [n] is the number of the video of each, `draws` [draws, videos] how often each video is
    taken: whole numbers are added up, so that the area is exact. NaN where one class is not drawn.
    """
    _, group = np.unique(scores, return_inverse=True)
    shape = (int(group.max()) + 1, draws.shape[1])
    counts = [
        coo_array((np.ones(int(of.sum())), (group[of], video[of])), shape).tocsr()
        for of in (positive, ~positive)
    ]
    found = np.full(len(draws), np.nan)
    for start in range(0, len(draws), REPLICATES):
        part = slice(start, start + REPLICATES)
        times = draws[part].T.astype(np.float64)
        hits, others = (count @ times for count in counts)
        below = np.cumsum(others, axis=0)
        # Pairs that are ranked rightly, twice, ties once.
        right = np.einsum("gd,gd->d", hits, 2 * below - others)
        pairs = 2 * hits.sum(axis=0) * others.sum(axis=0)
        np.divide(right, pairs, out=found[part], where=pairs > 0)
    return found


def _mean(values: Floats) -> Floats:
    """Mean of [folds, replicates] over the folds that have a value, NaN where none has."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0)
    found = np.full(values.shape[1], np.nan)
    np.divide(total, count, out=found, where=count > 0)
    return found
