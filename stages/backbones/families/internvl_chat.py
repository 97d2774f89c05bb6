"""InternVL in its original layout: InternVL2.5 as first published, and Holmes-VAU.

The checkpoints bring code of their own, which is never run: under transformers 5 it does not load,
or loads without a warning and computes with broken rotary tables. Configuration, tokenizer and
weights are read into the native class instead, whose arithmetic is the published one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import ConfigError
from stages.backbones import pictures
from stages.backbones.contract import Prompt
from stages.backbones.families.internlm2_tokenizer import InternLM2Tokenizer
from stages.backbones.families.internvl import InternVL
from stages.backbones.families.internvl_chat_config import native_config, text_type
from stages.backbones.families.internvl_chat_weights import load_original
from stages.backbones.identity import read_config

MEAN = [0.485, 0.456, 0.406]
STD = [0.229, 0.224, 0.225]
"""The original's code has these numbers in it and reads no preprocessor file."""


@dataclass(frozen=True, slots=True)
class Template:
    """The form of a conversation."""

    end: str
    """Stands after each message."""
    system: str
    """The system message that the original puts in where none is given. Here it is not put in:
    to get the original's prompt, set it as forward.system."""


_SYSTEM_2 = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, "
    "是一个有用无害的人工智能助手。"
)
_SYSTEM_2_5 = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的"
    "多模态大语言模型。"
)
TEMPLATES = {
    "internvl2_5": Template("<|im_end|>\n", _SYSTEM_2_5),
    "internlm2-chat": Template("<|im_end|>", _SYSTEM_2),
    "Hermes-2": Template("<|im_end|>", _SYSTEM_2),
}
"""By the template that config.json names: of InternVL2.5 and 3, and two of InternVL2."""


class InternVLChat(InternVL):
    """InternVL, but for where its configuration, tokenizer, template and weights come from."""

    model_type = "internvl_chat"

    def __init__(self, folder: Path) -> None:
        self._original = read_config(folder)
        self._text_type = text_type(folder, self._original)
        name = self._original.get("template")
        if name not in TEMPLATES:
            raise ConfigError(
                f"backbone {folder.name}: config.json has template = {name!r}, expected one of "
                f"{', '.join(sorted(TEMPLATES))}"
            )
        self.template = TEMPLATES[name]
        super().__init__(folder)

    def read_tokenizer(self) -> Any:
        """The text model's own tokenizer, by its name: no file says which code to run."""
        if self._text_type == "internlm2":
            return InternLM2Tokenizer(self.folder)
        from transformers import Qwen2Tokenizer

        return Qwen2Tokenizer.from_pretrained(self.folder, local_files_only=True)

    def read_config(self) -> Any:
        """The native class's configuration."""
        image = self._required(self._token("context_image_token"))
        return native_config(self.folder, self._original, image)

    def chat(self, prompt: Prompt, content: str) -> str:
        """One turn in the original's form; a system message only where the prompt has one."""
        end = self.template.end
        system = f"<|im_start|>system\n{prompt.system}{end}" if prompt.system else ""
        return f"{system}<|im_start|>user\n{content}{end}<|im_start|>assistant\n"

    def encode(self, expanded: str) -> NDArray[np.int64]:
        """Token ids [tokens] of an expanded text; ConfigError for one that is too long."""
        ids = super().encode(expanded)
        text = self.config.text_config
        limit = int(text.max_position_embeddings)
        if text.rope_parameters["rope_type"] == "dynamic" and len(ids) > limit:
            raise ConfigError(
                f"the prompt has {len(ids)} tokens, and this backbone takes {limit} before its "
                "rotary tables depend on what it was shown earlier: take fewer keyframes"
            )
        return ids

    def load_model(self, dtype: str, attention: str) -> Any:
        """The native model in evaluation mode on the CPU, which stops where the original does."""
        model = load_original(self.folder, self.config, dtype, attention)
        stop = self._stop_ids()
        model.generation_config.eos_token_id = stop
        model.generation_config.pad_token_id = stop[0]
        return model

    def _stop_ids(self) -> list[int]:
        """The template's end of a message, then what the checkpoint names."""
        path = self.folder / "generation_config.json"
        own = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found = [self._required("<|im_end|>")]
        for named in (own.get("eos_token_id"), self.config.text_config.eos_token_id):
            found += named if isinstance(named, list) else [] if named is None else [named]
        return list(dict.fromkeys(int(number) for number in found))

    def _required(self, token: str) -> int:
        found = self.tokenizer.convert_tokens_to_ids(token)
        if found is None or found == getattr(self.tokenizer, "unk_token_id", None):
            raise ConfigError(
                f"backbone {self.folder.name}: the tokenizer has no token {token}, which the "
                "original InternVL layout needs"
            )
        return int(found)

    def _normalisation(self) -> NDArray[np.float32]:
        return pictures.pillow_table(MEAN, STD, 1 / 255)
