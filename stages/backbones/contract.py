"""What every backbone offers, from the small one of the tests to an 8B checkpoint.

Two seams. `Backbone` is what the stages see: one class, `multimodal.Multimodal`, serves every
architecture. `Family` is what differs between architectures (how pictures enter, how they stand in
the prompt, where tokens lie): one small class per architecture in `families/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""One frame, RGB [height, width, 3]."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the backbone is told beside the keyframes."""

    system: str
    """System message; empty for none (a chat template may then put in its own)."""
    question: str
    """Stands after the keyframes."""
    frame_format: str = ""
    """How one keyframe stands in the prompt, with {number} and {image}; empty for the family's
    own way."""


@dataclass(frozen=True, slots=True, repr=False)
class Prepared:
    """One segment as the model takes it, for one or more prompts about the same keyframes."""

    pictures: NDArray[np.uint8]
    """[keyframes, height, width, 3], resized to what the model sees, not yet normalised."""
    seconds: tuple[float, ...]
    """Time of each keyframe after the first one of the segment."""
    token_ids: tuple[NDArray[np.int64], ...]
    """Per prompt [tokens], with as many visual tokens as the model puts in their place."""
    texts: tuple[str, ...]
    """Per prompt: its text through the chat template, before visual tokens are repeated."""

    @property
    def shape(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What all items of a batch must share: shape of the pictures, tokens of each prompt."""
        return self.pictures.shape, tuple(len(ids) for ids in self.token_ids)

    def __repr__(self) -> str:
        """Shapes, never data."""
        return f"Prepared(pictures={self.pictures.shape}, tokens={self.shape[1]})"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which numbers are kept of a forward pass."""

    layers: tuple[int, ...]
    """Hidden states: 0 is the embedding output, l >= 1 the output of decoder layer l; sorted."""
    heads: tuple[tuple[int, int], ...] = ()
    """Attention heads (layer, head), both counted from 0 as HeadHunt-VAD does: heads of layer l
    act within the decoder layer whose output is hidden state l + 1."""
    whole_heads: bool = False
    """All heads of all layers, in place of `heads`."""
    yes_no: bool = False
    """The probabilities that the answer begins with yes and with no."""

    def depth(self, layers: int) -> int:
        """Decoder layers that must run, of `layers`."""
        if self.yes_no or self.whole_heads:
            return layers
        return max([*self.layers, *(layer + 1 for layer, _ in self.heads), 0])


@dataclass(frozen=True, slots=True, repr=False)
class Captured:
    """What a forward pass left, on the model's device and in its dtype."""

    states: Any
    """torch tensor [segments, prompts, len(wanted.layers), dim], before the final norm;
    None if no layer is wanted."""
    heads: Any = None
    """Head outputs before o_proj: [segments, prompts, len(wanted.heads), head_dim], or with
    `whole_heads` [segments, prompts, layers, heads * head_dim], head-major; None if not wanted."""
    yes_no: Any = None
    """float32 [segments, prompts, 2]: probability of a first token that says yes, and of no."""


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
    """Decoder layers L; there are L + 1 hidden states, of which 0 is the embedding output."""
    dim: int
    """Width of a hidden state."""
    heads: int
    """Attention (query) heads per layer."""
    head_dim: int
    """Width of a head."""
    dtype: str
    """float32, bfloat16 or float16: the precision of the states."""
    full_batches: bool
    """Whether rounding depends on the size of a batch, as on a GPU: batches are then filled up."""

    def prepare(
        self, keyframes: Sequence[Picture], seconds: Sequence[float], prompts: Sequence[Prompt]
    ) -> Prepared:
        """Make keyframes, their times and prompts into one input of the model; safe in any thread.

        `seconds` are presentation times of the keyframes; only their differences count.
        """
        ...

    def forward(self, batch: Sequence[Prepared], wanted: Wanted) -> Captured:
        """One pass; all of a batch have the same `shape`. Only what is wanted is computed."""
        ...

    def explain(
        self, batch: Sequence[Prepared], seed: int, max_new_tokens: int
    ) -> list[Explanation]:
        """Answer the (one) prompt of each item by greedy decoding."""
        ...


class Family(Protocol):
    """What differs between architectures. Made from a checkpoint's small files, without weights."""

    model_type: str
    """The architecture that this family loads: model_type in config.json."""
    visual_ids: tuple[int, ...]
    """Ids of the tokens in whose place the model puts visual features."""

    def resize(self, keyframes: Sequence[Picture]) -> NDArray[np.uint8]:
        """Keyframes as the model sees them, uint8 [keyframes, height, width, 3].

        On the CPU and in uint8, exactly as the library's processor does it.
        """
        ...

    def text(self, prompt: Prompt, keyframes: int, seconds: Sequence[float]) -> str:
        """The prompt through the chat template, one visual placeholder per keyframe or video.

        Raises ConfigError where the prompt holds the family's own special tokens, or its
        `frame_format` is one that the family cannot show.
        """
        ...

    def expand(self, text: str, pictures: tuple[int, ...], seconds: Sequence[float]) -> str:
        """The same text with visual tokens repeated as the model needs them.

        `pictures` is the shape [keyframes, height, width, 3] of what `resize` gave.
        """
        ...

    def encode(self, expanded: str) -> NDArray[np.int64]:
        """Token ids [tokens] of an expanded text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, special ones left out."""
        ...

    def load_model(self, dtype: str, attention: str) -> Any:
        """The model in evaluation mode on the CPU: a native class of transformers.

        Raises ConfigError where the weights do not fit config.json.
        """
        ...

    def visual_inputs(self, pictures: Any, seconds: Sequence[Sequence[float]]) -> Mapping[str, Any]:
        """Keyword arguments of the model that carry the pictures: normalised, patched, gridded.

        `pictures`: uint8 tensor [segments, keyframes, height, width, 3] on the model's device, where
        all of the work is done; `seconds` per segment. Equal to the library's processor to 0.0.
        """
        ...

    def token_inputs(self, token_ids: Any) -> Mapping[str, Any]:
        """Keyword arguments of the model that go with token ids [segments, tokens] in a whole pass.

        Such as mm_token_type_ids; not input_ids itself, no attention_mask.
        """
        ...

    def positions(
        self,
        model: Any,
        token_ids: Any,
        pictures: tuple[int, ...],
        seconds: Sequence[Sequence[float]],
    ) -> Any:
        """Explicit position_ids of whole prompts: [segments, tokens], or as the model takes them,
        with the tokens in the last axis.

        On the CPU, as `token_ids` are: nothing here may wait for the device. `pictures` is the shape
        [keyframes, height, width, 3] of each segment's.
        """
        ...
