"""Batches through the model: checked, converted to stored bits, halved when memory runs out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cache.errors import ItemError
from stages.backbones.contract import Backbone, Prepared


class Runner:
    """Runs batches of one backbone and keeps the batch size that fits."""

    def __init__(self, backbone: Backbone, batch: int, store_dtype: str) -> None:
        self._backbone = backbone
        self.batch = batch
        """Segments per pass; only ever gets smaller."""
        self.logical_dtype = backbone.dtype if store_dtype == "model" else store_dtype
        """What the numbers of `run` are."""

    def run(self, items: Sequence[Prepared], first_segment: int) -> NDArray[Any]:
        """Hidden states [segments, layers + 1, dim] of the items, as they are stored.

        float32, float16, or the uint16 bits of bfloat16. `first_segment` is the number of the first
        item, for messages. Raises ItemError for a value that is not finite, one that float16 cannot
        hold, and where a single segment does not fit into memory.
        """
        parts: list[NDArray[Any]] = []
        done = 0
        while done < len(items):
            states = self._attempt(items[done : done + self.batch])
            if states is None:
                self._halve(first_segment + done)
                continue
            parts.append(self._stored(states, first_segment + done))
            done += len(states)
        return np.concatenate(parts)

    def _attempt(self, items: Sequence[Prepared]) -> torch.Tensor | None:
        """One pass; None where memory ran out (the error must be gone before memory is freed)."""
        try:
            states: torch.Tensor = self._backbone.states(items)
        except torch.OutOfMemoryError:
            return None
        expected = (len(items), self._backbone.layers + 1, self._backbone.dim)
        if tuple(states.shape) != expected:
            raise RuntimeError(f"states {list(expected)} expected, got {list(states.shape)}")
        return states

    def _halve(self, segment: int) -> None:
        if self.batch == 1:
            raise ItemError(
                f"segment {segment} alone does not fit into the memory of the GPU: use fewer "
                "keyframes, a smaller dtype, or a GPU with more memory"
            )
        self.batch = max(1, self.batch // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _stored(self, states: torch.Tensor, first_segment: int) -> NDArray[Any]:
        sound = torch.isfinite(states)
        if not bool(sound.all()):
            segment, layer = (int(n) for n in torch.nonzero(~sound)[0][:2])
            raise ItemError(
                f"segment {first_segment + segment} has a hidden state at layer {layer} that is "
                f"not finite: the model overflows in {self._backbone.dtype}; use another "
                "[backbone] dtype (bfloat16 or float32)"
            )
        if self.logical_dtype == "bfloat16":
            return states.contiguous().view(torch.int16).cpu().numpy().view(np.uint16)
        stored = states.to(getattr(torch, self.logical_dtype))
        lost = ~torch.isfinite(stored)
        if bool(lost.any()):
            segment, layer, dim = (int(n) for n in torch.nonzero(lost)[0])
            raise ItemError(
                f"segment {first_segment + segment}, layer {layer}: the value "
                f"{float(states[segment, layer, dim]):g} is beyond float16 (65504); use "
                '[forward] store_dtype = "model" or "float32"'
            )
        return stored.cpu().numpy()
