"""From a matplotlib figure to an SVG that can stand in a page beside many others."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, MODEL, TRUTH, RAW, NORMAL = (f"#0{n}0{n}0{n}" for n in range(1, 8))
"""Stand-ins for the colours of page.css, which knows whether the page is light or dark."""

_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    MODEL: "var(--model)",
    TRUTH: "var(--truth)",
    RAW: "var(--raw)",
    NORMAL: "var(--normal)",
}
_OWN: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hiprobe",
    "text.parse_math": False,
    "text.color": INK,
    "font.size": 12.0,
    "axes.facecolor": "none",
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.labelsize": 12.0,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "figure.dpi": 72.0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "hatch.linewidth": 1.2,
    "lines.linewidth": 1.6,
    "savefig.facecolor": "none",
    "savefig.edgecolor": "none",
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}

_PROLOGUE = re.compile(r"^.*?(?=<svg )", re.DOTALL)
_SHARED_STYLE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_OPENING = re.compile(r"<svg [^>]*>")
_VIEW_BOX = re.compile(r'viewBox="([^"]*)"')
_REFERENCE = re.compile(r"""(?:url\(#|href="#)([^")]+)""")
_ID = re.compile(r' id="([^"]*)"')
_GEOMETRY = re.compile(r' (?:d|x|y|width|height|transform)="[^"]*"')
_DIGITS = re.compile(r"(\.\d\d)\d+")
_FAMILY = re.compile(r" font-family: [^;\"]*;?")
_BLANKS = re.compile(r"\n\s*")


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of [width, height] CSS pixels under settings that no file of the user changes."""
    plain: dict[Any, Any] = {
        k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith("backend")
    }
    with matplotlib.rc_context({**plain, **_OWN}):
        figure = Figure(figsize=(width / 72, height / 72))
        FigureCanvasSVG(figure)
        yield figure


def place(figure: Figure, left: float, top: float, right: float, bottom: float) -> Axes:
    """Axes whose margins to the edges of the figure are given in CSS pixels."""
    width, height = (float(inches) * 72 for inches in figure.get_size_inches())
    box = (left / width, bottom / height, (width - left - right) / width)
    return figure.add_axes((*box, (height - top - bottom) / height))


def finish(figure: Figure, prefix: str, title: str, description: str) -> Markup:
    """The figure as an inline <svg>: the same figure gives the same text.

    `prefix` begins every id, so that pictures of one page do not share any; `title` and
    `description` are for screen readers and are escaped. Call it inside `drawing`.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    text = _PROLOGUE.sub("", buffer.getvalue(), count=1)
    text = _METADATA.sub("", _SHARED_STYLE.sub("", text, count=1), count=1)
    text = _FAMILY.sub("", text)
    text = _GEOMETRY.sub(lambda found: _DIGITS.sub(r"\1", found.group()), text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    text = _BLANKS.sub(" ", _rename_ids(text, prefix)).replace("> <", "><").strip()
    return Markup(
        _OPENING.sub(lambda found: _head(found.group(), prefix, title, description), text, 1)
    )


def _rename_ids(text: str, prefix: str) -> str:
    """Drop the ids that nothing refers to, and put the prefix before the others."""
    names: dict[str, str] = {}
    for name in _REFERENCE.findall(text):
        names.setdefault(name, f"{prefix}-{len(names)}")
    text = _ID.sub(lambda f: f' id="{names[f[1]]}"' if f[1] in names else "", text)
    return _REFERENCE.sub(lambda found: found[0].replace(found[1], names[found[1]]), text).replace(
        "xlink:href", "href"
    )


def _head(opening: str, prefix: str, title: str, description: str) -> str:
    box = _VIEW_BOX.search(opening)
    assert box is not None, "matplotlib writes a viewBox"
    return (
        f'<svg viewBox="{box[1]}" role="img" aria-labelledby="{prefix}-t {prefix}-d">'
        f'<title id="{prefix}-t">{escape(title)}</title>'
        f'<desc id="{prefix}-d">{escape(description)}</desc>'
    )
