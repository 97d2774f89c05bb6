"""All figures of a data set: what metrics.json says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from stages.probes.baselines import BASELINES
from stages.probes.bootstrap import (
    LEVEL,
    band_of,
    draws,
    mean_replicates,
    pooled_replicates,
    sample_of,
)
from stages.probes.events import matched
from stages.probes.frames import EvaluatedVideo, Pool, pool_of
from stages.probes.metrics import Bools, Figures, figures_of
from stages.probes.spans import Floats, Ints

NAMES = ("auc", "ap", "ap_trapezoid")
NO_THRESHOLD = "no threshold is given, so nothing is detected"
NO_SECONDS = "the length of a video is not known"


@dataclass(frozen=True, slots=True)
class Undefined:
    """Figures that cannot be computed, with the reason; such a figure is null, never a number."""

    reasons: dict[str, str] = field(default_factory=dict)

    def keep(self, name: str, value: float | None, reason: str) -> float | None:
        """Pass a value through and note the reason where there is none."""
        if value is None:
            self.reasons[name] = reason
        return value

    def figures(self, name: str, found: Figures | None, positive: Bools) -> dict[str, float | None]:
        """auc, ap and ap_trapezoid; `name` is what stands before their names in the report."""
        values = dict.fromkeys(NAMES) if found is None else asdict(found)
        label = _one_label(positive)
        return {n: self.keep(f"{name}.{n}".lstrip("."), values[n], label) for n in NAMES}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What is said of a data set."""

    metrics: dict[str, Any]
    """Every figure, as JSON."""
    replicates: dict[str, Floats]
    """The bootstrapped figures, by name, [replicates]; NaN where one is not defined."""


def metrics_of(
    videos: Sequence[EvaluatedVideo],
    *,
    bootstrap: int,
    seed: int,
    tiou: Sequence[float],
) -> dict[str, Any]:
    """The metrics of `evaluation_of`."""
    return evaluation_of(videos, bootstrap=bootstrap, seed=seed, tiou=tiou).metrics


def evaluation_of(
    videos: Sequence[EvaluatedVideo],
    *,
    bootstrap: int,
    seed: int,
    tiou: Sequence[float],
) -> Evaluation:
    """Every figure of at least one evaluated video; METHOD section 5 names them.

    The headline (auc, ap, ap_trapezoid) is that of the smoothed, continuous curve over all frames.
    The order of the videos does not matter: replicate k of a seed draws the same videos for every
    scorer that is evaluated on the same sample.
    """
    videos = sorted(videos, key=lambda video: video.video_id)
    pool, undefined = pool_of(videos), Undefined()
    within = within_video_auc(videos)
    replicates = _replicates(pool, within, draws(len(videos), bootstrap, seed))
    metrics: dict[str, Any] = {
        **undefined.figures("", _pooled(pool, pool.smoothed), pool.positive),
        "auc_thresholded": _thresholded(pool, undefined),
        "unsmoothed": undefined.figures("unsmoothed", _pooled(pool, pool.score), pool.positive),
        "anomalous_only": _anomalous_only(videos, undefined),
        "macro_within_video_auc": undefined.keep(
            "macro_within_video_auc", _mean(within), "no video has both normal and anomalous frames"
        ),
        "video_level_auc": _video_level(videos, undefined),
        "per_class": _per_class(videos, within, undefined),
        "events": {str(float(t)): _events(videos, float(t), undefined) for t in tiou},
        "false_alarms_per_hour": _false_alarms(videos, undefined),
        "bootstrap": {
            "replicates": bootstrap,
            "seed": seed,
            "level": LEVEL,
            "unit": "video",
            "sample": sample_of(videos),
            **_bands(replicates, undefined),
        },
        "baselines": {
            name: undefined.figures(f"baselines.{name}", baseline(videos), pool.positive)
            for name, baseline in BASELINES.items()
        },
        "counts": _counts(videos, within, undefined),
        "clipped": _clipped(videos),
    }
    return Evaluation({**metrics, "undefined": undefined.reasons}, replicates)


def within_video_auc(videos: Sequence[EvaluatedVideo]) -> Floats:
    """ROC AUC of every video by itself, [videos]; NaN where it has frames of one label only."""
    found = [figures_of(v.smoothed, v.positive, v.frames) for v in videos]
    return np.asarray([np.nan if f is None else f.auc for f in found])


def _pooled(pool: Pool, scores: Floats) -> Figures | None:
    return figures_of(scores, pool.positive, pool.frames)


def _thresholded(pool: Pool, undefined: Undefined) -> float | None:
    """ROC AUC of the binary curve that is 1 above the threshold: the HiProbe paper's reading."""
    if pool.above is None:
        return undefined.keep("auc_thresholded", None, NO_THRESHOLD)
    found = _pooled(pool, pool.above.astype(np.float64))
    return undefined.keep(
        "auc_thresholded", found.auc if found else None, _one_label(pool.positive)
    )


def _one_label(positive: Bools) -> str:
    if len(positive) == 0:
        return "there are no frames"
    return f"all frames are {'anomalous' if positive.all() else 'normal'}"


def _mean(values: Floats) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def _anomalous_only(
    videos: Sequence[EvaluatedVideo], undefined: Undefined
) -> dict[str, float | None]:
    chosen = [video for video in videos if video.truth.label]
    if not chosen:
        return undefined.figures("anomalous_only", None, np.zeros(0, dtype=np.bool_))
    pool = pool_of(chosen)
    return undefined.figures("anomalous_only", _pooled(pool, pool.smoothed), pool.positive)


def _video_level(videos: Sequence[EvaluatedVideo], undefined: Undefined) -> float | None:
    """ROC AUC of the highest smoothed score of every video against its label."""
    labels = np.asarray([video.truth.label == 1 for video in videos])
    found = figures_of(np.asarray([video.smoothed.max() for video in videos]), labels)
    reason = f"all videos are {'anomalous' if labels.all() else 'normal'}"
    return undefined.keep("video_level_auc", found.auc if found else None, reason)


def _per_class(
    videos: Sequence[EvaluatedVideo], within: Floats, undefined: Undefined
) -> dict[str, dict[str, Any]]:
    """Per anomalous class: its videos against all normal ones, and within its videos."""
    normal = [video for video in videos if not video.truth.label]
    found = {}
    for name in sorted({video.truth.class_name for video in videos if video.truth.label}):
        mine = np.asarray([bool(v.truth.label) and v.truth.class_name == name for v in videos])
        pool = pool_of([v for v, chosen in zip(videos, mine, strict=True) if chosen] + normal)
        path = f"per_class.{name}"
        found[name] = {
            "videos": int(mine.sum()),
            "positive_frames": int(pool.frames[pool.positive].sum()),
            **undefined.figures(path, _pooled(pool, pool.smoothed), pool.positive),
            "within_videos": int((~np.isnan(within[mine])).sum()),
            "within_video_auc": undefined.keep(
                f"{path}.within_video_auc",
                _mean(within[mine]),
                "no video of the class has both normal and anomalous frames",
            ),
        }
    return found


def _events(
    videos: Sequence[EvaluatedVideo], tiou: float, undefined: Undefined
) -> dict[str, float | int | None]:
    """Precision, recall and F1 of the detected intervals at one temporal IoU."""
    path = f"events.{tiou}"
    if any(video.threshold is None for video in videos):
        names = ("matched", "precision", "recall", "f1")
        return {n: undefined.keep(f"{path}.{n}", None, NO_THRESHOLD) for n in names}
    detected = sum(len(video.detected) for video in videos)
    annotated = sum(len(video.truth.intervals) for video in videos)
    hits = sum(matched([d.span for d in v.detected], v.truth.intervals, tiou) for v in videos)
    nothing_found, nothing_there = "no interval was detected", "no interval is annotated"
    both = f"{nothing_found} and {nothing_there}"
    return {
        "matched": hits,
        "precision": undefined.keep(f"{path}.precision", _share(hits, detected), nothing_found),
        "recall": undefined.keep(f"{path}.recall", _share(hits, annotated), nothing_there),
        "f1": undefined.keep(f"{path}.f1", _share(2 * hits, detected + annotated), both),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _false_alarms(videos: Sequence[EvaluatedVideo], undefined: Undefined) -> float | None:
    normal = [video for video in videos if not video.truth.label]
    if any(video.threshold is None for video in videos):
        return undefined.keep("false_alarms_per_hour", None, NO_THRESHOLD)
    hours = _hours(normal)
    if hours is None:
        return undefined.keep("false_alarms_per_hour", None, NO_SECONDS)
    alarms = sum(len(video.detected) for video in normal)
    reason = "the normal videos have no length" if normal else "there is no normal video"
    return undefined.keep("false_alarms_per_hour", _share(alarms, hours), reason)


def _hours(videos: Sequence[EvaluatedVideo]) -> float | None:
    """How long these videos are together; None where one's length is not known."""
    seconds = [video.seconds for video in videos if video.seconds is not None]
    return sum(seconds) / 3600 if len(seconds) == len(videos) else None


def _replicates(pool: Pool, within: Floats, drawn: Ints) -> dict[str, Floats]:
    """The bootstrapped figures, by name, [replicates]."""
    pooled = pooled_replicates(pool, pool.smoothed, drawn)
    return {
        **dict(zip(NAMES, pooled.T, strict=True)),
        "macro_within_video_auc": mean_replicates(within, drawn),
    }


def _bands(
    replicates: Mapping[str, Floats], undefined: Undefined
) -> dict[str, dict[str, float] | None]:
    """95 % intervals of the bootstrapped figures."""
    found: dict[str, dict[str, float] | None] = {}
    for name, values in replicates.items():
        band = band_of(values)
        found[name] = None if band is None else asdict(band)
        if band is None:
            undefined.reasons[f"bootstrap.{name}"] = (
                "it is defined in no replicate"
                if len(values)
                else "bootstrap = 0: no replicates were asked for"
            )
    return found


def _counts(
    videos: Sequence[EvaluatedVideo], within: Floats, undefined: Undefined
) -> Mapping[str, float | None]:
    normal = [video for video in videos if not video.truth.label]
    return {
        "videos": len(videos),
        "normal_videos": len(normal),
        "anomalous_videos": len(videos) - len(normal),
        "within_videos": int((~np.isnan(within)).sum()),
        "frames": sum(video.n_frames for video in videos),
        "positive_frames": sum(int(video.frames[video.positive].sum()) for video in videos),
        "hours": undefined.keep("counts.hours", _hours(videos), NO_SECONDS),
        "normal_hours": undefined.keep("counts.normal_hours", _hours(normal), NO_SECONDS),
        "annotated_intervals": sum(len(video.truth.intervals) for video in videos),
        "detected_intervals": sum(len(video.detected) for video in videos),
        "detected_in_normal_videos": sum(len(video.detected) for video in normal),
        "clipped": sum(len(video.truth.clipped) for video in videos),
        "left_out": sum(len(video.truth.left_out) for video in videos),
    }


def _clipped(videos: Sequence[EvaluatedVideo]) -> list[dict[str, Any]]:
    return [
        {"video_id": v.video_id, "start_frame": s, "end_frame": e, "n_frames": v.truth.n_frames}
        for v in videos
        for s, e in v.truth.clipped
    ]
