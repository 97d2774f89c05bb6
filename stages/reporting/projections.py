"""The pictures of the probing rows in the plane, as a page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.reporting.reading import Columns, Material
from stages.reporting.scatter import draw_scatter

NAMES = {"pca": "principal components", "tsne": "t-SNE"}


def projections_of(material: Material) -> dict[str, Any]:
    """The pictures, method after method, and how they were made; nothing where none were."""
    record, columns = material.projection, material.points
    if record is None or columns is None:
        return {"scatter_rows": [], "projection": None}
    rows: dict[str, list[Any]] = {}
    for number, picture in enumerate(record["pictures"]):
        rows.setdefault(picture["method"], []).append(_picture(number, picture, record, columns))
    return {
        "scatter_rows": [(NAMES[method], drawn) for method, drawn in rows.items()],
        "projection": record,
    }


def _picture(
    number: int, picture: Mapping[str, Any], record: Mapping[str, Any], columns: Columns
) -> dict[str, Any]:
    what, method = picture["what"], picture["method"]
    places = [
        i
        for i, pair in enumerate(zip(columns["what"], columns["method"], strict=True))
        if pair == (what, method)
    ]
    points = [(columns["x"][i], columns["y"][i]) for i in places]
    labels = [columns["label"][i] for i in places]
    named = f"{NAMES[method]} of {what}"
    return {
        "what": what,
        "chosen": what == f"layer {record['chosen'].get('layer')}",
        "said": _said(picture),
        "picture": draw_scatter(f"scatter-{number}", named, points, labels, _axes(picture))
        if points
        else "",
    }


def _axes(picture: Mapping[str, Any]) -> tuple[str, str] | None:
    """What the axes of a picture of components are; those of t-SNE mean nothing."""
    if picture["method"] != "pca" or not any(picture["explained"]):
        return None
    first, second = (f"{100 * share:.0f} %" for share in picture["explained"])
    return f"1st component, {first} of the variance", f"2nd, {second}"


def _said(picture: Mapping[str, Any]) -> str:
    """How t-SNE ended, or why there is little to see."""
    if picture["method"] == "pca":
        return "" if any(picture["explained"]) else "all rows are the same"
    if picture["kl"] is None:
        return "not made, see below"
    return (
        f"perplexity {picture['perplexity']:.3g}, {picture['iterations']} steps, "
        f"KL {picture['kl']:.2f}"
    )
