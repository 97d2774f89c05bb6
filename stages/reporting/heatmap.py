"""A figure per attention head, as a map of layers and heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from stages.reporting.drawing import MODEL, MUTED, TRUTH, drawing, finish, place

Pair = tuple[int, int]
"""(layer, head), both counted from 0."""

STEPS = 16
"""Shades: one path in the picture holds all the heads of a shade, however many there are."""
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 920, 52, 110, 22, 42
"""The picture and its margins in CSS pixels; the key stands in the one to the right."""
LOW, HIGH, BROAD = 13, 22, 44
"""Heights of a head, where there are many in a layer and where there are few, and its most width."""
SMALL = 10
"""Size of the words beside the key and below the map."""


def draw_heads(
    prefix: str,
    name: str,
    heads: Sequence[Pair],
    values: Sequence[float | None],
    chosen: Sequence[Pair],
) -> Markup:
    """The figure of every kept head as a shade, the chosen ones framed; a cross where it is None.

    Layers run to the right and heads upwards, both at their numbers, so that heads which are not
    kept leave gaps.
    """
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    top = max(head for _, head in heads)
    first, last = heads[0][0], heads[-1][0]
    missing = [pair for pair, value in zip(heads, values, strict=True) if value is None]
    cell = LOW if top >= 16 else HIGH
    width = min(WIDTH - LEFT - RIGHT, round((last - first + 1.4) * BROAD))
    right = WIDTH - LEFT - width
    with drawing(WIDTH, max(170, TOP + BOTTOM + cell * (top + 1))) as figure:
        axes = place(figure, LEFT, TOP, right, BOTTOM)
        _fill(axes, _by_shade(heads, values, low, high))
        _cross(axes, missing)
        _frame(axes, chosen)
        axes.set_xlim(first - 0.7, last + 0.7)
        axes.set_ylim(-0.7, top + 0.7)
        axes.set_xlabel("layer", labelpad=2)
        axes.set_ylabel("head")
        axes.set_xticks(_ticks(first, last, 16))
        axes.set_yticks(_ticks(0, top, max(4, top // 3)))
        if known:
            _key(figure, right, name, low, high)
        _legend(figure, right, bool(chosen), bool(missing))
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


def _frame(axes: Axes, cells: Sequence[Pair]) -> None:
    """A frame around each of these heads."""
    if cells:
        axes.add_patch(
            PathPatch(_cells(cells, 0.46), facecolor="none", edgecolor=TRUTH, linewidth=2.2)
        )


def _cross(axes: Axes, cells: Sequence[Pair]) -> None:
    """A cross in the place of each of these heads: that it is kept, and has no figure."""
    if cells:
        ends = ((-0.3, -0.3), (0.3, 0.3), (-0.3, 0.3), (0.3, -0.3))
        vertices = [(x + dx, y + dy) for x, y in cells for dx, dy in ends]
        codes = [Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO] * len(cells)
        path = Path(vertices, codes)
        axes.add_patch(PathPatch(path, facecolor="none", edgecolor=MUTED, linewidth=1.0))


def _cells(cells: Iterable[tuple[float, float]], half: float) -> Path:
    """Squares of twice `half` around some places, as one path."""
    corners = ((-half, -half), (half, -half), (half, half), (-half, half), (-half, -half))
    vertices = [(x + dx, y + dy) for x, y in cells for dx, dy in corners]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(vertices, codes * (len(vertices) // len(corners)))


def _key(figure: Figure, right: float, name: str, low: float, high: float) -> None:
    """The shades and what the lowest, the middle and the highest stand for, beside the map."""
    axes = place(figure, WIDTH - right + 26, TOP, right - 42, BOTTOM)
    for shade in range(STEPS):
        strip = [(0.0, float(shade))]
        axes.add_patch(
            PathPatch(_cells(strip, 0.5), facecolor=MODEL, alpha=_opacity(shade), linewidth=0)
        )
    axes.set_xlim(-0.5, 0.5)
    axes.set_ylim(-0.5, STEPS - 0.5)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    most = float(STEPS - 1)
    marks = {low: 0.0, low / 2 + high / 2: most / 2, high: most} if high > low else {low: most}
    axes.set_yticks([*marks.values()], [f"{value:.3g}" for value in marks])
    axes.set_title(name, fontsize=SMALL + 1, loc="left", pad=7)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _legend(figure: Figure, right: float, chosen: bool, missing: bool) -> None:
    """What a frame and a cross mean, below the key."""
    axes = place(figure, WIDTH - right + 26, 0, 0, 0)
    width, height = right - 26, float(figure.get_size_inches()[1]) * 72
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_axis_off()
    signs = [(_frame, "chosen")] * chosen + [(_cross, "no figure")] * missing
    for line, (draw, text) in enumerate(signs):
        y = BOTTOM - 14 - 15 * line
        draw_at = axes.inset_axes((0, y - 5, 14, 10), transform=axes.transData)
        draw_at.set_xlim(-0.6, 0.6)
        draw_at.set_ylim(-0.6, 0.6)
        draw_at.set_axis_off()
        draw(draw_at, [(0, 0)])
        axes.text(20, y, text, fontsize=SMALL, color=MUTED, va="center_baseline")


def _describe(
    name: str, heads: Sequence[Pair], values: Sequence[float | None], chosen: Sequence[Pair]
) -> str:
    ranked = [(-v, pair) for pair, v in zip(heads, values, strict=True) if v is not None]
    if not ranked:
        return f"{name} is not known for any head."
    least, (layer, head) = min(ranked)
    named = ", ".join(f"layer {x} head {y}" for x, y in chosen)
    missing = len(heads) - len(ranked)
    return (
        f"{name} of {len(heads)} heads; highest, {-least:.4g}, at layer {layer} head {head}. "
        f"Chosen are {named}."
        + (f" {missing} of the heads {'has' if missing == 1 else 'have'} none." if missing else "")
    )
