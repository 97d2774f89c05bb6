"""What a probe reads of every segment: one layer, or some attention heads and perhaps a context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cache.errors import ConfigError

LAST = "last"
"""The context that is the output of the last decoder layer."""
Pair = tuple[int, int]
"""(layer, head), both counted from 0."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One layer, or heads; made by `choice_of`."""

    layer: int | None = None
    """Its number: 0 is the embedding output, l >= 1 the output of decoder layer l."""
    heads: tuple[Pair, ...] = ()
    """The heads whose vectors stand side by side in a row, in this order."""
    context: int | None = None
    """The layer whose hidden state stands behind the heads and steers them (SteerVAD), numbered as
    `layer` is; None for heads that are read as they are."""

    def record(self) -> dict[str, Any]:
        """What choice.json and scorer.json say: {"layer": n} or {"heads": [[layer, head], ...]}.

        With heads also {"context": n}, where there is one.
        """
        if not self.heads:
            return {"layer": self.layer}
        context = {} if self.context is None else {"context": self.context}
        return {"heads": [list(pair) for pair in self.heads], **context}


def choice_of(record: Mapping[str, Any]) -> Choice:
    """The choice in a choice.json, or in a scorer.json, which repeats it.

    Raises ConfigError for a record that names neither a layer nor heads.
    """
    if record.get("heads"):
        context = record.get("context")
        return Choice(
            heads=tuple((int(layer), int(head)) for layer, head in record["heads"]),
            context=None if context is None else int(context),
        )
    if "layer" in record:
        return Choice(layer=int(record["layer"]))
    raise ConfigError(
        f"the choice names {', '.join(sorted(record)) or 'nothing'}, expected a layer or heads; run "
        "the stage select again"
    )
