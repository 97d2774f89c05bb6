"""The figures of detected intervals: events found, their ranking, false alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stages.probes.events import detection_ap, hits_of, matched
from stages.probes.frames import EvaluatedVideo
from stages.probes.metrics import Bools
from stages.probes.undefined import NO_SECONDS, NO_THRESHOLD, Undefined, mean, share

NOTHING_THERE = "no interval is annotated"
NAMES = ("matched", "precision", "recall", "f1", "ap", "map")

ClassAps = dict[str, float | None]
"""Average precision of the detections by anomaly class."""


def without_threshold(videos: Sequence[EvaluatedVideo]) -> bool:
    """Whether there is a video in which nothing could be detected."""
    return any(video.threshold is None for video in videos)


def event_figures(
    videos: Sequence[EvaluatedVideo], tiou: float, undefined: Undefined
) -> tuple[dict[str, float | None], ClassAps]:
    """Precision, recall, F1, AP and mAP of the detections at one temporal IoU, and AP by class.

    `ap` takes all videos and asks for no class. `map` is the mean over the anomaly classes of the
    AP in the videos of the class and all normal ones; a class without an annotated interval takes
    no part.
    """
    path, names = f"events.{tiou}", class_names(videos)
    if without_threshold(videos):
        return undefined.nulls(path, NAMES, NO_THRESHOLD), dict.fromkeys(names)
    detected = sum(len(video.detected) for video in videos)
    annotated = sum(len(video.truth.intervals) for video in videos)
    hits = sum(matched([d.span for d in v.detected], v.truth.intervals, tiou) for v in videos)
    nothing_found = "no interval was detected"
    both = f"{nothing_found} and {NOTHING_THERE}"
    hit = [hits_of(v.detected, v.truth.intervals, tiou) for v in videos]
    aps = {name: _ap(videos, hit, name) for name in names}
    return {
        "matched": hits,
        "precision": undefined.keep(f"{path}.precision", share(hits, detected), nothing_found),
        "recall": undefined.keep(f"{path}.recall", share(hits, annotated), NOTHING_THERE),
        "f1": undefined.keep(f"{path}.f1", share(2 * hits, detected + annotated), both),
        "ap": undefined.keep(f"{path}.ap", _ap(videos, hit, None), NOTHING_THERE),
        "map": undefined.keep(f"{path}.map", mean(list(aps.values())), NOTHING_THERE),
    }, aps


def class_names(videos: Sequence[EvaluatedVideo]) -> list[str]:
    """The anomaly classes of these videos, sorted."""
    return sorted({video.truth.class_name for video in videos if video.truth.label})


def _ap(videos: Sequence[EvaluatedVideo], hit: Sequence[Bools], name: str | None) -> float | None:
    """AP in the anomalous videos of the class `name` (None: of every class) and all normal ones."""
    chosen = [
        (video, hits)
        for video, hits in zip(videos, hit, strict=True)
        if name is None or not video.truth.label or video.truth.class_name == name
    ]
    scores = [detection.score for video, _ in chosen for detection in video.detected]
    annotated = sum(len(video.truth.intervals) for video, _ in chosen)
    return detection_ap(np.asarray(scores), np.concatenate([h for _, h in chosen]), annotated)


def false_alarms(videos: Sequence[EvaluatedVideo], undefined: Undefined) -> float | None:
    """Intervals detected in normal videos, per hour of these."""
    normal = [video for video in videos if not video.truth.label]
    alarms, length = sum(len(video.detected) for video in normal), hours(normal)
    if without_threshold(videos):
        reason = NO_THRESHOLD
    elif length is None:
        reason = NO_SECONDS
    else:
        reason = "the normal videos have no length" if normal else "there is no normal video"
    value = None if length is None or reason == NO_THRESHOLD else share(alarms, length)
    return undefined.keep("false_alarms_per_hour", value, reason)


def hours(videos: Sequence[EvaluatedVideo]) -> float | None:
    """How long these videos are together; None where the length of one is not known."""
    seconds = [video.seconds for video in videos if video.seconds is not None]
    return sum(seconds) / 3600 if len(seconds) == len(videos) else None


def mean_event_figures(
    events: Mapping[str, Mapping[str, float | None]], undefined: Undefined
) -> dict[str, float | None]:
    """AP and mAP as means over the temporal IoUs, of the event figures at each."""
    found = {}
    for name in ("ap", "map"):
        values = [figures[name] for figures in events.values()]
        reasons = [undefined.reasons.get(f"events.{tiou}.{name}") for tiou in events]
        reason = next(filter(None, reasons), "no temporal IoU is asked for")
        found[f"event_{name}"] = undefined.keep(f"event_{name}", mean(values), reason)
    return found
