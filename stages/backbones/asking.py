"""Questions to the model in batches: in whose turn, halved, and asked again one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cache.errors import HiprobeError
from stages.backbones.batching import pace_of
from stages.backbones.contract import Backbone, Explanation, Prepared

# A GPU that is broken (a device-side assert, a lost bus) fails whatever comes after it: that is
# nothing which an answer's row should say and keep. Releases before 2.8 have no class for it.
_BROKEN: type[Exception] = getattr(torch, "AcceleratorError", HiprobeError)


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why there is no answer."""

    error: str
    """Class and message of what was raised."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: str
    memory: bool
    """Whether memory ran out."""


class Asker:
    """Asks one backbone about the intervals of one video."""

    def __init__(self, backbone: Backbone, batch: int, seed: int, max_new_tokens: int) -> None:
        self._backbone = backbone
        self._seed, self._max_new_tokens = seed, max_new_tokens
        self._turns = pace_of(backbone).turns
        self._ticket = self._turns.ticket()
        self.batch = batch
        """Intervals that are asked about at once; only ever gets smaller."""

    def ask(self, items: Sequence[Prepared]) -> list[Explanation | Unanswered]:
        """An answer for each item, all of which have one shape, or why there is none.

        Where a batch fails its items are asked about one by one, so that only the one which fails
        stays without an answer; where memory runs out, in batches of half the size. Raises
        HiprobeError as the backbone does: what is wrong with the configuration is wrong for every
        item; and the error of a GPU that is broken.
        """
        found: list[Explanation | Unanswered] = []
        while len(found) < len(items):
            done = len(found)
            found += self._answers(items[done : done + self.batch])
        return found

    def done(self) -> None:
        """Nothing more will be asked: nobody needs to be patient with this video."""
        self._turns.done(self._ticket)

    def _answers(self, items: Sequence[Prepared]) -> Sequence[Explanation | Unanswered]:
        tried = self._attempt(items)
        if not isinstance(tried, _Failure):
            return tried
        if len(items) == 1:
            return [Unanswered(tried.error)]
        size = 1
        if tried.memory:
            size = self.batch = len(items) // 2
        parts = (self._answers(items[at : at + size]) for at in range(0, len(items), size))
        return [answer for part in parts for answer in part]

    def _attempt(self, items: Sequence[Prepared]) -> list[Explanation] | _Failure:
        """One batch. An error is kept as words: it would keep the memory that ran out."""
        memory = False
        with self._turns.of(self._ticket):
            try:
                return self._backbone.explain(items, self._seed, self._max_new_tokens)
            except (HiprobeError, _BROKEN):
                raise
            except (RuntimeError, ValueError, IndexError) as raised:
                memory = isinstance(raised, torch.OutOfMemoryError)
                error = f"{type(raised).__name__}: {raised}"
        if memory and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return _Failure(error, memory)
