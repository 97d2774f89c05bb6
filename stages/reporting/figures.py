"""The figures of metrics.json as rows of a page: names, numbers as text, intervals, reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stages.reporting.provenance import flatten

Record = Mapping[str, Any]
Unit = Literal["share", "rate", "plain"]

POOLED = ("auc", "ap", "ap_trapezoid")
BASELINES: dict[str, tuple[str, str]] = {
    "constant_oracle": ("video label", "the video's label on each of its frames"),
    "constant_oracle_x_centre_gaussian": (
        "label × centre Gaussian",
        "the video's label times a Gaussian at the centre of the video",
    ),
    "centre_gaussian": ("centre Gaussian", "a Gaussian at the centre of every video"),
    "inverse_length": ("1 / length", "1 / length of the video"),
}
"""Short and full names of the label-only baselines."""
COUNTS = {
    "videos": "test videos",
    "anomalous_videos": "anomalous test videos",
    "normal_videos": "normal test videos",
    "within_videos": "videos with frames of both labels",
    "frames": "frames",
    "positive_frames": "anomalous frames",
    "hours": "hours",
    "normal_hours": "hours of normal videos",
    "annotated_intervals": "annotated intervals",
    "detected_intervals": "detected intervals",
    "detected_in_normal_videos": "detected in normal videos",
    "clipped": "annotated intervals clipped at the end",
    "left_out": "annotated intervals in frames that are not evaluated",
}
PLACED = frozenset(
    {
        "auc", "ap", "ap_trapezoid", "auc_thresholded", "ap_thresholded", "unsmoothed",
        "anomalous_only", "macro_within_video_auc", "video_level_auc", "per_class", "events", "event_ap", "event_map",
        "false_alarms_per_hour", "calibration", "bootstrap", "baselines", "counts", "clipped",
        "frame_counts", "labels", "missing", "absent", "threshold", "undefined",
    }
)  # fmt: skip
"""The entries of metrics.json that have a place of their own on the page."""

NAMED: tuple[tuple[str, tuple[tuple[str, str, str, Unit], ...]], ...] = (
    (
        "All test frames in one pool",
        (
            ("auc", "ROC AUC", "smoothed, continuous scores; the headline", "share"),
            ("ap", "Average precision", "sum of precision times the step in recall; the headline", "share"),
            ("ap_trapezoid", "AP by trapezoids", "area under straight lines between the points of the curve, as many papers compute it", "share"),
            ("auc_thresholded", "ROC AUC after the threshold", "of the binary curve, 1 above T: reproduces the HiProbe-VAD paper's reading", "share"),
            ("ap_thresholded", "Average precision after the threshold", "of the same curve", "share"),
            ("unsmoothed.auc", "ROC AUC without smoothing", "the scorer's own scores", "share"),
            ("unsmoothed.ap", "Average precision without smoothing", "the scorer's own scores", "share"),
            ("unsmoothed.ap_trapezoid", "AP by trapezoids without smoothing", "the scorer's own scores", "share"),
        ),
    ),
    (
        "Frames of anomalous videos only",
        (
            ("anomalous_only.auc", "ROC AUC", "where in an anomalous video the anomaly is: knowing the video's label does not help", "share"),
            ("anomalous_only.ap", "Average precision", "the same frames", "share"),
            ("anomalous_only.ap_trapezoid", "AP by trapezoids", "the same frames", "share"),
        ),
    ),
    (
        "Video by video",
        (
            ("macro_within_video_auc", "Mean ROC AUC within a video", "every video with frames of both labels counts the same", "share"),
            ("video_level_auc", "ROC AUC of whole videos", "highest smoothed score of a video against its label", "share"),
        ),
    ),
    (
        "Detected intervals",
        (
            ("event_ap", "Average precision of intervals", "ranked by their peak, mean over the temporal IoUs", "share"),
            ("event_map", "Its mean over classes (mAP)", "the videos of a class with all normal ones, mean over classes and temporal IoUs", "share"),
            ("false_alarms_per_hour", "False alarms per hour", "intervals detected in normal videos, per hour of normal video", "rate"),
        ),
    ),
    (
        "Scores as probabilities",
        (
            ("calibration.ece", "Expected calibration error", "mean distance between score and share of anomalous frames, over 15 bins of the score", "plain"),
            ("calibration.brier", "Brier score", "mean squared distance between score and label", "plain"),
            ("calibration.base_rate_brier", "Brier score of the base rate", "of a score that is the share of anomalous frames everywhere", "plain"),
        ),
    ),
)  # fmt: skip
"""Groups of (path in metrics.json, name, meaning, unit)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure as text."""

    path: str
    name: str
    meaning: str
    value: str
    """Empty where the figure is not defined."""
    interval: str
    """Bootstrap interval; empty where there is none."""
    reason: str
    """Why the figure is not defined; empty where it is."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A label-only baseline beside the run."""

    short: str
    name: str
    values: tuple[str, ...]
    """As text, in the order of POOLED; empty where not defined."""
    ahead: tuple[bool, ...]
    """Whether it reaches more than the run."""


def per_cent(value: float | None) -> str:
    """A share as per cent with two decimals: 0.8672 is 86.72."""
    return "" if value is None else f"{100 * value:.2f}"


UNITS: Mapping[Unit, Callable[[float], str]] = {
    "share": per_cent, "rate": "{:.2f}".format, "plain": "{:.4f}".format,
}  # fmt: skip
"""How a figure is written."""


def lookup(record: Record, path: str) -> Any:
    """The value at a dotted path; None where it, or anything on the way, is absent."""
    found: Any = record
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def row_of(metrics: Record, path: str, name: str, meaning: str, unit: Unit) -> Row:
    """One figure with its interval, or with the reason why it is not there."""
    value = lookup(metrics, path)
    text = "" if value is None else UNITS[unit](value)
    why = metrics.get("undefined", {}).get(path, "this run's metrics do not hold it")
    return Row(path, name, meaning, text, band_of(metrics, path), "" if text else why)


def band_of(metrics: Record, path: str) -> str:
    """The bootstrap interval of a share, in per cent; empty where there is none."""
    band = metrics.get("bootstrap", {}).get(path)
    if not isinstance(band, Mapping):
        return ""
    return f"{per_cent(band['low'])} to {per_cent(band['high'])}"


def groups_of(metrics: Record) -> list[tuple[str, list[Row]]]:
    """The full table of figures, group by group."""
    return [
        (group, [row_of(metrics, *definition) for definition in definitions])
        for group, definitions in NAMED
    ]


def headline_of(metrics: Record) -> list[Row]:
    """The figures at the top of the page: two pooled ones, then those that no label answers."""
    rows = {row.path: row for _, rows in groups_of(metrics) for row in rows}
    paths = (
        "auc", "ap", "anomalous_only.auc", "macro_within_video_auc", "video_level_auc",
        "false_alarms_per_hour",
    )  # fmt: skip
    return [rows[path] for path in paths]


def rivals_of(metrics: Record) -> list[Rival]:
    """The label-only baselines, the strongest AUC first."""
    found = metrics.get("baselines", {})
    rivals = []
    for name in sorted(found, key=lambda n: (-(found[n].get("auc") or 0.0), n)):
        values = [found[name].get(figure) for figure in POOLED]
        ahead = tuple(
            value is not None and metrics.get(figure) is not None and value > metrics[figure]
            for value, figure in zip(values, POOLED, strict=True)
        )
        words = name.replace("_", " ")
        short, full = BASELINES.get(name, (words, words))
        rivals.append(Rival(short, full, tuple(map(per_cent, values)), ahead))
    return rivals


def verdict_of(rivals: list[Rival]) -> str:
    """One sentence on how the pooled figures stand against scores made without a pixel."""
    if not rivals:
        return ""
    ahead = [sum(rival.ahead[place] for rival in rivals) for place in (0, 1)]
    auc, ap = ("none" if count == 0 else str(count) for count in ahead)
    return (
        f"Of the {len(rivals)} scores made from labels or lengths alone, without a pixel, {auc} "
        f"{'has' if ahead[0] == 1 else 'have'} a higher ROC AUC than this run and {ap} "
        f"{'has' if ahead[1] == 1 else 'have'} a higher average precision."
    )


def classes_of(metrics: Record) -> list[dict[str, str]]:
    """Per-class figures as text."""
    undefined = metrics.get("undefined", {})
    rows = []
    for name, found in sorted(metrics.get("per_class", {}).items()):
        cells = {f: per_cent(found.get(f)) for f in (*POOLED, "within_video_auc")}
        reasons = sorted(
            {
                undefined[f"per_class.{name}.{f}"]
                for f in cells
                if f"per_class.{name}.{f}" in undefined
            }
        )
        rows.append(
            {
                "name": name,
                "videos": _count(found.get("videos")),
                "frames": _count(found.get("positive_frames")),
                **cells,
                "event_ap": per_cent(_mean(found.get("event_ap", {}).values())),
                "reason": "; ".join(reasons),
            }
        )
    return rows


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def events_of(metrics: Record) -> list[dict[str, str]]:
    """Event figures by temporal IoU as text."""
    undefined = metrics.get("undefined", {})
    names = ("precision", "recall", "f1", "ap", "map")
    return [
        {
            "tiou": tiou,
            "matched": _count(found.get("matched")),
            **{name: per_cent(found.get(name)) for name in names},
            "reason": "; ".join(
                dict.fromkeys(
                    undefined[f"events.{tiou}.{n}"]
                    for n in names
                    if f"events.{tiou}.{n}" in undefined
                )
            ),
        }
        for tiou, found in sorted(
            metrics.get("events", {}).items(), key=lambda item: float(item[0])
        )
    ]


def counts_of(metrics: Record) -> list[tuple[str, str]]:
    """What the figures rest on, as (name, text)."""
    counts = metrics.get("counts", {})
    known = [name for name in COUNTS if name in counts]
    return [
        (
            COUNTS.get(name, name.replace("_", " ")),
            f"{counts[name]:.2f}" if isinstance(counts[name], float) else _count(counts[name]),
        )
        for name in (*known, *sorted(set(counts) - set(known)))
    ]


def others_of(metrics: Record) -> list[tuple[str, str]]:
    """Whatever metrics.json holds beyond what this page has a place for."""
    return flatten({name: value for name, value in metrics.items() if name not in PLACED})


def prevalence_of(metrics: Record) -> float | None:
    """Share of the test frames that are anomalous."""
    frames, positive = (lookup(metrics, f"counts.{n}") for n in ("frames", "positive_frames"))
    return positive / frames if frames else None


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}".replace(",", "\u202f")
