"""What the small checkpoints of Qwen2.5-VL and Qwen3-VL share: tokens, and the files of releases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
DEFAULT_SYSTEM = (
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
)


def template(before_each: str = "") -> str:
    """A chat template; `before_each` stands at the head of the loop over messages."""
    return (
        "{% for message in messages %}" + before_each + "<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
        "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
        "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}"
        "<|im_end|>\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def token_ids(tokenizer: Any) -> dict[str, int]:
    """The tokens that config.json names."""
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: int(tokenizer.convert_tokens_to_ids(token)) for name, token in names.items()}


def answering(tokenizer: Any, **sampling: Any) -> Any:
    """Settings of generation with which checkpoints are released: they sample."""
    from transformers import GenerationConfig

    end = [int(tokenizer.convert_tokens_to_ids(name)) for name in ("<|im_end|>", "<|endoftext|>")]
    return GenerationConfig(eos_token_id=end, pad_token_id=end[1], do_sample=True, **sampling)


def write_released(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Give a saved folder the form of a release: template and tokenizer in the older files."""
    template_file = folder / "chat_template.jinja"
    words = {"chat_template": template_file.read_text(encoding="utf-8")}
    template_file.unlink()
    change(folder / "tokenizer_config.json", {"tokenizer_class": "Qwen2Tokenizer", **words})
    for name, content in {"chat_template.json": words, **files}.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def change(path: Path, fields: Mapping[str, Any]) -> None:
    """Set fields of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **fields}), encoding="utf-8")
