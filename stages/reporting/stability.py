"""How often each layer is chosen where the probing videos are drawn again, as a page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from stages.reporting.drawing import MODEL, TRUTH, drawing, finish, place

LEAST = 0.03
"""In a picture of many layers only a bar higher than this has its number above it."""


def stability_of(
    choice: Mapping[str, Any] | None, columns: Mapping[str, Sequence[Any]] | None
) -> dict[str, Any]:
    """The bars and what they say; no bars where a layer was named in advance, or nothing is known."""
    said = (choice or {}).get("stability")
    if choice is None or columns is None or not said or "layer" not in choice:
        return {"wins_picture": "", "stability": None}
    layers, wins = columns["layer"], columns["wins"]
    return {"wins_picture": draw_wins("wins", layers, wins, choice["layer"]), "stability": said}


def draw_wins(prefix: str, layers: Sequence[int], wins: Sequence[float], chosen: int) -> Markup:
    """A bar per layer: in per cent of the replicates it is the one that is chosen."""
    shares = [100 * share for share in wins]
    with drawing(920, 120) as figure:
        axes = place(figure, 52, 20, 14, 42)
        first, last = layers[0], layers[-1]
        # As wide as the picture of the figures above it, so that layers stand under each other.
        margin = 0.03 * (last - first) + 0.2
        colours = [TRUTH if layer == chosen else MODEL for layer in layers]
        axes.bar(layers, shares, width=min(0.7, 1.8 * margin), color=colours)
        for layer, share in zip(layers, shares, strict=True):
            if share > 100 * LEAST:
                axes.annotate(
                    f"{share:.0f}", (layer, share), xytext=(0, 3), textcoords="offset points",
                    ha="center", fontsize=11,
                )  # fmt: skip
        axes.set_xlim(first - margin, last + margin)
        axes.set_ylim(0, max([*shares, 1.0]) * 1.05)
        axes.set_xlabel("layer", labelpad=2)
        axes.set_ylabel("% chosen")
        axes.locator_params(axis="x", integer=True, nbins=16)
        axes.locator_params(axis="y", nbins=3)
        return finish(figure, prefix, "How often each layer is chosen", _described(layers, wins))


def _described(layers: Sequence[int], wins: Sequence[float]) -> str:
    ranked = sorted((-share, layer) for layer, share in zip(layers, wins, strict=True) if share)
    if not ranked:
        return "No layer is chosen in any replicate."
    named = ", ".join(f"layer {layer} in {-100 * share:.1f} %" for share, layer in ranked[:5])
    more = f", {len(ranked) - 5} more layers in the others" if len(ranked) > 5 else ""
    return f"Chosen are {named}{more}."
