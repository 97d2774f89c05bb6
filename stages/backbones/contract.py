"""What every family of backbones offers, from the small one of the tests to an 8B checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the backbone is told beside the keyframes."""

    system: str
    """System message; empty for none."""
    question: str
    """Stands after the keyframes."""


@dataclass(frozen=True, slots=True, repr=False)
class Prepared:
    """One segment as the model takes it."""

    pixels: NDArray[np.float32]
    """[keyframes, 3, height, width], normalised."""
    token_ids: NDArray[np.int64]
    """[tokens], with as many image tokens per keyframe as the model puts in their place."""
    text: str
    """The prompt through the chat template; one image token stands for each keyframe."""

    def __repr__(self) -> str:
        """Shapes, never data."""
        return f"Prepared(pixels={self.pixels.shape}, token_ids={self.token_ids.shape})"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the backbone answered."""

    text: str
    finish_reason: Literal["stop", "length"]
    """stop: it ended by itself; length: it was cut at the limit of tokens."""
    tokens: int
    """Generated tokens, the one that ends the answer included."""


class Backbone(Protocol):
    """A frozen multimodal model behind one contract."""

    model_type: str
    """Name of the architecture in config.json."""
    layers: int
    """Decoder layers L; states hold L + 1 layers, of which 0 is the embedding output."""
    dim: int
    """Width of a hidden state."""
    dtype: str
    """float32, bfloat16 or float16: the precision of the states."""

    def prepare(self, keyframes: Sequence[NDArray[np.uint8]], prompt: Prompt) -> Prepared:
        """Make keyframes (RGB, each [height, width, 3]) and prompt into one input of the model."""
        ...

    def states(self, batch: Sequence[Prepared]) -> Any:
        """Hidden states at the last prompt position, a torch tensor [segments, layers + 1, dim].

        In the model's dtype, before the final norm (METHOD 1). All of a batch have the same number
        of tokens.
        """
        ...

    def explain(
        self,
        keyframes: Sequence[NDArray[np.uint8]],
        prompt: Prompt,
        seed: int,
        max_new_tokens: int,
    ) -> Explanation:
        """Answer the prompt about the keyframes by greedy decoding."""
        ...
