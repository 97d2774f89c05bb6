"""A small Qwen2.5-VL: the real architecture and the files of a release, random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.small_backbone import byte_tokenizer
from tests.stages.backbones.checkpoints import parts, qwen

PREPROCESSOR: dict[str, Any] = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}
"""As released: there is no file for videos, so the limits for images hold for them too."""


def build(folder: Path, seed: int = 0) -> None:
    """Write the checkpoint into `folder`."""
    tokenizer = byte_tokenizer(qwen.SPECIAL, qwen.template(qwen.DEFAULT_SYSTEM))
    model = _model(tokenizer)
    parts.draw_noise(model, seed)
    model.generation_config = qwen.answering(tokenizer, temperature=1e-6, repetition_penalty=1.05)
    parts.save(folder, model, tokenizer)
    qwen.write_released(folder, {"preprocessor_config.json": PREPROCESSOR})
    _flatten(folder / "config.json")


def _model(tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    end = int(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "tokens_per_second": 2,
            "fullatt_block_indexes": [1],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [2, 3, 3],
            },
            "bos_token_id": None,
            "eos_token_id": end,
        },
        **qwen.token_ids(tokenizer),
        tie_word_embeddings=False,
        dtype="float32",
    )
    return Qwen2_5_VLForConditionalGeneration(config).float().eval()


def _flatten(path: Path) -> None:
    """As released: the text decoder's settings stand at the top, its rotary ones in older words."""
    config = json.loads(path.read_text(encoding="utf-8"))
    text = config.pop("text_config")
    rotary = text.pop("rope_parameters")
    for name in ("model_type", "layer_types", "pad_token_id"):
        text.pop(name, None)
    config["vision_config"].pop("model_type")
    config["vision_config"].pop("rope_parameters", None)
    scaling = {"type": "mrope", "mrope_section": rotary["mrope_section"]}
    config["torch_dtype"] = config.pop("dtype")
    config |= {**text, "rope_theta": rotary["rope_theta"], "rope_scaling": scaling}
    path.write_text(json.dumps(config), encoding="utf-8")
