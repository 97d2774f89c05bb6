"""Rows of the probing videos in the plane, each class with a mark of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from stages.reporting.drawing import MUTED, NORMAL, TRUTH, drawing, finish, place

Floats = NDArray[np.float64]
SIDE = 250
"""Of the square in CSS pixels."""
EDGE = 14
"""Pixels between the outermost marks and the frame."""
DOT = ((-2.2, -2.2), (2.2, -2.2), (2.2, 2.2), (-2.2, 2.2), (-2.2, -2.2))
"""A normal row: a small filled square, in pixels."""
CROSS = ((-3.0, 0.0), (3.0, 0.0)), ((0.0, -3.0), (0.0, 3.0))
"""An anomalous row: a cross, which is seen where marks lie over each other."""


def draw_scatter(
    prefix: str,
    name: str,
    points: Sequence[tuple[float, float]],
    labels: Sequence[int],
    axes_named: tuple[str, str] | None,
) -> Markup:
    """Points with labels 0 or 1; both axes have one scale. Axes without names have no meaning.

    All marks of a class are one path, so that a page of pictures stays small.
    """
    spots = _in_pixels(np.asarray(points, dtype=np.float64).reshape(-1, 2))
    anomalous = np.asarray(labels) == 1
    with drawing(SIDE + 28, SIDE + 28) as figure:
        axes = _square(figure)
        axes.add_patch(
            PathPatch(_squares(spots[~anomalous]), facecolor=NORMAL, alpha=0.55, linewidth=0)
        )
        axes.add_patch(
            PathPatch(_crosses(spots[anomalous]), facecolor="none", edgecolor=TRUTH, linewidth=1.3)
        )
        if axes_named:
            axes.set_xlabel(axes_named[0], labelpad=6, color=MUTED, fontsize=11.5)
            axes.set_ylabel(axes_named[1], labelpad=6, color=MUTED, fontsize=11.5)
        described = f"{int((~anomalous).sum())} normal and {int(anomalous.sum())} anomalous rows."
        return finish(figure, prefix, name, described)


def _in_pixels(points: Floats) -> Floats:
    """Points with the middle of their range in the middle of the square, on one scale."""
    if not len(points):
        return points
    low, high = points.min(axis=0), points.max(axis=0)
    width = float((high - low).max())
    scale = (SIDE - 2 * EDGE) / width if width > 0 else 0.0
    found: Floats = (points - (low + high) / 2) * scale + SIDE / 2
    return found


def _square(figure: Figure) -> Axes:
    axes = place(figure, 26, 2, 2, 26)
    axes.set_xlim(0, SIDE)
    axes.set_ylim(0, SIDE)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    return axes


def _squares(spots: Floats) -> Path:
    corners = np.asarray(DOT)
    vertices = (spots[:, None] + corners).reshape(-1, 2)
    codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY] * len(spots)
    return Path(vertices, codes)


def _crosses(spots: Floats) -> Path:
    strokes = np.asarray(CROSS).reshape(-1, 2)
    vertices = (spots[:, None] + strokes).reshape(-1, 2)
    return Path(vertices, [Path.MOVETO, Path.LINETO] * (2 * len(spots)))
