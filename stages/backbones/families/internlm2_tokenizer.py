"""InternLM2's tokenizer, read from its files: no code of the checkpoint is run.

The text is cut at the tokens that tokenizer_config.json adds; what lies between goes through the
sentencepiece model as it is; the beginning token stands in front.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from cache.errors import ConfigError

SETTINGS = "tokenizer_config.json"
MODEL = "tokenizer.model"


class InternLM2Tokenizer:
    """Text to ids and back."""

    bos_token = "<s>"

    def __init__(self, folder: Path) -> None:
        """Read the files of a checkpoint folder; raises ConfigError where they are not such."""
        self._pieces = _sentencepiece(folder)
        added = _added_tokens(folder)
        self._ids = {str(token["content"]): number for number, token in added.items()}
        self._texts = {number: str(token["content"]) for number, token in added.items()}
        self._special = {number for number, token in added.items() if token.get("special")}
        # Of two tokens that begin at the same place, the longer one.
        longest = sorted(self._ids, key=len, reverse=True)
        self._cut = re.compile("(" + "|".join(map(re.escape, longest)) + ")")
        self.bos_token_id = int(self._pieces.bos_id())
        self.eos_token_id = int(self._pieces.eos_id())

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        """The token ids of a text, as "input_ids"; the beginning token in front unless told not to."""
        ids = [self.bos_token_id] if add_special_tokens else []
        for place, part in enumerate(self._cut.split(text)):
            if place % 2:
                ids.append(self._ids[part])
            elif part:
                ids += self._pieces.encode(part)
        return {"input_ids": ids}

    def convert_tokens_to_ids(self, token: str) -> int | None:
        """The id of an added token; None for one that the tokenizer does not have."""
        return self._ids.get(token)

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids; numbers beyond the vocabulary have none.

        Unlike the original's, it does not touch spaces before punctuation marks.
        """
        kept = [n for n in ids if not (skip_special_tokens and n in self._special)]
        return "".join(
            "".join(self._texts[n] for n in run) if added else self._words(list(run))
            for added, run in groupby(kept, self._texts.__contains__)
        )

    def _words(self, ids: Sequence[int]) -> str:
        known = [n for n in ids if 0 <= n < self._pieces.vocab_size()]
        return str(self._pieces.decode(known))


def _sentencepiece(folder: Path) -> Any:
    from sentencepiece import SentencePieceProcessor

    path = folder / MODEL
    if not path.is_file():
        raise ConfigError(
            f"backbone {folder.name} has no {MODEL}, which InternLM2's tokenizer needs"
        )
    try:
        return SentencePieceProcessor(model_file=str(path))
    except RuntimeError as error:
        raise ConfigError(f"backbone {folder.name}: {MODEL} cannot be read: {error}") from error


def _added_tokens(folder: Path) -> dict[int, Mapping[str, Any]]:
    """The added tokens by id."""
    path = folder / SETTINGS
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = settings.get("added_tokens_decoder")
    if not found:
        raise ConfigError(
            f"backbone {folder.name}: {SETTINGS} with added_tokens_decoder is expected; without it, "
            "tokens such as <|im_end|> would be read as plain text"
        )
    if settings.get("add_bos_token", True) is not True or settings.get("add_eos_token", False):
        raise ConfigError(
            f"backbone {folder.name}: {SETTINGS} asks for no beginning token or for an ending one, "
            "and InternLM2's prompts have the one and not the other"
        )
    for number, token in found.items():
        if any(token.get(name) for name in ("lstrip", "rstrip", "single_word")):
            raise ConfigError(
                f"backbone {folder.name}: the added token {number}, {token.get('content')!r}, takes "
                "spaces or word ends into account, which is not supported"
            )
    return {int(number): token for number, token in found.items()}
