"""An InternVL of any size with random weights, made on the device: nothing is downloaded or read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from demo.architecture import CHAT_TEMPLATE, NAMED_TOKENS, SPECIAL_TOKENS, write_processors
from stages.backbones.families.internvl import InternVL
from stages.backbones.weights import frozen
from tests.small_backbone import byte_tokenizer

TEXT = {"max_position_embeddings": 32768, "rms_norm_eps": 1e-6}
SIZES: dict[str, dict[str, Any]] = {
    # As many tokens as a real one (225 a keyframe), about a second of two cores per segment: the
    # model outweighs what stands around it.
    "small": {
        "vision": (256, 4, 4, 1024, 420),
        "text": (512, 12, 8, 4, 1408),
        "vocabulary": 1024,
    },
    # InternVL2.5-8B, InternVL3-8B's width is 3584 x 28: hidden, layers, heads, (kv heads,) mlp.
    "8b": {
        "vision": (1024, 24, 16, 4096, 448),
        "text": (4096, 32, 32, 8, 14336),
        "vocabulary": 92553,
    },
}
"""Vision: width, layers, heads, mlp, picture size. Text: width, layers, heads, kv heads, mlp."""


def write_folder(folder: Path, size: str, dtype: str) -> None:
    """A checkpoint folder without real weights: configuration, tokenizer, preprocessor."""
    from safetensors.torch import save_file
    from transformers import InternVLConfig

    folder.mkdir(parents=True, exist_ok=True)
    made = SIZES[size]
    vision, text = made["vision"], made["text"]
    tokenizer = byte_tokenizer(SPECIAL_TOKENS, CHAT_TEMPLATE, NAMED_TOKENS)
    tokens = (vision[4] // 14 // 2) ** 2
    config = InternVLConfig(
        vision_config={
            "hidden_size": vision[0],
            "num_hidden_layers": vision[1],
            "num_attention_heads": vision[2],
            "intermediate_size": vision[3],
            "image_size": [vision[4], vision[4]],
            "patch_size": [14, 14],
            "attention_bias": True,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": made["vocabulary"],
            "hidden_size": text[0],
            "num_hidden_layers": text[1],
            "num_attention_heads": text[2],
            "num_key_value_heads": text[3],
            "intermediate_size": text[4],
            **TEXT,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=tokens,
        tie_word_embeddings=False,
        dtype=dtype,
    )
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_processors(folder, vision[4], tokens)
    save_file({"none": torch.zeros(1)}, folder / "model.safetensors")


class RandomInternVL(InternVL):
    """The family of such a folder: everything is the real one's but where weights come from."""

    def __init__(self, folder: Path, device: str) -> None:
        super().__init__(folder)
        self._device = device

    def load_model(self, dtype: str, attention: str) -> Any:
        """Random weights on the device, in evaluation mode."""
        from transformers import InternVLForConditionalGeneration

        torch.manual_seed(0)
        self.config._attn_implementation = attention
        before = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            with torch.device(self._device):
                model = InternVLForConditionalGeneration(self.config)
        finally:
            torch.set_default_dtype(before)
        return frozen(model)
