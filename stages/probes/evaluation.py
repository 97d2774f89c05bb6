"""All figures of a data set: what metrics.json says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from stages.probes.baselines import BASELINES
from stages.probes.bootstrap import (
    LEVEL,
    band_of,
    drawn_by,
    draws,
    mean_replicates,
    pooled_figures,
    sample_of,
)
from stages.probes.calibration import Calibration, calibration_of
from stages.probes.detections import (
    ClassAps,
    class_names,
    event_figures,
    false_alarms,
    hours,
    mean_event_figures,
    without_threshold,
)
from stages.probes.frames import EvaluatedVideo, Pool, pool_of
from stages.probes.metrics import Figures, figures_of
from stages.probes.spans import Floats, Ints
from stages.probes.undefined import NO_SECONDS, NO_THRESHOLD, Undefined

NAMES = tuple(field.name for field in fields(Figures))
WITHIN = "macro_within_video_auc"
NOTHING_WITHIN = "no video has both normal and anomalous frames"


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What is said of a data set."""

    metrics: dict[str, Any]
    """Every figure, as JSON."""
    replicates: dict[str, Floats]
    """The bootstrapped figures, by name, [replicates]; NaN where one is not defined."""

    def replicate_columns(self) -> dict[str, list[Any]]:
        """The columns of the replicates table: null where a figure is not defined."""
        columns = {n: [_defined(v) for v in f.tolist()] for n, f in self.replicates.items()}
        return {"replicate": list(range(len(columns[WITHIN]))), **columns}


def metrics_of(
    videos: Sequence[EvaluatedVideo], *, bootstrap: int, seed: int, tiou: Sequence[float]
) -> dict[str, Any]:
    """The metrics of `evaluation_of`."""
    return evaluation_of(videos, bootstrap=bootstrap, seed=seed, tiou=tiou).metrics


def evaluation_of(
    videos: Sequence[EvaluatedVideo], *, bootstrap: int, seed: int, tiou: Sequence[float]
) -> Evaluation:
    """Every figure of at least one evaluated video; METHOD section 5 names them.

    The headline (auc, ap, ap_trapezoid) is that of the smoothed, continuous curve over all frames.
    The order of the videos does not matter: replicate k of a seed draws the same videos for every
    scorer that is evaluated on the same sample. What is not defined is null, with its reason under
    "undefined".
    """
    videos = list(drawn_by(videos).values())
    pool, within, undefined = pool_of(videos), within_video_auc(videos), Undefined()
    subsets, drawn = _Subsets.of(videos, pool), draws(len(videos), bootstrap, seed)
    # A subset is a draw too: all of them are counted in one pass over the thresholds.
    pooled = pooled_figures(pool, pool.smoothed, np.concatenate([subsets.drawn, drawn]))
    unsmoothed = pooled_figures(pool, pool.score, subsets.drawn[:1])
    replicates = {
        **dict(zip(NAMES, pooled[len(subsets.drawn) :].T, strict=True)),
        WITHIN: mean_replicates(within, drawn),
    }
    events, class_aps = _events(videos, tiou, undefined)
    metrics: dict[str, Any] = {
        **subsets.figures("", 0, pooled[0], undefined),
        **_thresholded(pool, subsets.reasons[0], undefined),
        "unsmoothed": subsets.figures("unsmoothed.", 0, unsmoothed[0], undefined),
        "anomalous_only": subsets.figures("anomalous_only.", 1, pooled[1], undefined),
        WITHIN: undefined.keep(WITHIN, _mean(within), NOTHING_WITHIN),
        "video_level_auc": _video_level(videos, undefined),
        "per_class": _per_class(videos, subsets, pooled, within, class_aps, undefined),
        "events": events,
        **mean_event_figures(events, undefined),
        "false_alarms_per_hour": false_alarms(videos, undefined),
        "calibration": _calibration(pool, undefined),
        "bootstrap": {
            **{"replicates": bootstrap, "seed": seed, "level": LEVEL, "unit": "video"},
            "sample": sample_of(videos),
            **_bands(replicates, undefined),
        },
        "baselines": _baselines(videos, subsets, undefined),
        "counts": _counts(videos, within, undefined),
        "clipped": _clipped(videos),
        "frame_counts": _frame_counts(videos),
    }
    return Evaluation({**metrics, "undefined": undefined.reasons}, replicates)


@dataclass(frozen=True, slots=True, eq=False)
class _Subsets:
    """Videos that are pooled: all, the anomalous ones, and each class with all normal ones."""

    drawn: Ints
    """[subsets, videos], whether each video is in it."""
    positives: Ints
    """Anomalous frames of each, [subsets]."""
    reasons: tuple[str, ...]
    """Why no pooled figure is defined, where none is, [subsets]."""

    @classmethod
    def of(cls, videos: Sequence[EvaluatedVideo], pool: Pool) -> _Subsets:
        names = [v.truth.class_name if v.truth.label else None for v in videos]
        drawn = [[True] * len(names), [name is not None for name in names]]
        drawn += [[name in (None, chosen) for name in names] for chosen in class_names(videos)]
        chosen = np.asarray(drawn, dtype=np.int64)
        positives = chosen @ np.bincount(pool.video, pool.frames * pool.positive).astype(np.int64)
        frames = chosen @ np.bincount(pool.video, pool.frames).astype(np.int64)
        reasons = tuple(
            f"all frames are {'anomalous' if p else 'normal'}" if n else "there are no frames"
            for p, n in zip(positives, frames, strict=True)
        )
        return cls(chosen, positives, reasons)

    def figures(
        self, path: str, subset: int, found: Floats, undefined: Undefined
    ) -> dict[str, float | None]:
        """auc, ap and ap_trapezoid [3] of one subset, null where they are NaN."""
        return {
            name: undefined.keep(f"{path}{name}", _defined(value), self.reasons[subset])
            for name, value in zip(NAMES, found.tolist(), strict=True)
        }


def within_video_auc(videos: Sequence[EvaluatedVideo]) -> Floats:
    """ROC AUC of every video by itself, [videos]; NaN where it has frames of one label only."""
    found = [figures_of(v.smoothed, v.positive, v.frames) for v in videos]
    return np.asarray([np.nan if f is None else f.auc for f in found])


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


def _mean(values: Floats) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def _thresholded(pool: Pool, one_label: str, undefined: Undefined) -> dict[str, float | None]:
    """ROC AUC and AP of the binary curve that is 1 above the threshold: the HiProbe paper's reading."""
    names = ("auc_thresholded", "ap_thresholded")
    if pool.above is None:
        return {name: undefined.keep(name, None, NO_THRESHOLD) for name in names}
    # The curve has two scores: four numbers of frames say it all.
    cells = np.bincount(2 * pool.above + pool.positive, pool.frames, 4)
    below_above, labels = np.asarray([0.0, 0.0, 1.0, 1.0]), np.asarray([False, True] * 2)
    found = figures_of(below_above, labels, cells)
    values = (found.auc, found.ap) if found else (None, None)
    return {n: undefined.keep(n, v, one_label) for n, v in zip(names, values, strict=True)}


def _video_level(videos: Sequence[EvaluatedVideo], undefined: Undefined) -> float | None:
    """ROC AUC of the highest smoothed score of every video against its label."""
    labels = np.asarray([video.truth.label == 1 for video in videos])
    found = figures_of(np.asarray([video.smoothed.max() for video in videos]), labels)
    reason = f"all videos are {'anomalous' if labels.all() else 'normal'}"
    return undefined.keep("video_level_auc", found.auc if found else None, reason)


def _events(
    videos: Sequence[EvaluatedVideo], tiou: Sequence[float], undefined: Undefined
) -> tuple[dict[str, dict[str, float | None]], dict[str, ClassAps]]:
    """The event figures, and the AP of every class, by temporal IoU."""
    found = {str(float(t)): event_figures(videos, float(t), undefined) for t in tiou}
    figures = {t: at_tiou for t, (at_tiou, _) in found.items()}
    return figures, {t: class_aps for t, (_, class_aps) in found.items()}


def _per_class(
    videos: Sequence[EvaluatedVideo],
    subsets: _Subsets,
    pooled: Floats,
    within: Floats,
    class_aps: Mapping[str, ClassAps],
    undefined: Undefined,
) -> dict[str, dict[str, Any]]:
    """Per anomaly class: its videos against all normal ones, and within its videos."""
    found, blind = {}, without_threshold(videos)
    for subset, name in enumerate(class_names(videos), 2):
        path = f"per_class.{name}"
        mine = np.asarray([bool(v.truth.label) and v.truth.class_name == name for v in videos])
        why = NO_THRESHOLD if blind else "no interval of the class is annotated"
        found[name] = {
            "videos": int(mine.sum()),
            "positive_frames": int(subsets.positives[subset]),
            **subsets.figures(f"{path}.", subset, pooled[subset], undefined),
            "within_videos": int((~np.isnan(within[mine])).sum()),
            "within_video_auc": undefined.keep(
                f"{path}.within_video_auc",
                _mean(within[mine]),
                "no video of the class has both normal and anomalous frames",
            ),
            "event_ap": {
                tiou: undefined.keep(f"{path}.event_ap.{tiou}", aps[name], why)
                for tiou, aps in class_aps.items()
            },
        }
    return found


def _calibration(pool: Pool, undefined: Undefined) -> dict[str, float | None]:
    """Calibration of the smoothed curve over all frames."""
    found = calibration_of(pool.smoothed, pool.positive, pool.frames)
    if found is not None:
        return asdict(found)
    low, high = pool.smoothed.min(), pool.smoothed.max()
    reason = f"scores from {low:.4g} to {high:.4g} are no probabilities"
    names = [field.name for field in fields(Calibration)]
    return dict(undefined.nulls("calibration", names, reason))


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


def _baselines(
    videos: Sequence[EvaluatedVideo], subsets: _Subsets, undefined: Undefined
) -> dict[str, dict[str, float | None]]:
    """What scores from labels or lengths alone reach on these videos."""
    found = {}
    for name, baseline in BASELINES.items():
        figures = baseline(videos)
        row = (
            np.full(len(NAMES), np.nan)
            if figures is None
            else np.asarray([*asdict(figures).values()])
        )
        found[name] = subsets.figures(f"baselines.{name}.", 0, row, undefined)
    return found


def _counts(
    videos: Sequence[EvaluatedVideo], within: Floats, undefined: Undefined
) -> dict[str, float | None]:
    normal = [video for video in videos if not video.truth.label]
    return {
        "videos": len(videos),
        "normal_videos": len(normal),
        "anomalous_videos": len(videos) - len(normal),
        "within_videos": int((~np.isnan(within)).sum()),
        "frames": sum(video.n_frames for video in videos),
        "positive_frames": sum(int(video.frames[video.positive].sum()) for video in videos),
        "hours": undefined.keep("counts.hours", hours(videos), NO_SECONDS),
        "normal_hours": undefined.keep("counts.normal_hours", hours(normal), NO_SECONDS),
        "annotated_intervals": sum(len(video.truth.intervals) for video in videos),
        "detected_intervals": sum(len(video.detected) for video in videos),
        "detected_in_normal_videos": sum(len(video.detected) for video in normal),
        "clipped": sum(len(video.truth.clipped) for video in videos),
        "left_out": sum(len(video.truth.left_out) for video in videos),
    }


def _clipped(videos: Sequence[EvaluatedVideo]) -> list[dict[str, Any]]:
    """Annotations that end past their video, as they were given, with the video's frames."""
    return [
        {
            "video_id": v.video_id,
            "start_frame": start,
            "end_frame": end,
            "n_frames": v.truth.n_frames,
            "listed": v.truth.listed,
        }
        for v in videos
        for start, end in v.truth.clipped
    ]


def _frame_counts(videos: Sequence[EvaluatedVideo]) -> list[dict[str, Any]]:
    """Every video that has another number of frames than a list gives it, with both numbers."""
    return [
        {"video_id": v.video_id, "decoded": v.truth.n_frames, "listed": v.truth.listed}
        for v in videos
        if v.truth.listed not in (None, v.truth.n_frames)
    ]
