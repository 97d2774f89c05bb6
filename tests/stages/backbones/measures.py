"""What is measured of every family: our numbers beside the library's own and beside naive ones.

Each measure gives one number: the largest difference, relative to the largest number of that layer
(or head, or probability), over segments, prompts and layers. `test_equality.py` holds them to their
limits for every small checkpoint, and `python -m tests.equality` prints them as a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from stages.backbones import generation
from stages.backbones.contract import Prepared, Prompt, Wanted
from stages.backbones.load import family_of
from stages.backbones.multimodal import NO, YES, Multimodal
from tests.oracle import Answer, Request
from tests.stages.backbones.checkpoints.registry import Asking
from tests.stages.backbones.plain import first_step, greedy, naive_heads, plain

PROMPTS = (
    Prompt("", "What is there?"),
    Prompt("", "Is anything abnormal here, and if so: what? äß 异常"),
    Prompt("", "Say yes or no."),
)
SPOKEN = Prompt("You watch cameras.", "What happens in this video? 异常")
SECONDS = tuple(20 + n / 8 for n in range(8))
SIZES = ((240, 320), (320, 240), (720, 1280), (37, 201))

ROUNDING = 1e-5
"""The limit of float32 where numbers are not the same bit for bit."""


@dataclass
class Subject:
    """A small checkpoint, loaded as each measure needs it."""

    folder: Path

    @cached_property
    def sdpa(self) -> Multimodal:
        return Multimodal(family_of(self.folder), "float32", "sdpa", "cpu")

    @cached_property
    def eager(self) -> Multimodal:
        return Multimodal(family_of(self.folder), "float32", "eager", "cpu")

    @cached_property
    def bfloat16(self) -> Multimodal:
        return Multimodal(family_of(self.folder), "bfloat16", "sdpa", "cpu")


def clips(count: int, frames: int = 8, size: tuple[int, int] = (60, 100)) -> NDArray[np.uint8]:
    """Noise, uint8 [count, frames, height, width, 3]."""
    generator = np.random.default_rng([count, frames, *size])
    return generator.integers(0, 256, (count, frames, *size, 3), dtype=np.uint8)


def prepared(backbone: Multimodal, clip: NDArray[np.uint8], *prompts: Prompt) -> Prepared:
    """A clip with one prompt or several."""
    return backbone.prepare(list(clip), SECONDS[: len(clip)], prompts or PROMPTS[:1])


def everything(backbone: Multimodal) -> Wanted:
    """All hidden states and all heads."""
    return Wanted(tuple(range(backbone.layers + 1)), whole_heads=True)


def relative(found: Any, expected: Any, lead: int) -> float:
    """max |difference| / max |expected| of each slice along the first `lead` axes; the largest."""
    ours, theirs = (_array(value) for value in (found, expected))
    if ours.shape != theirs.shape:
        raise AssertionError(f"{ours.shape} and {theirs.shape}")
    rest = tuple(range(lead, ours.ndim))
    sizes = np.abs(theirs).max(axis=rest)
    return float((np.abs(ours - theirs).max(axis=rest) / sizes).max())


def _array(value: Any) -> NDArray[np.float64]:
    if isinstance(value, torch.Tensor):
        value = value.double().numpy()
    return np.asarray(value, dtype=np.float64)


def segments() -> list[tuple[Prompt, NDArray[np.uint8]]]:
    """What the processors are asked about: all sizes, with and without a system message."""
    sizes = [(prompt, clips(1, 3, size)[0]) for size in SIZES for prompt in (PROMPTS[1], SPOKEN)]
    return [*sizes, (PROMPTS[0], clips(1, 8, (61, 83))[0])]


def requests(ask: Asking) -> list[Request]:
    """The same as requests to the library's processor."""
    return [ask(prompt, clip, SECONDS[: len(clip)]) for prompt, clip in segments()]


def preparation(backbone: Multimodal, answers: list[Answer]) -> float:
    """Ids, masks, kinds of tokens, pixels, grids and times: the largest difference, not relative."""
    worst = 0.0
    for (prompt, clip), answer in zip(segments(), answers, strict=True):
        item = prepared(backbone, clip, prompt)
        ids = torch.from_numpy(item.token_ids[0])[None]
        shown = torch.from_numpy(item.pictures)[None]
        ours = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            **backbone._family.token_inputs(ids),
            **backbone._family.visual_inputs(shown, [item.seconds]),
        }
        if set(ours) != set(answer.arrays):
            raise AssertionError(f"{sorted(ours)} and {sorted(answer.arrays)}")
        for name, theirs in answer.arrays.items():
            if ours[name].shape != theirs.shape:
                return math.inf
            worst = max(worst, float(np.abs(_array(ours[name]) - theirs).max()))
    return worst


def states(subject: Subject) -> float:
    """Layers 0 to L - 1 beside `output_hidden_states[layer][:, -1]`, for 8 and for 3 keyframes."""
    backbone, worst = subject.sdpa, 0.0
    for frames in (8, 3):
        item = prepared(backbone, clips(1, frames)[0])
        found = backbone.forward([item], everything(backbone)).states[:, 0]
        expected = plain(backbone, [item]).reported
        worst = max(worst, relative(found[:, :-1], expected[:, :-1], 2))
    return worst


def last_state(subject: Subject) -> float:
    """Layer L beside what leaves the last layer, and through the norm beside the last entry."""
    backbone = subject.sdpa
    item = prepared(backbone, clips(1)[0])
    found = backbone.forward([item], everything(backbone)).states[:, 0, -1]
    expected = plain(backbone, [item])
    model: Any = backbone._model
    normed = model.get_decoder().norm(found)
    return max(
        relative(found, expected.states[:, -1], 1), relative(normed, expected.reported[:, -1], 1)
    )


def generated(subject: Subject) -> float:
    """All layers beside the first step of `generate`; the last one through the norm."""
    backbone = subject.sdpa
    item = prepared(backbone, clips(1)[0])
    found = backbone.forward([item], everything(backbone)).states[:, 0]
    model: Any = backbone._model
    normed = model.get_decoder().norm(found[:, -1:])
    return relative(torch.cat([found[:, :-1], normed], dim=1), first_step(backbone, [item]), 2)


def answers(subject: Subject) -> float:
    """Answers of a batch of two beside the likeliest token of plain passes: the share that differs."""
    backbone = subject.sdpa
    batch = [prepared(backbone, clip) for clip in clips(2)]
    expected = [greedy(backbone, item, 6) for item in batch]
    shared = min(len(row) for row in expected)
    if shared < 2:
        raise AssertionError("these weights answer with pictures: another seed says more")
    # Random weights may end an answer at once: here nothing ends it.
    with mock.patch.object(generation, "stop_ids", return_value=()):
        found = backbone.explain(batch, seed=0, max_new_tokens=shared)
    texts = [backbone._family.decode(row[:shared]).strip() for row in expected]
    return sum(a.text != b for a, b in zip(found, texts, strict=True)) / len(batch)


def heads_eager(subject: Subject) -> float:
    """Every head beside softmax(q K) V in float64, with attention "eager"."""
    return _heads(subject.eager)


def heads_sdpa(subject: Subject) -> float:
    """The same with attention "sdpa"."""
    return _heads(subject.sdpa)


def _heads(backbone: Multimodal) -> float:
    item = prepared(backbone, clips(1)[0])
    expected = naive_heads(backbone, item)
    whole = backbone.forward([item], everything(backbone)).heads[0, 0].view(expected.shape)
    pairs = [(layer, head) for layer in (0, 2, 3) for head in range(backbone.heads)][1::2]
    chosen = backbone.forward([item], Wanted((), tuple(pairs))).heads[0, 0]
    return max(
        relative(whole, expected, 2),
        relative(chosen, np.stack([expected[pair] for pair in pairs]), 1),
    )


def projected(subject: Subject) -> float:
    """The sum of all heads through their columns of o_proj beside the attention block's output."""
    backbone = subject.sdpa
    item = prepared(backbone, clips(1)[0])
    found = _array(backbone.forward([item], everything(backbone)).heads[0, 0])
    model: Any = backbone._model
    outputs = []
    for layer, heads in zip(model.get_decoder().layers, found, strict=True):
        weight = _array(layer.self_attn.o_proj.weight)
        total = np.zeros(len(weight))
        for head in range(backbone.heads):
            columns = slice(head * backbone.head_dim, (head + 1) * backbone.head_dim)
            total += weight[:, columns] @ heads[columns]
        bias = layer.self_attn.o_proj.bias
        outputs.append(total if bias is None else total + _array(bias))
    return relative(np.stack(outputs), plain(backbone, [item]).attention[0], 1)


def early_exit(subject: Subject) -> float:
    """The layers below the last one that is wanted, for every depth, beside a pass in full."""
    backbone = subject.sdpa
    item = prepared(backbone, clips(1)[0])
    expected = plain(backbone, [item]).states
    worst = 0.0
    for depth in range(1, backbone.layers + 1):
        found = backbone.forward([item], Wanted(tuple(range(depth + 1)))).states[:, 0]
        worst = max(worst, relative(found[:, :depth], expected[:, :depth], 2))
    return worst


def last_position(subject: Subject) -> float:
    """The last layer that is wanted, alone, for every depth, beside a pass in full."""
    backbone = subject.sdpa
    item = prepared(backbone, clips(1)[0])
    expected = plain(backbone, [item]).states
    found = [
        backbone.forward([item], Wanted((depth,))).states[:, 0, 0]
        for depth in range(backbone.layers + 1)
    ]
    return relative(torch.stack(found, dim=1), expected, 2)


def packed(subject: Subject) -> float:
    """Three prompts in one pass beside plain passes of their own: all layers, and one layer alone."""
    backbone = subject.sdpa
    batch = [prepared(backbone, clip, *PROMPTS) for clip in clips(2)]
    expected = torch.stack([plain(backbone, batch, p).states for p in range(3)], dim=1)
    whole = backbone.forward(batch, everything(backbone)).states
    middle = backbone.forward(batch, Wanted((3,))).states
    return max(relative(whole, expected, 3), relative(middle[:, :, 0], expected[:, :, 3], 2))


def packed_heads(subject: Subject) -> float:
    """Every head of three prompts in one pass beside passes of their own."""
    backbone = subject.sdpa
    wanted = everything(backbone)
    batch = [prepared(backbone, clip, *PROMPTS) for clip in clips(2)]
    alone = [
        backbone.forward([prepared(backbone, clip, prompt) for clip in clips(2)], wanted).heads
        for prompt in PROMPTS
    ]
    return relative(backbone.forward(batch, wanted).heads, torch.cat(alone, dim=1), 3)


def yes_no(subject: Subject) -> float:
    """The probabilities of yes and no beside a softmax over the library's logits, in float64."""
    backbone = subject.sdpa
    item = prepared(backbone, clips(1)[0], *PROMPTS)
    found = backbone.forward([item], Wanted((), yes_no=True)).yes_no[0]
    encode = backbone._family.encode
    start = len(encode(""))
    yes, no = ({int(encode(word)[start]) for word in words} for words in (YES, NO))
    expected = []
    for prompt in range(3):
        chances = torch.softmax(plain(backbone, [item], prompt).logits[0].double(), 0)
        expected.append([float(chances[sorted(ids)].sum()) for ids in (yes - no, no - yes)])
    return relative(found, expected, 2)


def batched(subject: Subject) -> float:
    """A batch of three beside each alone: states, heads."""
    return _batched(subject.sdpa)


def batched_bfloat16(subject: Subject) -> float:
    """The same in bfloat16, on the CPU."""
    return _batched(subject.bfloat16)


def _batched(backbone: Multimodal) -> float:
    batch = [prepared(backbone, clip) for clip in clips(3)]
    wanted = everything(backbone)
    together = backbone.forward(batch, wanted)
    alone = [backbone.forward([item], wanted) for item in batch]
    return max(
        relative(together.states, torch.cat([one.states for one in alone]), 3),
        relative(together.heads, torch.cat([one.heads for one in alone]), 3),
    )


def states_bfloat16(subject: Subject) -> float:
    """All layers in bfloat16 beside the library's own pass in bfloat16."""
    backbone = subject.bfloat16
    item = prepared(backbone, clips(1)[0])
    found = backbone.forward([item], everything(backbone)).states[:, 0]
    return relative(found, plain(backbone, [item]).states, 2)


@dataclass(frozen=True)
class Measure:
    """A column of the table."""

    of: Callable[[Subject], float]
    limit: float
    """The largest number that is right."""


MEASURES: dict[str, Measure] = {
    "states 0..L-1": Measure(states, 0.0),
    "state L": Measure(last_state, ROUNDING),
    "first step of generate": Measure(generated, ROUNDING),
    "answers": Measure(answers, 0.0),
    "heads (eager)": Measure(heads_eager, ROUNDING),
    "heads (sdpa)": Measure(heads_sdpa, ROUNDING),
    "o_proj(heads)": Measure(projected, ROUNDING),
    "early exit": Measure(early_exit, 0.0),
    "last position only": Measure(last_position, ROUNDING),
    "3 prompts packed": Measure(packed, ROUNDING),
    "3 prompts packed, heads": Measure(packed_heads, ROUNDING),
    "yes/no": Measure(yes_no, ROUNDING),
    "batch of 3": Measure(batched, 0.0),
    "batch of 3, bf16": Measure(batched_bfloat16, 0.0),
    "states, bf16": Measure(states_bfloat16, 0.01),
}
