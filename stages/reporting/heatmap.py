"""A figure per attention head, as a map of layers and heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from stages.reporting.drawing import GRID, MODEL, TRUTH, drawing, finish, place

Pair = tuple[int, int]
"""(layer, head), both counted from 0."""

STEPS = 16
"""Shades: one path in the picture holds all the heads of a shade, however many there are."""
CELL = 13
"""Height of a head in CSS pixels."""


def draw_heads(
    prefix: str,
    name: str,
    heads: Sequence[Pair],
    values: Sequence[float | None],
    chosen: Sequence[Pair],
) -> Markup:
    """The figure of every kept head as a shade, the chosen ones framed; None has no shade.

    Layers run to the right and heads upwards, both at their numbers, so that heads which are not
    kept leave gaps.
    """
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    top = max(head for _, head in heads)
    with drawing(920, max(160, 68 + CELL * (top + 1))) as figure:
        axes = place(figure, 52, 14, 110, 42)
        _fill(axes, _by_shade(heads, values, low, high))
        _frame(axes, [p for p, v in zip(heads, values, strict=True) if v is None], GRID, 0.8)
        _frame(axes, chosen, TRUTH, 2.2)
        first, last = heads[0][0], heads[-1][0]
        axes.set_xlim(first - 0.7, last + 0.7)
        axes.set_ylim(-0.7, top + 0.7)
        axes.set_xlabel("layer", labelpad=2)
        axes.set_ylabel("head")
        axes.set_xticks(_ticks(first, last, 16))
        axes.set_yticks(_ticks(0, top, max(2, top // 3)))
        if known:
            _key(figure, low, high)
        described = _describe(name, heads, values, chosen)
        return finish(figure, prefix, f"{name} by layer and head", described)


def _ticks(first: int, last: int, most: int) -> list[int]:
    """At most so many numbers from `first` to `last`, equally far apart."""
    return list(range(first, last + 1, -(-(last - first + 1) // most)))


def _by_shade(
    heads: Sequence[Pair], values: Sequence[float | None], low: float, high: float
) -> dict[int, list[Pair]]:
    """The heads of every shade from 0, the lowest figure, to STEPS - 1."""
    found: dict[int, list[Pair]] = {}
    for pair, value in zip(heads, values, strict=True):
        if value is not None:
            share = (value - low) / (high - low) if high > low else 1.0
            found.setdefault(round(share * (STEPS - 1)), []).append(pair)
    return found


def _opacity(shade: int) -> float:
    """Even the lowest shade is to be told from a gap."""
    return 0.06 + 0.94 * shade / (STEPS - 1)


def _fill(axes: Axes, shades: dict[int, list[Pair]]) -> None:
    for shade, cells in sorted(shades.items()):
        axes.add_patch(
            PathPatch(_cells(cells, 0.46), facecolor=MODEL, alpha=_opacity(shade), linewidth=0)
        )


def _frame(axes: Axes, cells: Sequence[Pair], colour: str, width: float) -> None:
    if cells:
        axes.add_patch(
            PathPatch(_cells(cells, 0.46), facecolor="none", edgecolor=colour, linewidth=width)
        )


def _cells(cells: Iterable[Pair], half: float) -> Path:
    """Squares of twice `half` around some places, as one path."""
    corners = ((-half, -half), (half, -half), (half, half), (-half, half), (-half, -half))
    vertices = [(x + dx, y + dy) for x, y in cells for dx, dy in corners]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(vertices, codes * (len(vertices) // len(corners)))


def _key(figure: Figure, low: float, high: float) -> None:
    """The shades and what the lowest and the highest stand for, beside the map."""
    axes = place(figure, 836, 14, 68, 42)
    _fill(axes, {shade: [(0, shade)] for shade in range(STEPS)})
    axes.set_xlim(-0.5, 0.5)
    axes.set_ylim(-0.5, STEPS - 0.5)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([0, STEPS - 1], [f"{low:.3g}", f"{high:.3g}"])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _describe(
    name: str, heads: Sequence[Pair], values: Sequence[float | None], chosen: Sequence[Pair]
) -> str:
    ranked = [(-v, pair) for pair, v in zip(heads, values, strict=True) if v is not None]
    if not ranked:
        return f"{name} is not known for any head."
    least, (layer, head) = min(ranked)
    named = ", ".join(f"layer {x} head {y}" for x, y in chosen)
    return (
        f"{name} of {len(heads)} heads; highest, {-least:.4g}, at layer {layer} head {head}. "
        f"Chosen are {named}."
    )
