"""How often each head is chosen where the probing videos are drawn again.

Plain Python on purpose, as the choice itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cache.errors import ConfigError
from stages.probes.choice import Pair
from stages.probes.heads.ranking import Column, highest

REPLICATED = "separability"
"""The method whose figure the stage heads computes in every replicate. For the others the figures of
the replicates would cost as much again as the figures themselves, each time."""


@dataclass(frozen=True, slots=True)
class HeadStability:
    """What a bootstrap over the probing videos says of a choice of heads; made by `head_stability`."""

    heads: tuple[Pair, ...]
    """The kept heads."""
    chosen: tuple[tuple[Pair, ...], ...]
    """What each replicate chooses; nothing where too few heads of it have the figure."""

    @property
    def wins(self) -> list[float]:
        """Share of all replicates that choose each head, in the order of the heads."""
        counts = dict.fromkeys(self.heads, 0)
        for heads in self.chosen:
            for pair in heads:
                counts[pair] += 1
        return [counts[pair] / len(self.chosen) for pair in self.heads]

    def record(self, chosen: Sequence[Pair]) -> dict[str, Any]:
        """What selection.json says, where these heads were chosen."""
        return {
            "replicates": len(self.chosen),
            "undecided": self.chosen.count(()),
            "wins": self.wins_of(chosen),
        }

    def wins_of(self, chosen: Sequence[Pair]) -> list[float]:
        """Share of all replicates that choose each of these heads."""
        wins = dict(zip(self.heads, self.wins, strict=True))
        return [wins[pair] for pair in chosen]

    def note(self, chosen: Sequence[Pair]) -> str:
        """What a person should know of a choice that other videos would not repeat; else empty."""
        rare = sum(share < 0.5 for share in self.wins_of(chosen))
        if not rare:
            return ""
        return (
            f"{rare} of the {len(chosen)} chosen heads are chosen in fewer than half of "
            f"{len(self.chosen)} replicates that draw the probing videos again: with other probing "
            "videos they could well be others"
        )


def head_stability(
    heads: Sequence[Pair], replicates: Sequence[Column], top: int
) -> HeadStability | None:
    """Choose `top` heads in every replicate, each the scores of all heads; None without replicates."""
    if not replicates:
        return None
    return HeadStability(tuple(heads), tuple(_choice(heads, one, top) for one in replicates))


def replicated_scores(
    columns: Mapping[str, Sequence[Any]], heads: Sequence[Pair], prompt: int
) -> list[Column]:
    """The separability of every head at a prompt in every replicate, [replicates] of [heads].

    `columns` are those of a table that is sorted by layer, head, prompt and replicate. Raises
    ConfigError unless each replicate has a row for every head.
    """
    at = [place for place, number in enumerate(columns["prompt"]) if number == prompt]
    found = [(columns["layer"][i], columns["head"][i], columns["replicate"][i]) for i in at]
    count = len(at) // max(len(heads), 1)
    if found != [(*pair, number) for pair in heads for number in range(count)]:
        raise ConfigError(
            f"the replicates have {len(found)} rows at prompt {prompt} for {len(heads)} heads, "
            "expected one for each head and replicate; run the stage heads again"
        )
    values = [columns[REPLICATED][i] for i in at]
    return [values[number::count] for number in range(count)]


def _choice(heads: Sequence[Pair], score: Column, top: int) -> tuple[Pair, ...]:
    try:
        return highest(heads, score, top, REPLICATED)
    except ConfigError:  # too few heads have the figure: a class was not drawn
        return ()
