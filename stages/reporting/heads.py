"""The choice of attention heads, as a page shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from stages.probes.heads.ranking import FIGURES
from stages.reporting.heatmap import Pair, draw_heads
from stages.reporting.reading import Columns, Material

SHOWN = 20
"""Rows of the table of heads, unless more are chosen; heads.parquet has all of them."""
SCORES = {
    "rhi": "RSS",
    "separability": "Separability",
}
"""What the methods rank by."""


def heads_of(material: Material) -> dict[str, Any]:
    """The map of all kept heads and a table of the highest; nothing where no heads were chosen."""
    columns, choice = material.heads, material.choice
    if columns is None or choice is None:
        return {"head_rows": []}
    prompts = 1 + max(columns["prompt"])
    heads: list[Pair] = list(zip(columns["layer"], columns["head"], strict=True))[::prompts]
    chosen: list[Pair] = [(layer, head) for layer, head in choice["heads"]]
    score = columns["score"][::prompts]
    name = SCORES.get(choice["method"], str(choice["method"]))
    return {
        "head_rows": _rows(columns, heads, chosen, score, choice["prompt"]),
        "heads_kept": len(heads),
        "heads_prompts": prompts,
        "heads_named": named_heads(chosen),
        "heads_score": name,
        "heads_picture": draw_heads("heads", name, heads, score, chosen),
    }


def named_heads(heads: Sequence[Sequence[int]]) -> str:
    """Heads for people: [18, 4], [23, 27]."""
    return ", ".join(f"[{layer}, {head}]" for layer, head in heads)


def _rows(
    columns: Columns,
    heads: Sequence[Pair],
    chosen: Sequence[Pair],
    score: Sequence[float | None],
    prompt: int,
) -> list[dict[str, Any]]:
    """The heads of the highest score, with their figures at the probed prompt."""
    prompts = len(columns["layer"]) // len(heads)
    ranked = sorted(
        (-value, heads[place], place) for place, value in enumerate(score) if value is not None
    )
    rows: list[dict[str, Any]] = []
    for _, _, place in ranked[: max(SHOWN, len(chosen))]:
        saliency = columns["saliency"][place * prompts : (place + 1) * prompts]
        at = place * prompts + prompt
        rows.append(
            {
                "name": list(heads[place]),
                "chosen": heads[place] in chosen,
                "rss": number(columns["rss"][at]),
                **_mean_and_spread(saliency),
                **{name: number(columns[name][at]) for name in FIGURES},
            }
        )
    return rows


def _mean_and_spread(values: Sequence[float | None]) -> dict[str, str]:
    """Mean and deviation (ddof 0) over the prompts, as text; empty where one is not known."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return {"mean": "", "spread": ""}
    mean = math.fsum(known) / len(known)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / len(known))
    return {"mean": number(mean), "spread": number(spread)}


def number(value: float | None) -> str:
    """A figure in four decimals; empty where there is none."""
    return "" if value is None else f"{value:.4f}"
