"""Strategies that choose the layer on which the scorer is fitted.

Plain Python on purpose: a table of layers is small, and `hiprobe plan` checks a method's name
without loading anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cache.errors import ConfigError

METRICS = ("kl", "ldr", "entropy", "silhouette")
SUMMED = ("kl", "ldr", "entropy")
"""The figures whose z-scores DLSP adds up."""

Figures = Mapping[str, Sequence[float]]
"""Every metric's value per layer 0..L."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen layer and what the method ranked the layers by."""

    layer: int
    score: tuple[float | None, ...]
    """Per layer 0..L; None for a layer that could not be chosen."""


class LayerStrategy(Protocol):
    """A way to choose a layer."""

    def choose(self, figures: Figures) -> Choice:
        """Choose one of the layers 0..L; raises ConfigError where none can be chosen."""
        ...


def z_scores(values: Sequence[float]) -> tuple[float | None, ...]:
    """z-scores (ddof 0) over layers 1..L of a figure given for layers 0..L.

    Layer 0 and figures that are not finite get None and take no part in mean and spread; a figure
    without spread gives 0 everywhere. HiProbe-VAD (arXiv 2507.17394), eq 7.
    """
    finite = [v for v in values[1:] if math.isfinite(v)]
    if not finite:
        return (None,) * len(values)
    mean = math.fsum(finite) / len(finite)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in finite) / len(finite))
    # Equal values can have a mean that is off by a rounding, and so a spread that is not quite 0.
    flat = min(finite) == max(finite) or spread == 0.0
    scores = [
        None if not math.isfinite(v) else 0.0 if flat else (v - mean) / spread for v in values[1:]
    ]
    return (None, *scores)


def _highest(score: Sequence[float | None], method: str) -> Choice:
    """The layer of the highest score; of equal ones the lowest layer."""
    ranked = [(-value, layer) for layer, value in enumerate(score) if value is not None]
    if not ranked:
        raise ConfigError(
            f"select: method {method!r} has no layer with a finite figure among layers 1 to "
            f'{len(score) - 1}; choose method = "last" or "fixed:N"'
        )
    return Choice(min(ranked)[1], tuple(score))


@dataclass(frozen=True, slots=True)
class Dlsp:
    """Dynamic layer saliency probing: the sum of the z-scores of KL, LDR and entropy."""

    def choose(self, figures: Figures) -> Choice:
        """argmax over l >= 1 of S(l); of equal ones the lowest. HiProbe-VAD, eq 7 and after."""
        columns = zip(*(z_scores(figures[name]) for name in SUMMED), strict=True)
        sums = [None if None in parts else math.fsum(p or 0.0 for p in parts) for parts in columns]
        return _highest(sums, "dlsp")


@dataclass(frozen=True, slots=True)
class ByMetric:
    """The layer where one figure is highest."""

    metric: str

    def choose(self, figures: Figures) -> Choice:
        """argmax over l >= 1 of the figure; of equal ones the lowest layer."""
        values = figures[self.metric]
        score = [v if l >= 1 and math.isfinite(v) else None for l, v in enumerate(values)]  # noqa: E741
        return _highest(score, self.metric)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A layer that is named in advance; `number` None is the last."""

    number: int | None

    def choose(self, figures: Figures) -> Choice:
        """The named layer; raises ConfigError where the backbone has none of this number."""
        layers = len(figures[METRICS[0]])
        layer = layers - 1 if self.number is None else self.number
        if not 0 <= layer < layers:
            raise ConfigError(
                f"select: method 'fixed:{layer}' names no layer, layers 0 to {layers - 1} are "
                "there (0 is the embedding output)"
            )
        return Choice(layer, (None,) * layers)


STRATEGIES: dict[str, Callable[[], LayerStrategy]] = {
    "dlsp": Dlsp,
    "last": lambda: Fixed(None),
    **{name: lambda name=name: ByMetric(name) for name in METRICS},  # type: ignore[misc]
}
"""Strategies by name; besides, fixed:N names layer N."""


def strategy_of(method: str) -> LayerStrategy:
    """The strategy of a name; raises ConfigError that lists the allowed ones."""
    if method in STRATEGIES:
        return STRATEGIES[method]()
    if fixed := re.fullmatch(r"fixed:(\d+)", method, flags=re.ASCII):
        return Fixed(int(fixed[1]))
    raise ConfigError(f"select.method: {method!r} is unknown, expected {allowed_methods()}")


def allowed_methods() -> str:
    """The names that `strategy_of` takes, for messages."""
    return ", ".join([*STRATEGIES, 'or "fixed:N" with a layer number such as "fixed:16"'])
