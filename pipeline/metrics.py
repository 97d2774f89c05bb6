"""The metrics of a run as a person reads them: every figure beside what labels alone would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.view import table
from stages.reporting.coverage import remarks_of, view_of
from stages.reporting.figures import lookup

BASELINES = {
    "constant_oracle": "knows the video's label",
    "constant_oracle_x_centre_gaussian": "knows the video's label, and bets on its middle",
    "centre_gaussian": "bets on the middle of every video",
    "inverse_length": "bets on short videos (1 / length)",
}
POOLED = ("auc", "ap", "ap_trapezoid")
SHOWN = 10
"""Videos that a remark names, and figures that a reason holds for; metrics.json has them all."""


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """Tables of all figures, with bootstrap intervals and the label-only baselines.

    What the figures leave out, and why one of them is not defined, is said below them. A figure that
    the metrics do not hold is shown as one that is not defined: "-".
    """
    parts = [_pooled(metrics), _others(metrics), _events(metrics), _classes(metrics)]
    return "\n\n".join([*filter(None, parts), "\n".join(_notes(metrics))])


def selection_text(selection: Mapping[str, Any]) -> str:
    """What was chosen, by which method, and how often a bootstrap over probing videos agrees."""
    layer, stable = selection.get("layer"), selection.get("stability")
    chosen = f"layer {layer}" if layer is not None else f"heads {selection['heads']}"
    text = f"chosen by {selection['method']}: {chosen}"
    if stable is None or layer is None:
        return text
    return (
        f"{text}, as in {100 * stable['wins']:.1f} % of {stable['replicates']} replicates that draw "
        "the probing videos again"
    )


def percent(value: float | None) -> str:
    """A share in percent, "-" where it is not defined."""
    return "-" if value is None else f"{100 * value:.2f}"


def _shares(found: Any, names: tuple[str, ...] = POOLED) -> list[str]:
    return [percent(lookup(found or {}, name)) for name in names]


def _pooled(metrics: Mapping[str, Any]) -> str:
    """The figures of pooled frames: of the run, of parts of it, and of scores without a pixel."""
    bands = metrics["bootstrap"]
    level = f"{100 * bands['level']:g} % interval"
    rows = [
        ["these scores" if "scores" in metrics else "this run", *_shares(metrics)],
        [f"  {level}", *(_band(bands.get(name)) for name in POOLED)],
        ["  before smoothing", *_shares(metrics.get("unsmoothed"))],
        ["  thresholded curve", *_shares(metrics, ("auc_thresholded", "ap_thresholded")), ""],
        ["  anomalous videos only", *_shares(metrics.get("anomalous_only"))],
        ["labels or length alone, without a pixel:", "", "", ""],
    ]
    found = metrics["baselines"]
    order = [*BASELINES, *found]
    rows += [
        [f"  {BASELINES.get(name, name)}", *_shares(found[name])]
        for name in sorted(found, key=order.index)
    ]
    return table(["frame-level", "AUC", "AP", "AP, trapezoid"], rows)


def _others(metrics: Mapping[str, Any]) -> str:
    bands = metrics["bootstrap"]
    within = "macro_within_video_auc"
    alarms = metrics["false_alarms_per_hour"]
    rows = [
        ["AUC within a video, mean", percent(metrics[within]), _band(bands.get(within))],
        ["AUC of videos, by their highest score", percent(metrics["video_level_auc"]), ""],
        ["false alarms per hour of normal video", "-" if alarms is None else f"{alarms:.1f}", ""],
    ]
    calibration = metrics.get("calibration", {})
    names = {
        "ece": "calibration error of the scores (ECE)",
        "brier": "Brier score",
        "base_rate_brier": "  of the share of anomalous frames as a score",
    }
    for name, text in names.items():
        value = calibration.get(name)
        rows.append([text, "-" if value is None else f"{value:.4f}", ""])
    return table(["", "value", f"{100 * bands['level']:g} % interval"], rows)


def _events(metrics: Mapping[str, Any]) -> str:
    """The figures of detected intervals, by temporal IoU; nothing where none could be detected."""
    names = ("precision", "recall", "f1", "ap", "map")
    if all(found["matched"] is None for found in metrics["events"].values()):
        return ""
    rows = [
        [f"intervals, IoU {tiou}", _count(found["matched"]), *_shares(found, names)]
        for tiou, found in metrics["events"].items()
    ]
    mean = [percent(metrics.get(f"event_{name}")) for name in ("ap", "map")]
    if len(rows) > 1:
        rows.append(["  mean", "", "", "", "", *mean])
    head = ["event-level", "matched", "precision", "recall", "F1", "AP", "mAP"]
    return table(head, rows) if rows else ""


def _classes(metrics: Mapping[str, Any]) -> str:
    """The figures of each class beside all normal videos; nothing where there is one class."""
    found = metrics["per_class"]
    if len(found) < 2:
        return ""
    rows = [
        [
            name or "(no class)",
            _count(figures["videos"]),
            *_shares(figures),
            percent(figures["within_video_auc"]),
        ]
        for name, figures in sorted(found.items())
    ]
    head = ["class, with all normal videos", "videos", "AUC", "AP", "AP, trapezoid", "AUC within"]
    return table(head, rows)


def _notes(metrics: Mapping[str, Any]) -> list[str]:
    """What the figures rest on, what they leave out, and what is not defined."""
    counts, bands = metrics["counts"], metrics["bootstrap"]
    lines = [
        *_threshold(metrics.get("threshold") or {}),
        f"{counts['videos']} test videos ({counts['anomalous_videos']} anomalous), "
        f"{counts['frames']} frames, {counts['positive_frames']} of them anomalous; shares in "
        f"percent; intervals over videos, {bands['replicates']} replicates, seed {bands['seed']}",
    ]
    if view_of(metrics):
        lines.append(f"labels: {view_of(metrics)}")
    for remark in remarks_of(metrics):
        items = f": {_first(remark.items, '; ')}" if remark.items else ""
        lines.append(f"{'NOT COMPLETE: ' if remark.alarm else ''}{remark.text}{items}")
    return lines + _undefined(metrics["undefined"])


def _threshold(record: Mapping[str, Any]) -> list[str]:
    """The threshold and how it was set; nothing where the metrics hold none."""
    if record.get("threshold") is None:
        return []
    how = {
        "kappa": f"kappa {record.get('kappa')}",
        "f1": "the best F1 of held-out frames of training videos",
        "given": "given",
    }.get(record["rule"], "set by hand")
    found = record.get("training_rows")
    rows = ""
    if found:
        of = "held out of the fit" if found["scores"] == "held_out" else "that were fitted on"
        rows = f"; F1 of the frames of training videos {of}: {percent(found['f1'])}"
    return [f"threshold: {record['threshold']:.4f}, {how}{rows}"]


def _undefined(reasons: Mapping[str, str]) -> list[str]:
    """One line for every reason, with figures that it holds for, those of all videos first."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in sorted(reasons.items(), key=lambda found: found[0].count(".")):
        by_reason.setdefault(reason, []).append(name)
    return [f"undefined ({reason}): {_first(names, ', ')}" for reason, names in by_reason.items()]


def _first(items: Sequence[str], between: str) -> str:
    """The first of many, and how many more there are."""
    more = len(items) - SHOWN
    return between.join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _band(band: Any) -> str:
    return "" if band is None else f"{100 * band['low']:.1f} to {100 * band['high']:.1f}"
