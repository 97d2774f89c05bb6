"""Any supported architecture behind the Backbone contract: generic, but for its family."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cache.errors import ConfigError
from stages.backbones import generation
from stages.backbones.capture import Decoder, Taps
from stages.backbones.contract import (
    Captured,
    Explanation,
    Family,
    Picture,
    Prepared,
    Prompt,
    Wanted,
)
from stages.backbones.pass_settings import require_there
from stages.backbones.prefill import run_many, run_one, shared_tokens
from stages.backbones.upload import upload

YES = ("yes", "Yes", "YES", " yes", " Yes", " YES")
NO = ("no", "No", "NO", " no", " No", " NO")
"""Beginnings of an answer."""


class Multimodal:
    """One loaded checkpoint of any family."""

    def __init__(self, family: Family, dtype: str, attention: str, device: str) -> None:
        self._family = family
        self._model = family.load_model(dtype, attention).to(device)
        self._device = torch.device(device)
        self._decoder = Decoder(self._model.get_decoder())
        text = self._model.config.get_text_config()
        self.model_type = family.model_type
        self.layers = len(self._decoder.layers)
        self.dim = int(text.hidden_size)
        self.heads = int(text.num_attention_heads)
        self.head_dim = int(self._decoder.o_proj[0].in_features) // self.heads
        self.dtype = dtype
        self.full_batches = self._device.type != "cpu"
        self._encoded: dict[Any, tuple[str, NDArray[np.int64]]] = {}
        self._answers: tuple[torch.Tensor, torch.Tensor] | None = None
        # Hooks belong to the model: two passes at once would mix their states.
        self._lock = threading.Lock()

    def prepare(
        self, keyframes: Sequence[Picture], seconds: Sequence[float], prompts: Sequence[Prompt]
    ) -> Prepared:
        """Make keyframes, their times and prompts into one input of the model."""
        if not keyframes or len(keyframes) != len(seconds):
            raise ValueError(
                f"a segment has keyframes and a time for each, got {len(keyframes)} keyframes and "
                f"{len(seconds)} times"
            )
        times = tuple(float(time - seconds[0]) for time in seconds)
        pictures = self._family.resize(keyframes)
        found = [self._tokenized(prompt, pictures.shape, times) for prompt in prompts]
        return Prepared(
            pictures, times, tuple(ids for _, ids in found), tuple(text for text, _ in found)
        )

    def forward(self, batch: Sequence[Prepared], wanted: Wanted) -> Captured:
        """One pass over segments of one shape; it is launched, and its end not waited for."""
        require_there(wanted.layers, wanted.heads, depth=self.layers, width=self.heads)
        family, model, decoder = self._family, self._model, self._decoder
        visual = self._visual(batch)
        host = _token_ids(batch)
        shape, seconds = batch[0].pictures.shape, [item.seconds for item in batch]
        placed = [family.positions(model, each, shape, seconds) for each in host]
        ids, positions = ([upload(each, self._device) for each in many] for many in (host, placed))
        with self._lock, torch.inference_mode():
            if len(ids) == 1:
                taps = run_one(model, decoder, family, ids[0], positions[0], visual, wanted)
            else:
                cut = shared_tokens(host, family.visual_ids)
                taps = run_many(model, decoder, family, ids, positions, visual, wanted, cut)
            found = taps.captured(self.head_dim)
            if not wanted.yes_no:
                return found
            return Captured(found.states, found.heads, self._yes_no(taps))

    def explain(
        self, batch: Sequence[Prepared], seed: int, max_new_tokens: int
    ) -> list[Explanation]:
        """Answer the one prompt of each item by greedy decoding."""
        visual = self._visual(batch)
        (ids,) = (upload(each, self._device) for each in _token_ids(batch))
        with self._lock, torch.inference_mode():
            inputs = {**self._family.token_inputs(ids), **visual}
            return generation.answer(self._model, self._family, inputs, ids, seed, max_new_tokens)

    def _tokenized(
        self, prompt: Prompt, shape: tuple[int, ...], seconds: tuple[float, ...]
    ) -> tuple[str, NDArray[np.int64]]:
        """Text and token ids of a prompt; most segments of a video share them."""
        text = self._family.text(prompt, shape[0], seconds)
        expanded = self._family.expand(text, shape, seconds)
        if (found := self._encoded.get(expanded)) is None:
            ids = self._family.encode(expanded)
            shown = np.flatnonzero(np.isin(ids, self._family.visual_ids))
            if not len(shown) or shown[-1] == len(ids) - 1:
                raise ConfigError(
                    f"the prompt came out with {len(shown)} visual tokens in {len(ids)} tokens, and "
                    "pictures followed by text are expected: the checkpoint's tokenizer or chat "
                    "template does not fit its architecture"
                )
            found = self._encoded[expanded] = (text, ids)
        return found

    def _visual(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        """The pictures as the model takes them, in its dtype."""
        shapes = {item.shape for item in batch}
        if len(shapes) != 1:
            raise ValueError(f"a batch holds inputs of one shape, these have {sorted(shapes)}")
        shown = upload(torch.from_numpy(np.stack([item.pictures for item in batch])), self._device)
        found = self._family.visual_inputs(shown, [item.seconds for item in batch])
        return {
            # Only pixels: times and grids must keep their precision.
            name: value.to(self._model.dtype) if name.startswith("pixel_values") else value
            for name, value in found.items()
        }

    def _yes_no(self, taps: Taps) -> torch.Tensor:
        """Probability of a first token that says yes, and of one that says no, in float32."""
        if self._answers is None:
            yes, no = (self._first_tokens(words) for words in (YES, NO))
            # A token that begins both (a space of its own, say) tells nothing.
            pair = (sorted(yes - no), sorted(no - yes))
            if not all(pair):
                raise ConfigError("forward.yes_no: the tokenizer has no tokens for yes and no")
            self._answers = tuple(torch.tensor(ids, device=self._device) for ids in pair)  # type: ignore[assignment]
        assert self._answers is not None
        last = self._model.get_decoder().norm(taps.layer(self.layers))
        chances = self._model.get_output_embeddings()(last).float().softmax(dim=-1)
        return torch.stack([chances[..., ids].sum(dim=-1) for ids in self._answers], dim=-1)

    def _first_tokens(self, words: Sequence[str]) -> set[int]:
        start = len(self._family.encode(""))
        return {int(self._family.encode(word)[start]) for word in words}


def _token_ids(batch: Sequence[Prepared]) -> list[torch.Tensor]:
    """Per prompt [segments, tokens], on the CPU."""
    prompts = range(len(batch[0].token_ids))
    return [torch.from_numpy(np.stack([item.token_ids[p] for item in batch])) for p in prompts]
