"""The hidden states that are probed: those of one question, layers by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.arrays import States
from cache.digest import read_json
from cache.errors import ConfigError
from cache.ranges import ranges_of
from stages.contract import Payload

Rows = npt.NDArray[np.float32]
ReadLayer = Callable[[int], Rows]
"""Gives the hidden states of one video at the layer of a number, [segments, dim]."""
Stored = npt.NDArray[Any]
"""Numbers as they lie on disk: float32, float16, or bfloat16 as uint16 bits."""


@dataclass(frozen=True, slots=True)
class ProbedStates:
    """Hidden states of one video at one question; made by `probed_states`."""

    item: str
    """The video id, for messages."""
    states: States
    prompt: int
    """Which of the questions asked about the video it is, from 0."""

    @property
    def segments(self) -> int:
        """Number of segments."""
        return self.states.segments

    @property
    def layers(self) -> tuple[int, ...]:
        """The numbers of the layers that are kept, increasing; 0 is the embedding output."""
        return self.states.layers

    @property
    def dim(self) -> int:
        """Width of a hidden state."""
        return self.states.dim

    def layer(self, number: int) -> Rows:
        """One layer, float32 [segments, dim].

        Raises ConfigError that names the kept layers where it is not one of them, DamagedArtifact.
        """
        self._require(number)
        return self.states.layer(number, self.prompt)

    def rows(self, number: int, segments: npt.NDArray[np.int64]) -> Rows:
        """Some increasing segments of one layer, float32 [segments, dim].

        However long the video is, no more than a shard of it is in memory besides. Raises as
        `layer` does.
        """
        self._require(number)
        return self.states.rows(number, segments, self.prompt)

    @property
    def logical_dtype(self) -> str:
        """float32, float16 or bfloat16: the precision of the stored numbers."""
        return self.states.logical_dtype

    @property
    def shards(self) -> int:
        """How many shards they lie in."""
        return self.states.array.shards

    def segments_of(self, shard: int) -> slice:
        """Which segments a shard holds."""
        return self.states.array.segments_of(shard)

    def stored(self, shard: int, groups: Sequence[Sequence[int]]) -> Iterator[Stored]:
        """Group after group of places in `layers`, one shard's numbers as they lie on disk.

        Each is [layers, rows, dim], good until the next. Raises DamagedArtifact.
        """
        buffer = self.states.array.form.buffer(max(len(group) for group in groups))
        return self.states.stored(shard, groups, buffer, self.prompt)

    def _require(self, number: int) -> None:
        """Raise ConfigError unless a layer is kept."""
        if number not in self.layers:
            raise ConfigError(
                f"{self.item}: layer {number} is needed, its hidden states have layers "
                f"{ranges_of(self.layers)}; keep that layer too with forward.layers"
            )


def probed_states(item: str, payload: Payload, question: str) -> ProbedStates:
    """Open the hidden states of a video at a question.

    Raises ConfigError where it was not asked, DamagedArtifact.
    """
    prompt = prompt_of(item, payload, question)
    return ProbedStates(item, States.open(payload.file("states.zarr")), prompt)


def prompt_of(item: str, payload: Payload, question: str) -> int:
    """Which of the prompts of a video a question is, from 0.

    It is looked up in states.json, because not every array of a run holds the same ones. Raises
    ConfigError where it was not asked, DamagedArtifact.
    """
    asked = questions_of(payload)
    if question not in asked:
        raise ConfigError(
            f"{item}: hidden states are of the questions {asked}, expected {question!r} among "
            "them; add it to forward.prompts"
        )
    return asked.index(question)


def questions_of(payload: Payload) -> list[str]:
    """The questions that were asked about a video, in the order of its prompts."""
    return [prompt["question"] for prompt in read_json(payload.file("states.json"))["prompts"]]
