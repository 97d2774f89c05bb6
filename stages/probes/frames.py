"""The frames of the test videos as pieces: runs with one score and one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from cache.errors import ConfigError
from stages.probes.metrics import Bools
from stages.probes.spans import Floats, Ints, Spans

Range = tuple[int, int]
"""First frame, and one past the last."""

View = Literal["exact", "floor16", "inclusive"]
"""How an annotation "s e" of a video of n frames becomes frame labels y, counted from 0.

exact: y[s:min(e, n)] = 1 of n frames. inclusive: y[s:e + 1] = 1, so that "5 5" is one frame.
floor16: exact, and only the first 16 * (n // 16) frames are evaluated, labels and scores alike, as
by those whose features hold 16 frames each.
"""
VIEWS: tuple[View, ...] = get_args(View)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is annotated of a test video, fitted to the frames that are evaluated."""

    label: int
    """0 normal, 1 anomalous."""
    class_name: str
    """Its class, such as Fighting or Normal."""
    intervals: tuple[Range, ...]
    """Half-open, sorted, disjoint (overlapping annotations are joined), in the evaluated frames."""
    n_frames: int
    """Frames of the video."""
    evaluated: int
    """The first so many of them are evaluated."""
    listed: int | None = None
    """Frames that a list gives the video; None where none does."""
    clipped: tuple[Range, ...] = ()
    """Annotations, as given, that end past the video."""
    left_out: tuple[Range, ...] = ()
    """Annotations, as given, that lie in frames of the video which the view does not evaluate."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A detected interval: half-open, in frames."""

    start: int
    end: int
    score: float
    """What detections are ranked by: the highest smoothed score in the interval."""

    @property
    def span(self) -> Range:
        """Its frames."""
        return self.start, self.end


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedVideo:
    """One evaluated video. Arrays are [pieces]; a piece lies in one run and has one label."""

    video_id: str
    truth: Truth
    frames: Ints
    """Frames of every piece."""
    positive: Bools
    """Whether its frames are annotated as anomalous."""
    smoothed: Floats
    score: Floats
    """The score before smoothing."""
    threshold: float | None
    """None where nobody has set one: nothing is detected then."""
    detected: tuple[Detection, ...]
    """In the evaluated frames, in the order given."""
    seconds: float | None
    """Length of the evaluated frames; None where it is not known."""

    @property
    def n_frames(self) -> int:
        """Evaluated frames of the video."""
        return self.truth.evaluated


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The pieces of several videos, one after the other; arrays are [pieces]."""

    video: Ints
    """Number of the video of every piece."""
    frames: Ints
    positive: Bools
    smoothed: Floats
    score: Floats
    above: Bools | None
    """Whether the smoothed score is strictly above the threshold; None where a video has none."""


def evaluated_frames(n_frames: int, view: View) -> int:
    """How many frames of a video are evaluated: the first so many."""
    return n_frames // 16 * 16 if view == "floor16" else n_frames


def read_truth(
    video_id: str, entry: Mapping[str, Any], n_frames: int, view: View = "exact"
) -> Truth:
    """Check the annotation of a test video of `n_frames` frames and read it in this view.

    `entry` is {"label": 0 | 1, "class": str, "intervals": [[s, e], ...], "listed_frames": frames
    that a list gives the video, or None}. An interval that ends past the video is clipped and
    recorded. Raises ConfigError for one that starts past the end, holds no frame, or contradicts the
    label, and for a video of which the view evaluates no frame.
    """
    label, given = entry["label"], sorted((int(s), int(e)) for s, e in entry["intervals"])
    if label not in (0, 1):
        raise ConfigError(f"{video_id}: label is {label!r}, expected 0 (normal) or 1 (anomalous)")
    if bool(given) != bool(label):
        raise ConfigError(
            f"{video_id}: label is {label} and {len(given)} intervals are annotated; an "
            "anomalous test video needs at least one, a normal one has none: correct the labels"
        )
    evaluated = evaluated_frames(n_frames, view)
    if evaluated < 1:
        raise ConfigError(
            f"{video_id}: labels = {view!r} evaluates none of its {n_frames} frames; use 'exact'"
        )
    past = int(view == "inclusive")
    listed = entry["listed_frames"]
    for start, end in given:
        _require_frames(video_id, (start, end), n_frames, listed, view)
    inside = [(s, min(e + past, evaluated)) for s, e in given if s < evaluated]
    return Truth(
        label,
        str(entry["class"]),
        _joined(inside),
        n_frames,
        evaluated,
        listed,
        clipped=tuple((s, e) for s, e in given if e + past > n_frames),
        left_out=tuple((s, e) for s, e in given if s >= evaluated),
    )


def _require_frames(
    video_id: str, given: Range, n_frames: int, listed: int | None, view: View
) -> None:
    """Raise ConfigError unless the video has frames of an annotation."""
    (start, end), inclusive = given, view == "inclusive"
    text = f"{video_id}: the annotated interval [{start}, {end}{']' if inclusive else ')'}"
    if not 0 <= start < end + inclusive:
        raise ConfigError(f"{text} holds no frame")
    if start >= n_frames:
        by_list = "" if listed is None else f" ({listed} by its list)"
        raise ConfigError(
            f"{text} starts past the end, the video has {n_frames} frames{by_list}; the annotation "
            "is of another copy of the video"
        )


def _joined(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """Sorted ranges with those that share a frame made one; those that only touch stay two."""
    joined: list[Range] = []
    for start, end in ranges:
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)


def frame_labels(truth: Truth, n_frames: int) -> npt.NDArray[np.uint8]:
    """The label of each of the first `n_frames` frames, 0 or 1, [n_frames]."""
    labels = np.zeros(n_frames, dtype=np.uint8)
    for start, end in truth.intervals:
        labels[start:end] = 1
    return labels


def label_runs(truth: Truth, borders: Ints) -> Bools:
    """Whether the frames from each of the sorted `borders` on are annotated, [borders]."""
    positive = np.zeros(len(borders), dtype=np.bool_)
    for start, end in truth.intervals:
        first, stop = np.searchsorted(borders, (start, end))
        positive[first:stop] = True
    return positive


def evaluated_runs(
    video_id: str,
    truth: Truth,
    start_frame: Ints,
    n_frames: int,
    score: Floats,
    smoothed: Floats,
    threshold: float | None,
    detected: Sequence[Detection],
    seconds: float | None,
) -> EvaluatedVideo:
    """A video whose scores are given as runs of frames with one score each.

    start_frame [runs] increases from 0, score and smoothed are [runs], and `n_frames` frames are
    scored in all, in `seconds`. What lies past the evaluated frames of the truth is left out, and a
    detection that reaches there is cut. Raises ConfigError where frames to be evaluated have no
    score, or where something was detected and no threshold is given.
    """
    first = start_frame[0] if len(start_frame) else "-"
    if n_frames < truth.evaluated or first != 0:
        raise ConfigError(
            f"{video_id}: {n_frames} frames are scored, from frame {first} on; expected "
            f"{truth.evaluated} from 0 on"
        )
    if detected and threshold is None:
        raise ConfigError(f"{video_id}: {len(detected)} intervals were detected at no threshold")
    edges = np.asarray([edge for interval in truth.intervals for edge in interval], dtype=np.int64)
    starts = start_frame[start_frame < truth.evaluated]
    borders = np.union1d(starts, edges[edges < truth.evaluated])
    run = np.searchsorted(starts, borders, side="right") - 1
    return EvaluatedVideo(
        video_id,
        truth,
        frames=np.diff(borders, append=truth.evaluated),
        positive=label_runs(truth, borders),
        smoothed=smoothed[run],
        score=score[run],
        threshold=threshold,
        detected=_inside(detected, truth.evaluated),
        seconds=None if seconds is None else seconds * (truth.evaluated / n_frames),
    )


def _inside(detected: Sequence[Detection], frames: int) -> tuple[Detection, ...]:
    """What the first `frames` frames hold of the detections."""
    return tuple(
        Detection(d.start, min(d.end, frames), d.score) for d in detected if d.start < frames
    )


def evaluated_video(
    video_id: str,
    truth: Truth,
    spans: Spans,
    columns: Mapping[str, npt.NDArray[Any]],
    threshold: float,
    detected: Sequence[Detection],
) -> EvaluatedVideo:
    """The same for a video whose scores are those of segments; columns: score and smoothed."""
    return evaluated_runs(
        video_id,
        truth,
        spans.start_frame,
        spans.n_frames,
        columns["score"],
        columns["smoothed"],
        threshold,
        detected,
        float(spans.end_s[-1] - spans.start_s[0]),
    )


def pool_of(videos: Sequence[EvaluatedVideo]) -> Pool:
    """The pieces of these videos; at least one video must be given."""
    above = [v.smoothed > v.threshold for v in videos if v.threshold is not None]
    return Pool(
        np.repeat(np.arange(len(videos)), [len(v.frames) for v in videos]),
        np.concatenate([v.frames for v in videos]),
        np.concatenate([v.positive for v in videos]),
        np.concatenate([v.smoothed for v in videos]),
        np.concatenate([v.score for v in videos]),
        np.concatenate(above) if len(above) == len(videos) else None,
    )
