"""What the small checkpoints of all families share: a tokenizer of bytes, and noise in every weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.backbones.weights import quiet_progress


def byte_tokenizer(
    special: Sequence[str], template: str, named: Mapping[str, str] | None = None
) -> Any:
    """A byte-level tokenizer without merges: one token per byte, and the special ones.

    `special` holds <|im_end|> and <|endoftext|>; `named` are extra special tokens by attribute.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={s: n for n, s in enumerate(alphabet)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens([AddedToken(token, special=True) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=dict(named or {}),
        chat_template=template,
        model_max_length=8192,
    )


def draw_noise(model: Any, seed: int = 0) -> None:
    """Noise on every parameter and nothing left at zero or one, where a test would see nothing."""
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            shape = tuple(parameter.shape)
            noise = generator.standard_normal(shape, dtype=np.float32)
            if len(shape) == 1:
                around = 1.0 if name.endswith("weight") else 0.0
                values = around + 0.1 * noise
            elif "embed_tokens" in name:
                values = noise
            else:
                gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.0
                values = noise * gain / math.sqrt(math.prod(shape[1:]))
            parameter.copy_(torch.from_numpy(np.asarray(values, dtype=np.float32)))


def save(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write model and tokenizer as a checkpoint folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_progress():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
