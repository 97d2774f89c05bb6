"""From a question to the text that a chat template makes of it, and to its token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import ConfigError
from stages.backbones.contract import Prompt


def load_tokenizer(folder: Path) -> Any:
    """The checkpoint's tokenizer with its chat template. Raises ConfigError without a template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    older = folder / "chat_template.json"
    if older.is_file():
        # The file that only processors read comes first, as it does for them: a tokenizer may
        # still have the template of its text model, which shows no video.
        tokenizer.chat_template = json.loads(older.read_text(encoding="utf-8"))["chat_template"]
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"backbone {folder.name} has no chat template (chat_template.jinja expected)"
        )
    return tokenizer


def templated(tokenizer: Any, prompt: Prompt, content: Sequence[dict[str, str]]) -> str:
    """The text of one turn with this content, up to where the answer begins."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": list(content)}]
    if prompt.system:
        system = [{"type": "text", "text": prompt.system}]
        messages.insert(0, {"role": "system", "content": system})
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def encode(tokenizer: Any, text: str) -> NDArray[np.int64]:
    """Token ids [tokens]; a beginning token is added only where the template gave none."""
    bos = tokenizer.bos_token
    special = bos is None or not text.startswith(bos)
    ids = tokenizer(text, add_special_tokens=special)["input_ids"]
    return np.asarray(ids, dtype=np.int64)


def refuse_tokens(prompt: Prompt, tokens: Sequence[str]) -> None:
    """Raise ConfigError where a prompt's words hold one of the family's own special tokens."""
    words = {
        "system message": prompt.system,
        "question": prompt.question,
        "frame format": prompt.frame_format,
    }
    for what, text in words.items():
        for token in tokens:
            if token and token in text:
                raise ConfigError(
                    f"the {what} holds {token}, which stands for pictures in this backbone: "
                    "word it otherwise"
                )


def refuse_frame_format(prompt: Prompt, family: str) -> None:
    """Raise ConfigError for a frame format where the family shows keyframes as one video."""
    if prompt.frame_format:
        raise ConfigError(
            f"frame_format = {prompt.frame_format!r}: {family} takes the keyframes as one "
            "video; leave it empty"
        )


def token_digest(ids: NDArray[np.int64]) -> str:
    """sha256 of token ids as little-endian 64-bit numbers."""
    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<i8").tobytes()).hexdigest()
