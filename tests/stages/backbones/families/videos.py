"""What the tests of Qwen2.5-VL and Qwen3-VL share: segments, and the library's plain passes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.backbones.contract import Prepared, Prompt, Wanted
from stages.backbones.multimodal import Multimodal
from tests import oracle

PLAIN = Prompt("", "What happens here?")
SAID = Prompt(
    "Du bist ein aufmerksamer Wächter …", "Qu’est-ce qui se passe ? 异常 e\u0301 🚗\n1 or 2?"
)
SIZES = ((240, 320), (320, 240), (720, 1280), (37, 201), (211, 333), (17, 43), (9, 900))
"""Height and width; the last ones have a side that is shorter than a visual token."""


@dataclass(frozen=True)
class Segment:
    """Keyframes, their times in the video, and a prompt."""

    keyframes: NDArray[np.uint8]
    """[keyframes, height, width, 3]."""
    seconds: tuple[float, ...]
    prompt: Prompt = PLAIN

    @property
    def after(self) -> list[float]:
        """The times after the first keyframe."""
        return [time - self.seconds[0] for time in self.seconds]

    def prepared(self, backbone: Multimodal) -> Prepared:
        return backbone.prepare(list(self.keyframes), self.seconds, [self.prompt])


def segment(
    size: tuple[int, int] = (60, 100),
    keyframes: int = 8,
    spacing: float = 0.1,
    prompt: Prompt = PLAIN,
    seed: int = 0,
) -> Segment:
    """Noise, from second 7.25 on."""
    generator = np.random.default_rng([seed, *size, keyframes])
    shown = generator.integers(0, 256, (keyframes, *size, 3), dtype=np.uint8)
    return Segment(shown, tuple(7.25 + spacing * n for n in range(keyframes)), prompt)


def segments() -> list[Segment]:
    """Every size with and without a system message, every number of keyframes and spacing."""
    sizes = [segment(size, prompt=prompt) for size in SIZES for prompt in (PLAIN, SAID)]
    spaced = [
        segment((211, 333), keyframes, spacing, SAID)
        for keyframes, spacing in ((8, 0.125), (8, 1 / 3), (8, 20.0), (8, 0.0), (3, 0.1), (1, 0.0))
    ]
    uneven = Segment(segment().keyframes, (3.0, 3.1, 3.3, 3.4, 4.4, 4.41, 5.0, 5.96))
    return [*sizes, *spaced, uneven]


def beyond_limits() -> list[Segment]:
    """For a checkpoint with narrow limits: too many pixels, too few, and numbers of keyframes."""
    return [
        segment(size, keyframes)
        for size in ((240, 320), (37, 201), (51, 250))
        for keyframes in (8, 5, 2)
    ]


def changed(folder: Path, target: Path, file: str, **fields: Any) -> Path:
    """A copy of a checkpoint with other settings in one of its JSON files."""
    shutil.copytree(folder, target)
    path = target / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}), encoding="utf-8")
    return target


def given(backbone: Multimodal, item: Prepared) -> dict[str, torch.Tensor]:
    """What our own preparation gives the model, by the names of the library."""
    family = backbone._family
    ids = torch.from_numpy(item.token_ids[0])[None]
    visual = family.visual_inputs(torch.from_numpy(item.pictures)[None], [item.seconds])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        **family.token_inputs(ids),
        **visual,
    }


def differences(backbone: Multimodal, asked: Segment, answer: oracle.Answer) -> dict[str, float]:
    """Largest difference to the library's processor in each of the things that it returns."""
    item = asked.prepared(backbone)
    assert item.texts[0] == answer.text
    ours = given(backbone, item)
    assert set(ours) == set(answer.arrays)
    for name, theirs in answer.arrays.items():
        assert (ours[name].shape, ours[name].numpy().dtype) == (theirs.shape, theirs.dtype), name
    return {
        name: float(np.abs(ours[name].numpy().astype(float) - theirs.astype(float)).max())
        for name, theirs in answer.arrays.items()
    }


def batch_inputs(backbone: Multimodal, items: Sequence[Prepared]) -> dict[str, torch.Tensor]:
    """Several segments as one call of the plain model."""
    parts = [given(backbone, item) for item in items]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def plain_states(backbone: Multimodal, inputs: Mapping[str, Any]) -> list[torch.Tensor]:
    """`output_hidden_states` [:, -1] of the library's own pass; the last is after the norm."""
    with torch.inference_mode():
        out = backbone._model(**_in_its_dtype(backbone, inputs), output_hidden_states=True)
    return [state[:, -1] for state in out.hidden_states]


def answered(backbone: Multimodal, inputs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The same from the first step of the library's own generation."""
    out = _generate(backbone, inputs, output_hidden_states=True)
    return [state[:, -1] for state in out.hidden_states[0]]


def positions_seen(
    backbone: Multimodal, inputs: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the library puts the tokens by itself, in a plain pass and in generation."""
    seen: list[torch.Tensor] = []
    handle = backbone._model.get_decoder().register_forward_pre_hook(
        lambda module, args, words: seen.append(words["position_ids"]), with_kwargs=True
    )
    with handle:
        plain_states(backbone, inputs)
        _generate(backbone, inputs)
    forward, generate = seen
    return forward, generate


def greedy(backbone: Multimodal, item: Prepared, tokens: int) -> list[int]:
    """The likeliest next tokens, each from a plain pass over everything before it."""
    inputs = given(backbone, item)
    start = inputs["input_ids"].shape[1]
    for _ in range(tokens):
        with torch.inference_mode():
            best = backbone._model(**inputs).logits[:, -1].argmax(dim=-1, keepdim=True)
        for name, value in (("input_ids", best), ("mm_token_type_ids", torch.zeros_like(best))):
            inputs[name] = torch.cat([inputs[name], value], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    found: list[int] = inputs["input_ids"][0, start:].tolist()
    return found


def packed_and_alone(
    backbone: Multimodal, clips: Sequence[Segment], prompts: Sequence[Prompt]
) -> tuple[torch.Tensor, torch.Tensor]:
    """States [segments, prompts, layers, dim] of prompts in one pass, and in a pass each."""
    wanted = Wanted(tuple(range(backbone.layers + 1)))
    shared = [backbone.prepare(list(c.keyframes), c.seconds, prompts) for c in clips]
    alone = [
        backbone.forward([replace(c, prompt=prompt).prepared(backbone) for c in clips], wanted)
        for prompt in prompts
    ]
    return backbone.forward(shared, wanted).states, torch.cat([a.states for a in alone], dim=1)


def final_norm(backbone: Multimodal, states: torch.Tensor) -> torch.Tensor:
    """States of the last layer as the library returns them."""
    with torch.inference_mode():
        normed: torch.Tensor = backbone._model.get_decoder().norm(states)
    return normed


def _generate(backbone: Multimodal, inputs: Mapping[str, Any], **options: Any) -> Any:
    return backbone._model.generate(
        **_in_its_dtype(backbone, inputs),
        **options,
        max_new_tokens=1,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        return_dict_in_generate=True,
    )


def _in_its_dtype(backbone: Multimodal, inputs: Mapping[str, Any]) -> dict[str, Any]:
    pixels = inputs["pixel_values_videos"].to(backbone._model.dtype)
    return {**inputs, "pixel_values_videos": pixels}
