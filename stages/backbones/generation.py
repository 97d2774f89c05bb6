"""Answers in words: greedy decoding of a batch, cut where each answer ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from stages.backbones.contract import Explanation, Family


def answer(
    model: Any,
    family: Family,
    inputs: Mapping[str, Any],
    token_ids: torch.Tensor,
    seed: int,
    max_new_tokens: int,
) -> list[Explanation]:
    """Answer prompts [items, tokens] of equal length by greedy decoding.

    `inputs` are further keyword arguments of the model, on its device. At each step the likeliest
    token is taken, as the model gives it: no penalty, filter or temperature of the checkpoint's own
    generation settings has a say. Changes `model.generation_config` while it runs: one call at a
    time.
    """
    stop = stop_ids(model, family)
    devices = [token_ids.device] if token_ids.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _plain(model, stop):
        torch.manual_seed(seed)
        output = model.generate(
            input_ids=token_ids,
            attention_mask=torch.ones_like(token_ids),
            max_new_tokens=max_new_tokens,
            **inputs,
        )
    rows: list[list[int]] = output[:, token_ids.shape[1] :].tolist()
    return [_explanation(family, row, stop) for row in rows]


def stop_ids(model: Any, family: Family) -> tuple[int, ...]:
    """Tokens that end an answer: what the checkpoint says, else its tokenizer; may be none."""
    for owner in (model.generation_config, getattr(family, "tokenizer", None)):
        found = getattr(owner, "eos_token_id", None)
        if found is not None:
            return tuple(found) if isinstance(found, (list, tuple)) else (int(found),)
    return ()


@contextmanager
def _plain(model: Any, stop: Sequence[int]) -> Iterator[None]:
    """Within this block the model generates greedily, whatever its checkpoint asks for.

    The whole object is exchanged: what a call leaves unsaid is otherwise taken from the checkpoint's
    (a repetition penalty, say), and a list of all that would have to be switched off gets longer
    with every release of the library.
    """
    from transformers import GenerationConfig

    before = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        eos_token_id=list(stop) or None,
        # An answer that has ended is filled up with this while others go on; it is cut off again.
        pad_token_id=stop[0] if stop else 0,
    )
    try:
        yield
    finally:
        model.generation_config = before


def _explanation(family: Family, row: Sequence[int], stop: Sequence[int]) -> Explanation:
    """The answer of one row, up to the first token that ends it."""
    end = next((place for place, token in enumerate(row) if token in stop), None)
    kept = list(row) if end is None else list(row[: end + 1])
    return Explanation(family.decode(kept).strip(), "length" if end is None else "stop", len(kept))
