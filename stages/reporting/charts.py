"""The pictures of a whole run: layers, pooled curves, probing scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cache.ranges import ranges_of
from stages.reporting.drawing import GRID, INK, MODEL, MUTED, NORMAL, TRUTH, drawing, finish, place

Floats = NDArray[np.float64]
BINS = 24
"""Bars of the histogram of probing scores."""


def draw_layers(
    prefix: str,
    name: str,
    numbers: Sequence[int],
    values: Sequence[float | None],
    chosen: int,
    width: float,
) -> Markup:
    """One figure per layer as a line over their numbers, the chosen one marked; None is left out."""
    layers = [layer for layer, value in zip(numbers, values, strict=True) if value is not None]
    known = [value for value in values if value is not None]
    with drawing(width, 190) as figure:
        axes = place(figure, 52, 26, 14, 42)
        axes.axvline(chosen, color=TRUTH, linestyle=(0, (2, 2)), linewidth=1.2)
        axes.plot(layers, known, color=MODEL, marker="o", markersize=3.5)
        if chosen in layers:
            axes.plot(
                [chosen], [known[layers.index(chosen)]], linestyle="none", marker="D", markersize=8,
                color=TRUTH,
            )  # fmt: skip
        first, last = numbers[0], numbers[-1]
        margin = 0.03 * (last - first) + 0.2
        axes.set_xlim(first - margin, last + margin)
        left = chosen > (first + last) / 2
        axes.annotate(
            f"layer {chosen}", (chosen, 1.0), xycoords=axes.get_xaxis_transform(),
            xytext=(-5 if left else 5, 6), textcoords="offset points",
            ha="right" if left else "left", va="bottom", fontsize=11.5,
        )  # fmt: skip
        axes.margins(y=0.12)
        axes.grid(axis="y")
        axes.set_xlabel("layer", labelpad=2)
        axes.locator_params(axis="x", integer=True, nbins=8 if width < 500 else 16)
        axes.locator_params(axis="y", nbins=5)
        described = _describe_layers(name, layers, known, chosen)
        return finish(figure, prefix, f"{name} by layer", described)


def _describe_layers(name: str, layers: Sequence[int], values: Sequence[float], chosen: int) -> str:
    if not values:
        return f"{name} is not known for any layer."
    top = int(np.argmax(values))
    return (
        f"{name} of layers {ranges_of(layers)}; highest, {values[top]:.4g}, at layer "
        f"{layers[top]}. The chosen layer is {chosen}."
    )


def draw_roc(prefix: str, x: Floats, y: Floats, auc: str) -> Markup:
    """The pooled ROC curve with the diagonal of chance."""
    with drawing(400, 360) as figure:
        axes = _square(figure)
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (2, 2)), linewidth=1.1)
        _remark(axes, "dashed: chance")
        axes.plot(x, y, color=MODEL, linewidth=2)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        return finish(figure, prefix, "ROC curve over all test frames", f"Area under it: {auc} %.")


def draw_pr(prefix: str, x: Floats, y: Floats, ap: str, prevalence: float | None) -> Markup:
    """The pooled precision-recall curve with the share of anomalous frames."""
    with drawing(400, 360) as figure:
        axes = _square(figure)
        if prevalence is not None:
            axes.axhline(prevalence, color=MUTED, linestyle=(0, (2, 2)), linewidth=1.1)
            _remark(axes, f"dashed: chance, {100 * prevalence:.1f} % of the frames are anomalous")
        axes.plot(x, y, color=MODEL, linewidth=2)
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        return finish(
            figure, prefix, "Precision-recall curve over all test frames",
            f"Average precision: {ap} %.",
        )  # fmt: skip


def _remark(axes: Axes, text: str) -> None:
    """A line above the axes, where no curve can run through it."""
    axes.annotate(
        text, (1.0, 1.0), xycoords="axes fraction", xytext=(0, 8), textcoords="offset points",
        ha="right", color=MUTED, fontsize=11,
    )  # fmt: skip


def _square(figure: Figure) -> Axes:
    axes = place(figure, 52, 28, 14, 48)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.grid()
    return axes


def draw_probing(
    prefix: str, normal: Floats, anomalous: Floats, mu: float, sigma: float, threshold: float | None
) -> Markup:
    """Histograms of the probing scores of both classes, each in per cent of its class.

    mu and sigma are those of the scorer; the threshold is left out where there is none.
    """
    scores = np.concatenate([normal, anomalous])
    low, high = min(0.0, float(scores.min())), max(1.0, float(scores.max()))
    edges = np.linspace(low, high, BINS + 1)
    with drawing(920, 250) as figure:
        axes = place(figure, 52, 30, 90, 46)
        axes.axvspan(mu - sigma, mu + sigma, color=GRID, alpha=0.55, linewidth=0)
        axes.stairs(_shares(normal, edges), edges, fill=True, color=NORMAL, alpha=0.55)
        axes.stairs(
            _shares(anomalous, edges), edges, fill=True, facecolor="none", edgecolor=TRUTH,
            hatch="////", linewidth=1.6,
        )  # fmt: skip
        axes.axvline(mu, color=MUTED, linewidth=1.4)
        marks = [(mu, "μA", MUTED)]
        if threshold is not None:
            axes.axvline(threshold, color=INK, linestyle=(0, (5, 3)), linewidth=1.2)
            marks.append((threshold, "T", INK))
        _label(axes, sorted(marks))
        margin = 0.01 * (high - low)
        axes.set_xlim(low - margin, high + margin)
        axes.set_xlabel("score")
        axes.set_ylabel("% of the class")
        axes.grid(axis="y")
        return finish(
            figure, prefix, "Distribution of the probing scores",
            f"{len(normal)} normal rows, mean {_mean(normal)}; {len(anomalous)} anomalous rows, mean "
            f"{_mean(anomalous)}. Mean of all {mu:.4f}, deviation {sigma:.4f}.",
        )  # fmt: skip


def _label(axes: Axes, marks: Sequence[tuple[float, str, str]]) -> None:
    """Names above the lines: the first to its left, the others to their right, so none overlap."""
    for place_, (x, text, colour) in enumerate(marks):
        left = place_ == 0 and len(marks) > 1
        axes.annotate(
            f"{text} = {x:.3f}", (x, 1.0), xycoords=axes.get_xaxis_transform(),
            xytext=(-4 if left else 4, 6), textcoords="offset points",
            ha="right" if left else "left", va="bottom", fontsize=11.5, color=colour,
        )  # fmt: skip


def _shares(scores: Floats, edges: Floats) -> Floats:
    counts, _ = np.histogram(scores, bins=edges)
    shares: Floats = 100.0 * counts / max(len(scores), 1)
    return shares


def _mean(scores: Floats) -> str:
    return f"{scores.mean():.4f}" if len(scores) else "unknown"
