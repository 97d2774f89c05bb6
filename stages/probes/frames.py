"""The frames of the test videos as pieces: runs with one score and one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.errors import ConfigError
from stages.probes.metrics import Bools
from stages.probes.spans import Floats, Ints, Spans

Range = tuple[int, int]
"""First frame, and one past the last."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is annotated of a test video, fitted to its frames."""

    label: int
    """0 normal, 1 anomalous."""
    class_name: str
    """Its class, such as Fighting or Normal."""
    intervals: tuple[Range, ...]
    """Half-open, sorted, disjoint (overlapping annotations are joined), inside the video."""
    clipped: tuple[Range, ...] = ()
    """Annotations, as given, that end past the video."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedVideo:
    """One evaluated video. Arrays are [pieces]; a piece lies in one segment and has one label."""

    video_id: str
    truth: Truth
    frames: Ints
    """Frames of every piece."""
    positive: Bools
    """Whether its frames are annotated as anomalous."""
    smoothed: Floats
    score: Floats
    """The score before smoothing."""
    threshold: float
    detected: tuple[Range, ...]
    seconds: float
    """Length of the video."""

    @property
    def n_frames(self) -> int:
        """Frames of the video."""
        return int(self.frames.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The pieces of several videos, one after the other; arrays are [pieces]."""

    video: Ints
    """Number of the video of every piece."""
    frames: Ints
    positive: Bools
    smoothed: Floats
    score: Floats
    above: Bools
    """Whether the smoothed score is strictly above the threshold."""


def read_truth(video_id: str, entry: Mapping[str, Any], n_frames: int) -> Truth:
    """Check the annotation of a test video of `n_frames` frames.

    An interval that ends past the video is clipped and recorded. Raises ConfigError for one that
    starts past the end, holds no frame, or contradicts the label.
    """
    label, intervals = entry["label"], [(int(s), int(e)) for s, e in entry["intervals"]]
    if label not in (0, 1):
        raise ConfigError(f"{video_id}: label is {label!r}, expected 0 (normal) or 1 (anomalous)")
    if bool(intervals) != bool(label):
        raise ConfigError(
            f"{video_id}: label is {label} and {len(intervals)} intervals are annotated; an "
            "anomalous test video needs at least one, a normal one has none: correct the labels"
        )
    for start, end in intervals:
        if not 0 <= start < end:
            raise ConfigError(f"{video_id}: the annotated interval [{start}, {end}) holds no frame")
        if start >= n_frames:
            raise ConfigError(
                f"{video_id}: the annotated interval [{start}, {end}) starts past the end, the "
                f"video has {n_frames} frames; the annotation is of another copy of the video"
            )
    joined: list[Range] = []
    for start, end in sorted((start, min(end, n_frames)) for start, end in intervals):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    clipped = tuple((start, end) for start, end in sorted(intervals) if end > n_frames)
    return Truth(label, str(entry["class"]), tuple(joined), clipped)


def label_runs(truth: Truth, borders: Ints) -> Bools:
    """Whether the frames from each of the sorted `borders` on are annotated, [borders]."""
    positive = np.zeros(len(borders), dtype=np.bool_)
    for start, end in truth.intervals:
        positive |= (borders >= start) & (borders < end)
    return positive


def evaluated_video(
    video_id: str,
    truth: Truth,
    spans: Spans,
    columns: Mapping[str, npt.NDArray[Any]],
    threshold: float,
    detected: Sequence[Range],
) -> EvaluatedVideo:
    """Split every segment at the borders of the annotations; columns hold score and smoothed."""
    edges = np.asarray([edge for interval in truth.intervals for edge in interval], dtype=np.int64)
    borders = np.unique(np.concatenate([spans.start_frame, edges[edges < spans.n_frames]]))
    segment = np.searchsorted(spans.start_frame, borders, side="right") - 1
    return EvaluatedVideo(
        video_id,
        truth,
        frames=np.diff(borders, append=spans.n_frames),
        positive=label_runs(truth, borders),
        smoothed=columns["smoothed"][segment],
        score=columns["score"][segment],
        threshold=threshold,
        detected=tuple(detected),
        seconds=float(spans.end_s[-1] - spans.start_s[0]),
    )


def pool_of(videos: Sequence[EvaluatedVideo]) -> Pool:
    """The pieces of these videos; at least one video must be given."""
    return Pool(
        np.repeat(np.arange(len(videos)), [len(v.frames) for v in videos]),
        np.concatenate([v.frames for v in videos]),
        np.concatenate([v.positive for v in videos]),
        np.concatenate([v.smoothed for v in videos]),
        np.concatenate([v.score for v in videos]),
        np.concatenate([v.smoothed > v.threshold for v in videos]),
    )
