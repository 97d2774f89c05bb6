"""How often each layer is chosen where the probing videos are drawn again.

Plain Python on purpose, as the choice itself: a table of replicates is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cache.errors import ConfigError
from stages.probes.selection import Figures, LayerStrategy


@dataclass(frozen=True, slots=True)
class Stability:
    """What a bootstrap over the probing videos says of a choice; made by `stability_of`."""

    layers: tuple[int, ...]
    """The numbers of the kept layers."""
    chosen: tuple[int | None, ...]
    """What each replicate chooses; None where no layer of it has the figures."""

    @property
    def wins(self) -> tuple[float, ...]:
        """Share of all replicates that choose each layer, in the order of the layers."""
        return tuple(self.chosen.count(layer) / len(self.chosen) for layer in self.layers)

    @property
    def undecided(self) -> int:
        """Replicates without a choice."""
        return self.chosen.count(None)

    def wins_of(self, layer: int) -> float:
        """Share of all replicates that choose this layer."""
        return self.wins[self.layers.index(layer)]

    def record(self, layer: int) -> dict[str, Any]:
        """What selection.json says, where `layer` was chosen."""
        return {
            "replicates": len(self.chosen),
            "undecided": self.undecided,
            "wins": self.wins_of(layer),
        }


def stability_of(
    strategy: LayerStrategy, layers: Sequence[int], replicates: Sequence[Figures]
) -> Stability | None:
    """Let a strategy choose in every replicate, each of which holds the figures of all layers.

    None for a layer that was named in advance, since nothing can change it, and without replicates.
    """
    if not strategy.ranks_by or not replicates:
        return None
    return Stability(tuple(layers), tuple(_choice(strategy, layers, one) for one in replicates))


def _choice(strategy: LayerStrategy, layers: Sequence[int], figures: Figures) -> int | None:
    try:
        return strategy.choose(layers, figures).layer
    except ConfigError:  # no layer has a finite figure: a class was not drawn
        return None


def replicates_of(
    columns: dict[str, list[Any]], layers: Sequence[int], names: Sequence[str]
) -> list[Figures]:
    """The figures `names` of every replicate, from a table that is sorted by replicate and layer.

    Null becomes NaN. Raises ConfigError unless every replicate has a row for each of the layers.
    """
    count = len(columns["layer"]) // max(len(layers), 1)
    numbers = [number for number in range(count) for _ in layers]
    if columns["layer"] != [*layers] * count or columns["replicate"] != numbers:
        raise ConfigError(
            f"the replicates have layers {sorted(set(columns['layer']))}, the figures {[*layers]}; "
            "run the stages before select again"
        )
    values = {
        name: [float("nan") if value is None else value for value in columns[name]]
        for name in names
    }
    size = len(layers)
    return [{name: values[name][n * size : (n + 1) * size] for name in names} for n in range(count)]
