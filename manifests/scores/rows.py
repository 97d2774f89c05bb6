"""Scores as rows: one video's values with their frame or clip numbers, put in order."""

from __future__ import annotations

import numpy as np

from cache.errors import ConfigError
from manifests.scores.contract import Floats, Ints, VideoScores


def intervals_of(
    video: str, start: Ints, end: Ints, score: Floats, unsmoothed: Floats | None = None
) -> VideoScores:
    """Scores of intervals [start, end) of frames, in any order; whether they fit is seen later."""
    if (end <= start).any():
        row = int(np.flatnonzero(end <= start)[0])
        raise ConfigError(
            f"{video}: the interval [{start[row]}, {end[row]}) holds no frame; frames are counted "
            "from 0 and the end is one past the last frame"
        )
    order = np.argsort(start, kind="stable")
    return VideoScores(
        video, score[order], start[order], end[order], unsmoothed=_ordered(unsmoothed, order)
    )


def starts_of(
    video: str, start: Ints, score: Floats, unsmoothed: Floats | None = None
) -> VideoScores:
    """Scores that hold from their frame until the next one starts, in any order.

    Raises ConfigError for a frame that is given twice.
    """
    order = np.argsort(start, kind="stable")
    _refuse_twice(video, "frame", start[order])
    return VideoScores(video, score[order], start[order], unsmoothed=_ordered(unsmoothed, order))


def clips_of(
    video: str, clip: Ints, score: Floats, unsmoothed: Floats | None = None
) -> VideoScores:
    """Scores of numbered clips, in any order.

    Raises ConfigError unless the numbers run from 0 without a gap.
    """
    order = np.argsort(clip, kind="stable")
    numbers = clip[order]
    _refuse_twice(video, "clip", numbers)
    wrong = np.flatnonzero(numbers != np.arange(len(numbers)))
    if len(wrong):
        raise ConfigError(
            f"{video}: clip {wrong[0]} is not given, {len(numbers)} clips up to clip {numbers[-1]} "
            "are; clips are counted from 0"
        )
    return VideoScores(video, score[order], unit="clip", unsmoothed=_ordered(unsmoothed, order))


def _refuse_twice(video: str, what: str, numbers: Ints) -> None:
    twice = np.flatnonzero(np.diff(numbers) == 0)
    if len(twice):
        raise ConfigError(f"{video}: {what} {numbers[twice[0]]} has more than one score")


def _ordered(values: Floats | None, order: Ints) -> Floats | None:
    return None if values is None else values[order]
