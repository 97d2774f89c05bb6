"""A small LLaVA-OneVision: the real architecture and file layout, random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.small_backbone import byte_tokenizer
from tests.stages.backbones.checkpoints import parts

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }} "
    "{% if message['content'] is string %}{{ '\n' + message['content'] }}"
    "{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'video' %}<video>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ '\n' + part['text'] }}"
    "{% endfor %}{% endif %}"
    "<|im_end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Like the released one: visuals first whatever the order of the parts, and no system message."""

TEXT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What the tokenizer still has of its text model; the processor's file comes before it."""

# As in the released models (384 and 14) patches do not fill the side, and their count is odd.
SIDE = 76
PATCH = 14

VIDEOS: dict[str, Any] = {
    "crop_size": None,
    "default_to_square": False,
    "do_center_crop": None,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "do_sample_frames": False,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "LlavaOnevisionProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "video_processor_type": "LlavaOnevisionVideoProcessor",
}
IMAGES: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "LlavaOnevisionImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "LlavaOnevisionProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
}
JOINT: dict[str, Any] = {
    "image_token": "<image>",
    "processor_class": "LlavaOnevisionProcessor",
    "video_token": "<video>",
    "vision_aspect_ratio": "anyres_max_9",
    "vision_feature_select_strategy": "full",
}


def build(folder: Path, seed: int = 0, side: int = SIDE) -> None:
    """Write the checkpoint into `folder`; `side` is that of the frames, in pixels."""
    from transformers import GenerationConfig

    tokenizer = byte_tokenizer(SPECIAL, TEXT_TEMPLATE)
    model = _model(tokenizer, side)
    parts.draw_noise(model, seed)
    end = [tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")]
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end[1])
    parts.save(folder, model, tokenizer)
    (folder / "chat_template.jinja").unlink()
    size = {"size": {"height": side, "width": side}}
    files: dict[str, dict[str, Any]] = {
        "preprocessor_config.json": {
            **IMAGES,
            **size,
            "image_grid_pinpoints": grid_pinpoints(side),
        },
        "video_preprocessor_config.json": {**VIDEOS, **size},
        "processor_config.json": {**JOINT, "num_image_tokens": (side // PATCH) ** 2},
        "chat_template.json": {"chat_template": TEMPLATE},
        "tokenizer_config.json": {
            **json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")),
            "chat_template": TEXT_TEMPLATE,
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def grid_pinpoints(side: int) -> list[list[int]]:
    """Sizes that a single image could be cut into; videos have no use for them."""
    return [[side, side], [side, 2 * side], [2 * side, side]]


def _model(tokenizer: Any, side: int) -> Any:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    config = LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "image_size": side,
            "intermediate_size": 48,
            "num_attention_heads": 2,
            "num_hidden_layers": 3,
            "patch_size": PATCH,
            "vision_use_head": False,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        image_grid_pinpoints=grid_pinpoints(side),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        vision_feature_layer=-1,
        tie_word_embeddings=False,
        dtype="float32",
    )
    return LlavaOnevisionForConditionalGeneration(config).float().eval()
