"""What checkpoints in a native layout of transformers share: tokenizer, template, loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.backbones import prompting
from stages.backbones.weights import load_native


class NativeFamily:
    """A checkpoint folder whose config.json names a class of transformers."""

    model_class = ""
    """Name of that class in transformers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer: Any = self.read_tokenizer()
        self.config: Any = self.read_config()

    def read_tokenizer(self) -> Any:
        """The tokenizer with its chat template."""
        return prompting.load_tokenizer(self.folder)

    def read_config(self) -> Any:
        """The library's own reading of config.json: what the file leaves out gets its default."""
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.folder, local_files_only=True)

    def encode(self, expanded: str) -> NDArray[np.int64]:
        """Token ids [tokens] of an expanded text."""
        return prompting.encode(self.tokenizer, expanded)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, special ones left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def load_model(self, dtype: str, attention: str) -> Any:
        """The model in evaluation mode on the CPU."""
        import transformers

        return load_native(self.folder, getattr(transformers, self.model_class), dtype, attention)

    def token_inputs(self, token_ids: torch.Tensor) -> Mapping[str, Any]:
        """Nothing: the ids say where pictures are."""
        return {}

    def positions(
        self,
        model: Any,
        token_ids: torch.Tensor,
        shape: tuple[int, ...],
        seconds: Sequence[Sequence[float]],
    ) -> torch.Tensor:
        """0, 1, 2, ... [segments, tokens]."""
        return torch.arange(token_ids.shape[1]).expand_as(token_ids)
