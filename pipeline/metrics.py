"""The metrics of a run as a person reads them: every figure beside what labels alone would give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.view import table

BASELINES = {
    "constant_oracle": "knows the video's label",
    "constant_oracle_x_centre_gaussian": "knows the video's label, and bets on its middle",
    "centre_gaussian": "bets on the middle of every video",
    "inverse_length": "bets on short videos (1 / length)",
}


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """A table of results, with bootstrap intervals and the label-only baselines."""
    bands = metrics["bootstrap"]
    rows = [
        ["frame-level AUC", percent(metrics["auc"]), _band(bands.get("auc"))],
        ["frame-level AP", percent(metrics["ap"]), _band(bands.get("ap"))],
        ["  AP, trapezoid", percent(metrics["ap_trapezoid"]), ""],
        ["  AUC, thresholded curve", percent(metrics["auc_thresholded"]), ""],
        ["  AUC before smoothing", percent(metrics["unsmoothed"]["auc"]), ""],
        ["AUC, anomalous videos only", percent(metrics["anomalous_only"]["auc"]), ""],
        [
            "AUC within a video, mean",
            percent(metrics["macro_within_video_auc"]),
            _band(bands.get("macro_within_video_auc")),
        ],
        ["AUC of videos", percent(metrics["video_level_auc"]), ""],
    ]
    for tiou, found in metrics["events"].items():
        rows.append([f"event F1 at IoU {tiou}", percent(found["f1"]), ""])
    alarms = metrics["false_alarms_per_hour"]
    rows.append(["false alarms per hour", "-" if alarms is None else f"{alarms:.1f}", ""])
    text = table(["measure", "value", "95 % interval"], rows)
    baselines = [
        [BASELINES.get(name, name), *(percent(found[n]) for n in ("auc", "ap", "ap_trapezoid"))]
        for name, found in metrics["baselines"].items()
    ]
    text += "\n\nscores made from labels or length alone, without a pixel:\n"
    text += table(["baseline", "AUC", "AP", "AP trapezoid"], baselines)
    counts = metrics["counts"]
    text += f"\n\n{counts['videos']} test videos, {counts['frames']} frames, {counts['positive_frames']} of them anomalous"
    missing = metrics["missing"]
    if missing["count"]:
        text += f"\nNOT in these figures: {missing['count']} test videos that failed: "
        text += ", ".join(missing["videos"][:10])
    for name, reason in metrics["undefined"].items():
        text += f"\nundefined: {name}: {reason}"
    return text


def percent(value: float | None) -> str:
    """A share in percent, "-" where it is not defined."""
    return "-" if value is None else f"{100 * value:.2f}"


def _band(band: Any) -> str:
    if band is None:
        return ""
    low, high = (band["low"], band["high"]) if isinstance(band, Mapping) else band
    return "" if low is None else f"{100 * low:.2f} to {100 * high:.2f}"
