"""The choice of attention heads, as a page shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stages.probes.heads.ranking import FIGURES
from stages.reporting.heatmap import Pair, draw_heads
from stages.reporting.reading import Columns, Material

SHOWN = 20
"""Rows of the table of heads, unless more are chosen; heads.parquet has all of them."""
SCORES = {
    "rhi": "RSS",
    "separability": "Separability",
    "head-lda": "LDA",
    "head-kl": "KL",
    "head-mmd": "MMD²",
    "head-nmi": "NMI",
    "random": "Drawn",
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
        "heads_stability": _stability(choice),
        "heads_picture": draw_heads("heads", name, heads, score, chosen),
    }


def _stability(choice: Mapping[str, Any]) -> str:
    """How often the chosen heads win where the probing videos are drawn again; empty where unknown."""
    said = choice.get("stability")
    if not said:
        return ""
    won = [percent(share) for share in said["wins"]]
    without = f" {said['undecided']} of them chose none." if said["undecided"] else ""
    return (
        f"Where the probing videos are drawn again, whole videos by class, the chosen heads are among "
        f"the first {len(won)} in {', '.join(won)} of {said['replicates']} replicates.{without}"
    )


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
    wins = columns.get("wins", [None] * len(columns["layer"]))
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
                "wins": percent(wins[at]),
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


def percent(share: float | None) -> str:
    """A share in percent; empty where there is none."""
    return "" if share is None else f"{100 * share:.0f} %"


def number(value: float | None) -> str:
    """A figure in four decimals; empty where there is none."""
    return "" if value is None else f"{value:.4f}"
