"""Strategies that choose the layer on which the scorer is fitted, and the names of all methods.

Plain Python on purpose: a table of layers is small, and `hiprobe plan` checks a method's name
without loading anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from cache.errors import ConfigError
from cache.ranges import ranges_of
from stages.probes.heads import ranking

METRICS = ("kl", "ldr", "entropy", "silhouette", "cv")
"""Every figure that layers can be ranked by; each is the name of a method too."""
SUMMED = ("kl", "ldr", "entropy")
"""The figures whose z-scores DLSP adds up."""
Compared = Literal["layer", "heads", "cv"]
"""What is compared before a choice: the figures of layers, those of heads, and probes of layers that
are cross-validated."""

Figures = Mapping[str, Sequence[float]]
"""Every metric's value per kept layer, in the order of their numbers; NaN where there is none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen layer and what the method ranked the layers by."""

    layer: int
    """Its number: 0 is the embedding output, l >= 1 the output of decoder layer l."""
    score: tuple[float | None, ...]
    """Per kept layer; None for one that could not be chosen."""


class LayerStrategy(Protocol):
    """A way to choose a layer."""

    @property
    def ranks_by(self) -> Sequence[str]:
        """The figures that it looks at; none where the layer is named in advance."""
        ...

    def choose(self, layers: Sequence[int], figures: Figures) -> Choice:
        """Choose one of the kept `layers`, which are increasing numbers.

        Raises ConfigError where none can be chosen.
        """
        ...


def z_scores(layers: Sequence[int], values: Sequence[float]) -> tuple[float | None, ...]:
    """z-scores (ddof 0) of a figure over those of the kept layers that are 1 or more.

    Layer 0 and figures that are not finite get None and take no part in mean and spread; a figure
    without spread, such as that of a single layer, gives 0. HiProbe-VAD (arXiv 2507.17394), eq 7.
    """
    able = [n >= 1 and math.isfinite(v) for n, v in zip(layers, values, strict=True)]
    finite = [v for v, counts in zip(values, able, strict=True) if counts]
    if not finite:
        return (None,) * len(values)
    mean = math.fsum(finite) / len(finite)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in finite) / len(finite))
    # Equal values can have a mean that is off by a rounding, and so a spread that is not quite 0.
    flat = min(finite) == max(finite) or spread == 0.0
    return tuple(
        None if not counts else 0.0 if flat else (v - mean) / spread
        for v, counts in zip(values, able, strict=True)
    )


def _highest(layers: Sequence[int], score: Sequence[float | None], method: str) -> Choice:
    """The layer of the highest score; of equal ones the lowest layer."""
    pairs = zip(layers, score, strict=True)
    ranked = [(-value, layer) for layer, value in pairs if value is not None]
    if not ranked:
        raise ConfigError(
            f"select: method {method!r} has no layer with a finite figure from layer 1 on among "
            f'layers {ranges_of(layers)}; choose method = "last" or "fixed:N"'
        )
    return Choice(min(ranked)[1], tuple(score))


@dataclass(frozen=True, slots=True)
class Dlsp:
    """Dynamic layer saliency probing: the sum of the z-scores of KL, LDR and entropy."""

    ranks_by: Sequence[str] = SUMMED

    def choose(self, layers: Sequence[int], figures: Figures) -> Choice:
        """argmax over l >= 1 of S(l); of equal ones the lowest. HiProbe-VAD, eq 7 and after."""
        columns = zip(*(z_scores(layers, figures[name]) for name in SUMMED), strict=True)
        sums = [None if None in parts else math.fsum(p or 0.0 for p in parts) for parts in columns]
        return _highest(layers, sums, "dlsp")


@dataclass(frozen=True, slots=True)
class ByMetric:
    """The layer where one figure is highest."""

    metric: str

    @property
    def ranks_by(self) -> Sequence[str]:
        """That figure."""
        return (self.metric,)

    def choose(self, layers: Sequence[int], figures: Figures) -> Choice:
        """argmax over l >= 1 of the figure; of equal ones the lowest layer."""
        pairs = zip(layers, figures[self.metric], strict=True)
        score = [v if n >= 1 and math.isfinite(v) else None for n, v in pairs]
        return _highest(layers, score, self.metric)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A layer that is named in advance; `number` None is the highest that is kept."""

    number: int | None
    ranks_by: Sequence[str] = ()

    def choose(self, layers: Sequence[int], figures: Figures) -> Choice:
        """The named layer; raises ConfigError where none of this number is kept."""
        layer = layers[-1] if self.number is None else self.number
        if layer not in layers:
            raise ConfigError(
                f"select: method 'fixed:{layer}' names no layer that is kept, which are "
                f"{ranges_of(layers)} (0 is the embedding output); choose one of them, or keep it "
                "with forward.layers"
            )
        return Choice(layer, (None,) * len(layers))


STRATEGIES: dict[str, Callable[[], LayerStrategy]] = {
    "dlsp": Dlsp,
    "last": lambda: Fixed(None),
    **{name: lambda name=name: ByMetric(name) for name in METRICS},  # type: ignore[misc]
}
"""Strategies by name; besides, fixed:N names layer N."""


def chooses(method: str) -> Literal["layer", "heads"]:
    """What a method chooses; raises ConfigError for an unknown one that lists the allowed ones."""
    if method in ranking.METHODS:
        return "heads"
    strategy_of(method)
    return "layer"


def compared_by(method: str) -> frozenset[Compared]:
    """What must be compared for a method; raises ConfigError as `chooses` does."""
    what = chooses(method)
    return frozenset({what, "cv"}) if method == "cv" else frozenset({what})


def strategy_of(method: str) -> LayerStrategy:
    """The strategy of a method that chooses a layer.

    Raises ConfigError that lists the allowed methods for any other.
    """
    if method in STRATEGIES:
        return STRATEGIES[method]()
    if fixed := re.fullmatch(r"fixed:(\d+)", method, flags=re.ASCII):
        return Fixed(int(fixed[1]))
    raise ConfigError(f"select.method: {method!r} is unknown, expected {allowed_methods()}")


def allowed_methods() -> str:
    """The names of all methods, for messages."""
    layers = ", ".join([*STRATEGIES, '"fixed:N" with a layer number such as "fixed:16"'])
    return f"{layers}, or for heads {' or '.join(ranking.METHODS)}"
