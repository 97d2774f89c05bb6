"""How the threshold was set, and what others would do on training rows, as a page shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from stages.reporting.drawing import INK, MODEL, NORMAL, RAW, drawing, finish, place
from stages.reporting.figures import per_cent
from stages.reporting.reading import Columns, Material

LINES = (
    ("precision", "precision", NORMAL, (0, (6, 2))),
    ("recall", "recall", RAW, (0, (1.5, 1.5))),
    ("f1", "F1", MODEL, "solid"),
)
"""Column, name, colour and dashes of the curves; told apart without colours too."""
SCORES = {
    "held_out": "held-out scores: each training video is scored by a scorer that was fitted without it",
    "fitted": "the scores of the very rows that the scorer was fitted on, which flatter it: it comes "
    "without held-out scores",
}
LABELS = {
    "video": "the labels are those of whole videos, so that every frame of an anomalous video counts "
    "as anomalous",
    "frame": "the labels are those of frames",
}
WHOLE = (
    " Every training video is one sample here, seen through keyframes of all of it, and the videos "
    "that are scored are cut into segments: what holds of the one need not hold of the other."
)


def thresholds_of(material: Material) -> dict[str, Any]:
    """The sentence of the rule, the curve over kappa and its table; nothing without a threshold."""
    record, columns = material.threshold, material.sensitivity
    if record is None:
        return {"threshold_rule": ""}
    found, rule = record.get("training_rows"), rule_of(record)
    if found is None or columns is None or not columns["kappa"]:
        return {"threshold_rule": rule, "sensitivity_picture": ""}
    return {
        "threshold_rule": rule,
        "threshold_at": _at(found),
        "threshold_rests_on": _rests_on(record, found),
        "sensitivity_picture": draw_sensitivity("kappas", columns, record),
        "sensitivity_rows": _rows(columns),
    }


def rule_of(record: Mapping[str, Any]) -> str:
    """How the threshold was set, in words that follow its value."""
    kappa, rule = record.get("kappa"), str(record["rule"])
    if rule == "kappa":
        return f"= μA + κ σA, with κ = {kappa:g}: no test video takes part in it"
    if rule == "f1":
        search = record["search"]
        equal = (
            f" ({search['from']:g} to {search['to']:g} do equally well)"
            if search["to"] > search["from"]
            else ""
        )
        return (
            "has the highest F1 of frames on held-out scores of the training videos, of "
            f"{search['tried']} thresholds in steps of {search['step']:g}{equal}: no test video "
            "takes part in it"
        )
    return f"was set by hand ({rule}): what it was chosen on is not recorded"


def _at(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of what the threshold does on training rows."""
    alarms = found["alarms_per_hour"]
    return [
        ("F1 of frames", _percent(found["f1"])),
        ("precision", _percent(found["precision"])),
        ("recall", _percent(found["recall"])),
        ("normal frames above T", _percent(found["normal_above"])),
        ("runs above T per hour of normal video", "–" if alarms is None else f"{alarms:.1f}"),
    ]


def _rests_on(record: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Which rows, scores and labels the figures on training rows are of."""
    frames = found["normal_frames"] + found["anomalous_frames"]
    labels = LABELS.get(str(record.get("labels")), "what the labels are of is not recorded")
    return (
        f"On {found['videos']} training videos with {frames} frames, {found['anomalous_frames']} of "
        f"them anomalous; {SCORES[found['scores']]}; {labels}. Smoothed as every video is."
        f"{WHOLE if record.get('unit') == 'video' else ''}"
    )


def _percent(value: float | None) -> str:
    shown = per_cent(value)
    return f"{shown} %" if value is not None else "–"


def _rows(columns: Columns) -> list[dict[str, str]]:
    """The table behind the picture."""
    return [
        {
            "kappa": f"{columns['kappa'][i]:.1f}",
            "threshold": f"{columns['threshold'][i]:.4f}",
            **{
                name: per_cent(columns[name][i]) if columns[name][i] is not None else "–"
                for name in ("f1", "precision", "recall", "normal_above")
            },
            "alarms": "–"
            if columns["alarms_per_hour"][i] is None
            else f"{columns['alarms_per_hour'][i]:.1f}",
        }
        for i in range(len(columns["kappa"]))
    ]


def draw_sensitivity(prefix: str, columns: Columns, record: Mapping[str, Any]) -> Markup:
    """F1, precision and recall of training frames over kappa, T above, the chosen one marked.

    A threshold that is no mu + kappa sigma within the picture, or whose sigma is 0, is named and not
    marked.
    """
    kappas: Sequence[float] = columns["kappa"]
    mu, sigma, kappa = float(record["mu"]), float(record["sigma"]), record.get("kappa")
    chosen = math.nan if kappa is None else float(kappa)
    marked = kappas[0] <= chosen <= kappas[-1]
    with drawing(920, 330) as figure:
        axes = place(figure, 52, 84, 14, 48)
        if marked:
            axes.axvline(chosen, color=INK, linestyle=(0, (5, 3)), linewidth=1.2)
        for name, text, colour, dashes in LINES:
            axes.plot(
                kappas,
                _numbers(columns[name]),
                color=colour,
                linestyle=dashes,
                linewidth=1.8,
                label=text,
            )
        axes.set_xlim(kappas[0] - 0.04, kappas[-1] + 0.04)
        axes.set_ylim(-2, 104)
        axes.grid(axis="y")
        axes.set_xlabel("κ, deviations above the mean", labelpad=2)
        axes.set_ylabel("% of frames")
        axes.locator_params(axis="x", nbins=9)
        _thresholds_above(axes, mu, sigma)
        axes.legend(
            ncol=3, loc="lower right", bbox_to_anchor=(1.0, 1.2), frameon=False, fontsize=11.5,
            handlelength=2.6, borderpad=0, borderaxespad=0,
        )  # fmt: skip
        axes.annotate(
            _named(record, marked=marked), (0.0, 1.0), xycoords="axes fraction", xytext=(0, 40),
            textcoords="offset points", ha="left", va="bottom", fontsize=11.5,
        )  # fmt: skip
        return finish(
            figure, prefix, "F1, precision and recall of training frames over kappa",
            _described(columns, record),
        )  # fmt: skip


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Per cent; a figure that is not defined is a gap in its line."""
    return np.asarray([math.nan if value is None else 100 * value for value in values])


def _thresholds_above(axes: Axes, mu: float, sigma: float) -> None:
    """An axis with T on top; none where all kappas are one threshold."""
    if sigma <= 0:
        return

    def threshold(kappa: Any) -> Any:
        return mu + sigma * kappa

    def kappa(threshold: Any) -> Any:
        return (threshold - mu) / sigma

    top = axes.secondary_xaxis("top", functions=(threshold, kappa))
    top.locator_params(axis="x", nbins=9)
    top.set_xlabel("threshold T", labelpad=4)


def _named(record: Mapping[str, Any], *, marked: bool) -> str:
    """The threshold of the run in the picture."""
    threshold, kappa = f"T = {record['threshold']:.3f}", record.get("kappa")
    if kappa is None:
        return threshold
    where = "dashed" if marked else "outside the picture"
    return f"{where}: {threshold}, κ = {kappa:.3g}".replace("-", "\N{MINUS SIGN}")


def _described(columns: Columns, record: Mapping[str, Any]) -> str:
    """The picture in words."""
    best = int(np.argmax(columns["f1"]))
    kappas, f1 = columns["kappa"], columns["f1"]
    text = (
        f"Kappa from {kappas[0]:g} to {kappas[-1]:g}. F1 is highest, {per_cent(f1[best])} %, at kappa "
        f"{kappas[best]:g}, T = {columns['threshold'][best]:.3f}; it is {per_cent(f1[0])} % at "
        f"{kappas[0]:g} and {per_cent(f1[-1])} % at {kappas[-1]:g}. The threshold of this run is "
        f"{record['threshold']:.3f}"
    )
    kappa = record.get("kappa")
    return f"{text}, kappa {kappa:.3g}." if kappa is not None else f"{text}."
