"""Folds of whole videos: what is held out together when a probe is judged on training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.probes.spans import Ints

NONE = -1
"""Fold of a video where there are no folds."""


def video_folds(labels: Sequence[Ints], folds: int, seed: int) -> Ints:
    """Fold of every video, 0 to k - 1, int64 [videos]; every one NONE where there cannot be two.

    `labels` are the segment labels of every video, as `segment_labels` gives them. A video is in
    one fold with all of its segments, which resemble one another: a row is never judged by a probe
    that has seen its neighbours. k is `folds`, or the number of videos of the smaller class where
    that is less, so that every fold, and what is left without it, has videos of both classes. A
    video is anomalous that has an anomalous segment. Folds differ by at most one video, in each
    class and in all. The same labels and seed give the same folds.
    """
    anomalous = np.asarray([bool(np.any(found)) for found in labels], dtype=bool)
    n_anomalous = int(anomalous.sum())
    found = min(folds, n_anomalous, len(labels) - n_anomalous)
    fold: Ints = np.full(len(labels), NONE, dtype=np.int64)
    if found < 2:
        return fold
    rng = np.random.default_rng(seed)
    # The anomalous videos are dealt on from where the normal ones ended, and none gets two more.
    dealt = [rng.permutation(np.flatnonzero(anomalous == kind)) for kind in (False, True)]
    fold[np.concatenate(dealt)] = np.arange(len(labels)) % found
    return fold
