"""The library's own plain pass, and heads computed naively: what our numbers are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from stages.backbones.contract import Prepared
from stages.backbones.multimodal import Multimodal


def library_inputs(
    backbone: Multimodal, items: Sequence[Prepared], prompt: int = 0
) -> dict[str, Any]:
    """Keyword arguments for a plain pass: no positions, so that the library counts its own."""
    ids = torch.from_numpy(np.stack([item.token_ids[prompt] for item in items]))
    visual = backbone._visual(items)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        **backbone._family.token_inputs(ids),
        **visual,
    }


@dataclass(frozen=True)
class Plain:
    """What a plain pass leaves at the last position."""

    states: torch.Tensor
    """[segments, layers + 1, dim], the last one before the final norm, by a hook of our own."""
    reported: torch.Tensor
    """[segments, layers + 1, dim], as the library reports them: the last one after the norm."""
    attention: torch.Tensor
    """[segments, layers, dim]: outputs of the attention blocks."""
    logits: torch.Tensor
    """[segments, vocabulary]."""


def plain(backbone: Multimodal, items: Sequence[Prepared], prompt: int = 0) -> Plain:
    """A pass as a user of the library writes it, with hooks that only look."""
    model: Any = backbone._model
    layers = model.get_decoder().layers
    blocks: list[torch.Tensor] = []
    ends: list[torch.Tensor] = []
    hooks = [_look(layer.self_attn, blocks) for layer in layers] + [_look(layers[-1], ends)]
    try:
        with torch.inference_mode():
            inputs = library_inputs(backbone, items, prompt)
            out = model(**inputs, output_hidden_states=True)
    finally:
        for hook in hooks:
            hook.remove()
    reported = torch.stack([state[:, -1] for state in out.hidden_states], dim=1)
    states = torch.cat([reported[:, :-1], ends[0][:, None]], dim=1)
    return Plain(states, reported, torch.stack(blocks, dim=1), out.logits[:, -1])


def _look(module: Any, seen: list[torch.Tensor]) -> Any:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output)[:, -1])

    return module.register_forward_hook(hook)


def first_step(backbone: Multimodal, items: Sequence[Prepared]) -> torch.Tensor:
    """Hidden states of the first step of `generate`, as reported: [segments, layers + 1, dim]."""
    model: Any = backbone._model
    with torch.inference_mode():
        out = model.generate(
            **library_inputs(backbone, items),
            max_new_tokens=1,
            do_sample=False,
            output_hidden_states=True,
            return_dict_in_generate=True,
        )
    return torch.stack([state[:, -1] for state in out.hidden_states[0]], dim=1)


def greedy(backbone: Multimodal, item: Prepared, tokens: int) -> list[int]:
    """The likeliest next tokens, each from a plain pass over everything before it, no cache.

    Ends before a token that stands for pictures: a plain pass would look for them.
    """
    model: Any = backbone._model
    inputs = library_inputs(backbone, [item])
    ids = inputs["input_ids"]
    found: list[int] = []
    with torch.inference_mode():
        while len(found) < tokens:
            more = {"input_ids": ids, **backbone._family.token_inputs(ids)}
            passed = {**inputs, **more, "attention_mask": torch.ones_like(ids)}
            best = model(**passed, use_cache=False).logits[:, -1].argmax(dim=-1, keepdim=True)
            if int(best) in backbone._family.visual_ids:
                break
            found.append(int(best))
            ids = torch.cat([ids, best], dim=1)
    return found


def naive_heads(backbone: Multimodal, item: Prepared) -> NDArray[np.float64]:
    """softmax(q K) V of every head at the last position, [layers, heads, head_dim], in float64.

    From the queries, keys and values (after the rotation) that enter the library's attention.
    """
    model: Any = backbone._model
    blocks = [layer.self_attn for layer in model.get_decoder().layers]
    with _attended() as seen, torch.inference_mode():
        model(**library_inputs(backbone, [item]))
    return np.stack([_last_heads(*seen[id(block)]) for block in blocks])


def _last_heads(query: Any, key: Any, value: Any, scaling: float) -> NDArray[np.float64]:
    q, k, v = (tensor[0].double().numpy() for tensor in (query, key, value))
    heads = []
    for head in range(len(q)):
        group = head * len(k) // len(q)
        # The last position sees all: no mask.
        scores = k[group] @ q[head, -1] * scaling
        weights = np.exp(scores - scores.max())
        heads.append(weights @ v[group] / weights.sum())
    return np.stack(heads)


@contextmanager
def _attended() -> Iterator[dict[int, tuple[Any, Any, Any, float]]]:
    """What enters each block's attention function, by the block's id; eager and sdpa alike."""
    from transformers.modeling_utils import AttentionInterface

    seen: dict[int, tuple[Any, Any, Any, float]] = {}
    found = AttentionInterface.get_interface

    def watched(self: Any, *args: Any, **options: Any) -> Callable[..., Any]:
        attend = found(self, *args, **options)

        def record(module: Any, query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> Any:
            seen[id(module)] = (query, key, value, more["scaling"])
            return attend(module, query, key, value, *rest, **more)

        return record

    with mock.patch.object(AttentionInterface, "get_interface", watched):
        yield seen
