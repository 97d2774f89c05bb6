"""The picture of one video: score over time, what was detected, what is annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from stages.reporting.drawing import GRID, INK, MODEL, MUTED, RAW, TRUTH, drawing, finish, place

Floats = NDArray[np.float64]
Seconds = tuple[float, float]

WIDTH, HEIGHT = 920.0, 208.0
LEFT, RIGHT = 84.0, 74.0
MOST_STEPS = 400
"""Beyond so many segments, the highest and the lowest score of every group are drawn."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The scores of one video, segment after segment."""

    start_s: Floats
    """[segments] seconds."""
    end_s: Floats
    """[segments] seconds."""
    score: Floats
    """[segments] as the scorer gave it."""
    smoothed: Floats
    """[segments] after the Gaussian."""
    threshold: float

    @property
    def peak(self) -> int:
        """The segment with the highest smoothed score; the first of equals."""
        return int(np.argmax(self.smoothed))

    @property
    def step(self) -> int:
        """How many segments are drawn as one group; 1 draws every segment."""
        return -(-len(self.score) // MOST_STEPS)


def draw_video(
    prefix: str,
    title: str,
    description: str,
    curve: Curve,
    detected: Sequence[Seconds],
    annotated: Sequence[Seconds],
    unannotated: str,
) -> Markup:
    """Score over time in seconds above two strips: the detected and the annotated intervals.

    `unannotated` stands in the strip where there is no annotated interval.
    """
    with drawing(WIDTH, HEIGHT) as figure:
        scores = place(figure, LEFT, 8, RIGHT, 84)
        strips = place(figure, LEFT, HEIGHT - 78, RIGHT, 38)
        _draw_scores(scores, curve, annotated)
        _draw_strips(strips, detected, annotated, unannotated)
        begin, end = float(curve.start_s[0]), float(curve.end_s[-1])
        for axes in (scores, strips):
            axes.set_xlim(begin, max(end, begin + 1e-3))
        return finish(figure, prefix, title, description)


def _draw_scores(axes: Axes, curve: Curve, annotated: Sequence[Seconds]) -> None:
    for start, end in annotated:
        axes.axvspan(start, end, color=TRUTH, alpha=0.13, linewidth=0)
    axes.axhline(curve.threshold, color=INK, linestyle=(0, (5, 3)), linewidth=1.1)
    axes.text(
        1.008, curve.threshold, f"T = {curve.threshold:.3f}", va="center",
        transform=axes.get_yaxis_transform(), fontsize=11.5,
    )  # fmt: skip
    if curve.step == 1:
        edges = np.append(curve.start_s, curve.end_s[-1])
        axes.stairs(curve.score, edges, color=RAW, linewidth=1.1, baseline=None)
    else:
        axes.plot(*thin(curve, curve.score), color=RAW, linewidth=0.8)
    axes.plot(*thin(curve, curve.smoothed), color=MODEL, linewidth=2.0)
    axes.set_ylim(*_limits(curve))
    axes.set_ylabel("score")
    axes.grid(axis="y")
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.locator_params(axis="y", nbins=4)


def _limits(curve: Curve) -> tuple[float, float]:
    """[0, 1] for probabilities, and what holds everything for other scores; with a margin."""
    values = np.concatenate([curve.score, curve.smoothed, [curve.threshold]])
    low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
    margin = 0.04 * (high - low)
    return low - margin, high + margin


def _draw_strips(
    axes: Axes, detected: Sequence[Seconds], annotated: Sequence[Seconds], unannotated: str
) -> None:
    axes.broken_barh(
        [(start, end - start) for start, end in detected], (1.15, 0.7),
        facecolor=MODEL, edgecolor=MODEL, linewidth=0.5,
    )  # fmt: skip
    axes.broken_barh(
        [(start, end - start) for start, end in annotated], (0.15, 0.7),
        facecolor="none", edgecolor=TRUTH, linewidth=1.2, hatch="////",
    )  # fmt: skip
    for row, text in (
        (1.5, "" if detected else "none above T"),
        (0.5, "" if annotated else unannotated),
    ):
        axes.text(
            0.006, row, text, va="center", color=MUTED, fontsize=11.5,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.set_ylim(0, 2)
    axes.set_yticks([0.5, 1.5], ["annotated", "detected"])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.axhline(1, color=GRID, linewidth=0.8)
    axes.locator_params(axis="x", nbins=10)
    axes.set_xlabel("seconds", labelpad=2)
    axes.spines["left"].set_visible(False)


def thin(curve: Curve, values: Floats) -> tuple[Floats, Floats]:
    """Points (seconds, value) of a line through the middles of the segments.

    Where there are more than MOST_STEPS segments, each group of `curve.step` gives its lowest and
    its highest value in their order, so that no peak is lost.
    """
    middles = (curve.start_s + curve.end_s) / 2
    if curve.step == 1:
        return middles, values
    kept: list[int] = []
    for first in range(0, len(values), curve.step):
        group = values[first : first + curve.step]
        kept += sorted({first + int(np.argmin(group)), first + int(np.argmax(group))})
    return middles[kept], values[kept]
