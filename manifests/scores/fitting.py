"""The scores of a video laid on its frames: every frame has exactly one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cache.errors import ConfigError
from manifests.scores.contract import Floats, Ints, Unit, VideoScores
from manifests.scores.units import Fitting, Length


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """Runs of frames with one score, from frame 0 on without a gap; arrays are [runs]."""

    start: Ints
    """First frame of every run; neighbours differ in their scores."""
    score: Floats
    unsmoothed: Floats | None
    frames: int
    """So many frames have a score."""
    cut: int = 0
    """So many frames after the end of the video had a score too."""


def lay(
    scores: VideoScores, length: Length, unit: Unit, fitting: Fitting, longest: int | None = None
) -> Stretches:
    """Lay the scores of a video on its frames.

    `unit` is what a plain list is of. A score that has only a first frame holds until the next one;
    the last one holds as long as the longest before it, or `longest` frames where it is alone, or
    to the end where there is no such length. Raises ConfigError, with the video's name, for the
    first frames that have no score or two; `fitting.short` frames at the end may have none.
    """
    if scores.start is None:
        frames = fitting.covered(len(scores.score), unit, length.frames)
        size = fitting.clip if unit == "clip" else 1
        start = np.arange(len(scores.score), dtype=np.int64) * size
        return _merged(scores, start, frames, 0)
    end = scores.end if scores.end is not None else _ends(scores.start, length, longest)
    _require_no_gap(scores.video, scores.start, end)
    last, beyond = int(end[-1]), int(end[-1]) - length.frames
    hint = _hint(scores.start, end)
    if beyond > 0 and (scores.start[-1] >= length.frames or beyond >= fitting.clip):
        raise ConfigError(
            f"{scores.video}: its scores reach to frame {last}, the video has {length.frames} "
            "frames; they are of another copy of it" + hint
        )
    if last < length.evaluated - fitting.short:
        raise ConfigError(
            f"{scores.video}: its scores end at frame {last}, the video has {length.frames} frames; "
            f"--allow-short {length.evaluated - last} leaves out those without a score" + hint
        )
    return _merged(scores, scores.start, min(last, length.frames), max(beyond, 0))


def longest_step(start: Ints) -> int | None:
    """The most frames between two neighbouring starts; None for a single one."""
    return int(np.diff(start).max()) if len(start) > 1 else None


def _ends(start: Ints, length: Length, longest: int | None) -> Ints:
    reach = longest_step(start) or longest
    last = length.frames if reach is None else min(int(start[-1]) + reach, length.frames)
    return np.append(start[1:], max(last, int(start[-1]) + 1))


def _require_no_gap(video: str, start: Ints, end: Ints) -> None:
    if start[0] != 0:
        raise ConfigError(
            f"{video}: frames 0 to {start[0] - 1} have no score: the first one starts at frame "
            f"{start[0]}; frames are counted from 0"
        )
    wrong = np.flatnonzero(end[:-1] != start[1:])
    if not len(wrong):
        return
    at = int(wrong[0])
    one, two = f"[{start[at]}, {end[at]})", f"[{start[at + 1]}, {end[at + 1]})"
    if end[at] < start[at + 1]:
        text = f"no score is given for frames {end[at]} to {start[at + 1] - 1}, between {one} and {two}"
    else:
        text = f"frame {start[at + 1]} has two scores, of {one} and {two}"
    raise ConfigError(f"{video}: {text}{_hint(start, end)}")


def _hint(start: Ints, end: Ints) -> str:
    """What is likely where every interval ends one frame before the next one starts."""
    if len(start) > 1 and (start[1:] - end[:-1] == 1).all():
        return "; the ends seem to be the last frames: write one past them"
    return ""


def _merged(scores: VideoScores, start: Ints, frames: int, cut: int) -> Stretches:
    """Neighbours of the same score as one run: a score per frame costs no more than one per clip."""
    score, before = scores.score, scores.unsmoothed
    keep = np.ones(len(score), dtype=np.bool_)
    keep[1:] = score[1:] != score[:-1]
    if before is not None:
        keep[1:] |= before[1:] != before[:-1]
    return Stretches(
        start[keep], score[keep], None if before is None else before[keep], frames, cut
    )
