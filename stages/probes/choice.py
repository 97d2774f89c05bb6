"""What a probe reads of every segment: one layer, or some attention heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cache.errors import ConfigError

Pair = tuple[int, int]
"""(layer, head), both counted from 0."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One layer, or heads; made by `choice_of`."""

    layer: int | None = None
    """Its number: 0 is the embedding output, l >= 1 the output of decoder layer l."""
    heads: tuple[Pair, ...] = ()
    """The heads whose vectors stand side by side in a row, in this order."""

    def record(self) -> dict[str, Any]:
        """What choice.json and scorer.json say: {"layer": n} or {"heads": [[layer, head], ...]}."""
        return (
            {"heads": [list(pair) for pair in self.heads]} if self.heads else {"layer": self.layer}
        )


def choice_of(record: Mapping[str, Any]) -> Choice:
    """The choice in a choice.json, or in a scorer.json, which repeats it.

    Raises ConfigError for a record that names neither a layer nor heads.
    """
    if record.get("heads"):
        return Choice(heads=tuple((int(layer), int(head)) for layer, head in record["heads"]))
    if "layer" in record:
        return Choice(layer=int(record["layer"]))
    raise ConfigError(
        f"the choice names {', '.join(sorted(record)) or 'nothing'}, expected a layer or heads; run "
        "the stage select again"
    )
