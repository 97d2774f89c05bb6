"""Scores made from labels or lengths alone, without a pixel: what a real score must beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stages.probes.frames import EvaluatedVideo, frame_labels
from stages.probes.metrics import Figures, figures_of
from stages.probes.spans import Floats


def centre_gaussian(n_frames: int) -> Floats:
    """exp(-((x - n // 2) / (n / 2))^2 / 2) for frame x of n, [frames]."""
    x = np.arange(n_frames)
    return np.exp(-np.square((x - n_frames // 2) / (n_frames / 2)) / 2)


def constant_oracle(videos: Sequence[EvaluatedVideo]) -> Figures | None:
    """Every frame carries its video's label."""
    return _constant(videos, lambda video: float(video.truth.label))


def inverse_length(videos: Sequence[EvaluatedVideo]) -> Figures | None:
    """Every frame carries 1 / frames of its video."""
    return _constant(videos, lambda video: 1.0 / video.n_frames)


def gaussian_alone(videos: Sequence[EvaluatedVideo]) -> Figures | None:
    """Every frame carries the centre Gaussian of its video."""
    return _gaussian(videos, oracle=False)


def gaussian_oracle(videos: Sequence[EvaluatedVideo]) -> Figures | None:
    """The centre Gaussian in anomalous videos, 0 in normal ones."""
    return _gaussian(videos, oracle=True)


BASELINES: dict[str, Callable[[Sequence[EvaluatedVideo]], Figures | None]] = {
    "constant_oracle": constant_oracle,
    "constant_oracle_x_centre_gaussian": gaussian_oracle,
    "centre_gaussian": gaussian_alone,
    "inverse_length": inverse_length,
}


def _constant(
    videos: Sequence[EvaluatedVideo], score: Callable[[EvaluatedVideo], float]
) -> Figures | None:
    """A video is two numbers: its normal and its anomalous frames."""
    scores = np.repeat([score(video) for video in videos], 2)
    labels = np.tile([False, True], len(videos))
    positive = [int(video.frames[video.positive].sum()) for video in videos]
    frames = [[v.n_frames - p, p] for v, p in zip(videos, positive, strict=True)]
    return figures_of(scores, labels, np.asarray(frames).ravel())


def _gaussian(videos: Sequence[EvaluatedVideo], *, oracle: bool) -> Figures | None:
    """The one score that differs from frame to frame.

    Frames of a normal video are one entry under the oracle, which gives them all 0.
    """
    scores, positive, weights = [], [], []
    for video in videos:
        n = video.n_frames
        if oracle and not video.truth.label:
            scores.append(np.zeros(1))
            positive.append(np.zeros(1, dtype=np.bool_))
            weights.append(np.asarray([n]))
        else:
            scores.append(centre_gaussian(n))
            positive.append(frame_labels(video.truth, n).astype(np.bool_))
            weights.append(np.ones(n, dtype=np.int64))
    return figures_of(np.concatenate(scores), np.concatenate(positive), np.concatenate(weights))
