"""The smallest backbone of the tests: InternVL's real architecture, random weights.

It is written as a checkpoint folder and loads through the very path of a downloaded one. Its weights
are drawn, not trained: what its hidden states know of a clip is what a random network passes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from demo.architecture import (
    CHAT_TEMPLATE,
    NAMED_TOKENS,
    SPECIAL_TOKENS,
    wrapped,
    write_processors,
)

IMAGE_SIZE = 64
PATCH_SIZE = 16
VISION_WIDTH = 96
VISION_LAYERS = 2
WIDTH = 128
LAYERS = 6
HEADS = 4


def build_backbone(folder: Path, seed: int = 0) -> None:
    """Write the checkpoint of a small InternVL into `folder`; the same seed gives the same bytes."""
    from transformers import GenerationConfig

    from stages.backbones.weights import quiet_progress

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_tokenizer(SPECIAL_TOKENS, CHAT_TEMPLATE, NAMED_TOKENS)
    model = _model(len(tokenizer), tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"))
    _draw_weights(model, seed)
    end = [tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")]
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end[1])
    with quiet_progress():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_processors(folder, IMAGE_SIZE, (IMAGE_SIZE // PATCH_SIZE // 2) ** 2)


def byte_tokenizer(
    special: Sequence[str], template: str, named: Mapping[str, str] = MappingProxyType({})
) -> Any:
    """A byte-level tokenizer without merges: one token per byte, and the special ones.

    `special` holds <|im_end|> and <|endoftext|>; `named` are extra special tokens by attribute.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate(alphabet)}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens([AddedToken(token, special=True) for token in special])
    return wrapped(plain, template, named)


def _model(vocabulary: int, image_token_id: int) -> Any:
    """The architecture, with weights that `_draw_weights` will overwrite."""
    import torch
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    config = InternVLConfig(
        vision_config={
            "hidden_size": VISION_WIDTH,
            "num_hidden_layers": VISION_LAYERS,
            "num_attention_heads": 4,
            "intermediate_size": 2 * VISION_WIDTH,
            "image_size": [IMAGE_SIZE, IMAGE_SIZE],
            "patch_size": [PATCH_SIZE, PATCH_SIZE],
            "attention_bias": True,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": vocabulary,
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS // 2,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-6,
        },
        image_token_id=image_token_id,
        image_seq_length=(IMAGE_SIZE // PATCH_SIZE // 2) ** 2,
        tie_word_embeddings=False,
        dtype="float32",
    )
    # Construction draws from torch's generator; the caller's numbers must not depend on it.
    with torch.random.fork_rng(devices=[]):
        return InternVLForConditionalGeneration(config).float().eval()


def _draw_weights(model: Any, seed: int) -> None:
    """Draw every parameter, in order of name, with NumPy's generator (the same on all machines)."""
    import torch

    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = generator.standard_normal(tuple(parameter.shape), dtype=np.float32)
            offset, scale = _distribution(name, tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(offset + scale * noise))


def _distribution(name: str, shape: tuple[int, ...]) -> tuple[np.float32, np.float32]:
    """Mean and standard deviation of one parameter's entries.

    Matrices keep the variance of what passes through. The decoder's queries and keys and what
    brings pictures in are stronger, so that attention prefers some keyframes over others and the
    last position differs between clips.
    No parameter stays constant: a zero would make tests of equality empty.
    """
    leaf = name.rsplit(".", 1)[-1]
    if leaf.startswith("lambda_"):
        return np.float32(1.0), np.float32(0.1)
    if len(shape) == 1:
        norm = leaf == "weight"
        return np.float32(1.0 if norm else 0.0), np.float32(0.1)
    if "embeddings" in name and "projection" not in name:
        return np.float32(0.0), np.float32(0.3)
    if "embed_tokens" in name:
        return np.float32(0.0), np.float32(1.0)
    strong = ("multi_modal_projector", "patch_embeddings")
    attends = "language_model" in name and ("q_proj" in name or "k_proj" in name)
    gain = 2.0 if attends or any(part in name for part in strong) else 1.0
    return np.float32(0.0), np.float32(gain / math.sqrt(math.prod(shape[1:])))
