"""Which attention heads are chosen: from a table of figures per head and prompt.

Plain Python on purpose, like the choice of a layer: `hiprobe plan` looks at the methods.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache.errors import ConfigError
from stages.probes.choice import Pair

COMBINED = ("lda", "kl", "mmd", "nmi")
"""The figures whose scaled values HeadHunt-VAD takes the mean of."""
FIGURES = (*COMBINED, "separability")
"""All of them; the last is the one of SteerVAD."""

Column = Sequence[float | None]
"""A value per head, in increasing order of (layer, head); None where it is not defined."""


@dataclass(frozen=True, slots=True)
class HeadFigures:
    """Every figure of every kept head at every prompt."""

    heads: tuple[Pair, ...]
    """Increasing."""
    prompts: Sequence[Mapping[str, Column]]
    """By prompt and name of the figure."""


@dataclass(frozen=True, slots=True)
class Stability:
    """What HeadHunt-VAD makes of the figures, all in the order of the heads."""

    scaled: tuple[dict[str, list[float | None]], ...]
    """By prompt and name of the figure: in [0, 1] over the heads."""
    saliency: tuple[list[float | None], ...]
    """By prompt: S, the mean of the scaled figures."""
    rss: list[float | None]
    """Robust saliency: the mean of S over the prompts less a share of its deviation."""


def figures_of(columns: Mapping[str, Sequence[Any]]) -> HeadFigures:
    """The figures in the columns of a table that is sorted by layer, head and prompt.

    Raises ConfigError unless it has a row for every head at every prompt.
    """
    heads = sorted(set(zip(columns["layer"], columns["head"], strict=True)))
    prompts = len(columns["prompt"]) // max(len(heads), 1)
    expected = [(*pair, prompt) for pair in heads for prompt in range(prompts)]
    found = list(zip(columns["layer"], columns["head"], columns["prompt"], strict=True))
    if not heads or found != expected:
        raise ConfigError(
            f"the table of heads has {len(found)} rows for {len(heads)} heads, expected one for each "
            "head and prompt in order; run the stage heads again"
        )
    return HeadFigures(
        tuple(heads),
        tuple(
            {name: columns[name][number::prompts] for name in FIGURES} for number in range(prompts)
        ),
    )


def columns_of(stable: Stability) -> dict[str, list[float | None]]:
    """The same as columns of a table that is sorted by head and prompt."""
    by_name = {f"scaled_{name}": [one[name] for one in stable.scaled] for name in COMBINED}
    by_name["saliency"] = list(stable.saliency)
    by_name["rss"] = [stable.rss] * len(stable.saliency)
    return {
        name: [value for values in zip(*columns, strict=True) for value in values]
        for name, columns in by_name.items()
    }


def stability(figures: HeadFigures, weight: float) -> Stability:
    """RSS(k) = mean_m S(k, m) - weight * std_m S(k, m) (ddof 0). HeadHunt-VAD (arXiv 2512.17601).

    A head that lacks one of the figures at one prompt has no RSS.
    """
    scaled = tuple({name: scale(p[name]) for name in COMBINED} for p in figures.prompts)
    saliency = tuple(
        [_mean(parts) for parts in zip(*(one[name] for name in COMBINED), strict=True)]
        for one in scaled
    )
    rss = [_robust(values, weight) for values in zip(*saliency, strict=True)]
    return Stability(scaled, saliency, rss)


def scale(values: Column) -> list[float | None]:
    """(v - min) / (max - min) over the heads; 0 for all where they do not differ.

    None and what is not finite stay out and give None.
    """
    finite = [v if v is not None and math.isfinite(v) else None for v in values]
    known = [v for v in finite if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    width = high - low
    return [None if v is None else (v - low) / width if width > 0 else 0.0 for v in finite]


def highest(heads: Sequence[Pair], score: Column, top: int, method: str) -> tuple[Pair, ...]:
    """The `top` heads of the highest score, in order of (layer, head); of equal ones the lowest.

    What is None or not finite is no score. Raises ConfigError where fewer heads have one.
    """
    ranked = sorted(
        (-value, pair)
        for pair, value in zip(heads, score, strict=True)
        if value is not None and math.isfinite(value)
    )
    if len(ranked) < top:
        raise ConfigError(
            f"select: method {method!r} is to choose {top} heads, and of {len(heads)} that are kept "
            f"{len(ranked)} have the figures that it ranks by; lower select.heads_top, keep more "
            "with forward.heads, or probe more videos of both classes"
        )
    return tuple(sorted(pair for _, pair in ranked[:top]))


@dataclass(frozen=True, slots=True)
class Asked:
    """What the settings say of a method that looks at it."""

    prompt: int
    """The probed one, from 0."""
    seed: int
    """Of heads that are drawn."""


Score = Callable[[HeadFigures, Stability, Asked], Column]
"""What a method ranks heads by: of the figures, and of what HeadHunt-VAD makes of them."""


def _alone(name: str) -> Score:
    """One of the combined figures, the mean over the prompts."""
    return lambda figures, stable, asked: [
        _mean(values) for values in zip(*(p[name] for p in figures.prompts), strict=True)
    ]


def _drawn(figures: HeadFigures, stable: Stability, asked: Asked) -> Column:
    """A number in [0, 1) for every kept head, whatever its figures are."""
    generator = random.Random(asked.seed)
    return [generator.random() for _ in figures.heads]


METHODS: dict[str, Score] = {
    "rhi": lambda figures, stable, asked: stable.rss,
    "separability": lambda figures, stable, asked: figures.prompts[asked.prompt]["separability"],
    **{f"head-{name}": _alone(name) for name in COMBINED},
    "random": _drawn,
}
"""Methods by name."""


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None


def _robust(values: Sequence[float | None], weight: float) -> float | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    mean = math.fsum(known) / len(known)
    spread = math.fsum((value - mean) ** 2 for value in known) / len(known)
    return mean - weight * math.sqrt(spread)
