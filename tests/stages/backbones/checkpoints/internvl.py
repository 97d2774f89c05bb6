"""Small InternVL checkpoints in the native layout, with each text model that releases have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from tests.small_backbone import byte_tokenizer
from tests.stages.backbones.checkpoints import parts

TextModel = Literal["qwen2", "llama", "qwen3"]
"""InternVL3 has qwen2, InternVL2.5-MPO llama (from InternLM2), InternVL3.5 qwen3."""

NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", *NAMED.values())
TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif part['type'] == 'video' %}{{ '<video>\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

SIDE = 56
PATCH = 14

PICTURES: dict[str, Any] = {
    "crop_to_patches": False,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "GotOcr2ImageProcessorFast",
    "image_std": [0.229, 0.224, 0.225],
    "max_patches": 12,
    "min_patches": 1,
    "processor_class": "InternVLProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
}


def build(folder: Path, seed: int = 0, text: TextModel = "qwen3", side: int = SIDE) -> None:
    """Write the checkpoint into `folder`; `side` is that of the tiles, in pixels."""
    from transformers import GenerationConfig

    tokenizer = _tokenizer(text)
    model = _model(tokenizer, text, side)
    parts.draw_noise(model, seed)
    end = [tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")]
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end[1])
    parts.save(folder, model, tokenizer)
    files: dict[str, dict[str, Any]] = {
        "preprocessor_config.json": {**PICTURES, "size": {"height": side, "width": side}},
        "processor_config.json": {
            "image_seq_length": tokens_per_frame(side),
            "processor_class": "InternVLProcessor",
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def tokens_per_frame(side: int) -> int:
    """Half the patches of each axis are left."""
    return (side // PATCH // 2) ** 2


def _tokenizer(text: TextModel) -> Any:
    tokenizer = byte_tokenizer(SPECIAL, TEMPLATE, NAMED)
    if text == "llama":
        from tokenizers.processors import TemplateProcessing

        # InternLM2's begins every text with a token that the chat template does not write.
        start = tokenizer.convert_tokens_to_ids("<s>")
        tokenizer.bos_token = "<s>"
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", start)]
        )
    return tokenizer


def _model(tokenizer: Any, text: TextModel, side: int) -> Any:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    # Qwen3's heads are wider than the hidden size over their number; llama and qwen3 have no bias.
    own = {"head_dim": 24} if text == "qwen3" else {}
    config = InternVLConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "image_size": [side, side],
            "patch_size": [PATCH, PATCH],
            "attention_bias": True,
        },
        text_config={
            "model_type": text,
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            **own,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=tokens_per_frame(side),
        tie_word_embeddings=False,
        dtype="float32",
    )
    return InternVLForConditionalGeneration(config).float().eval()
