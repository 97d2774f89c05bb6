"""Clips as what the model is trained on: pictures, token ids, and which of them it must predict."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from demo.architecture import IMAGE_SIZE, TOKENS_PER_FRAME
from demo.clips import KEYFRAMES, Clip
from demo.language import ASK, CAPTION, DESCRIBE, answer
from demo.patches import Patches, join, patches_of, stack
from stages.backbones.pictures import resize_pillow

IMAGE_TOKEN = "<IMG_CONTEXT>"
EVENT_WORDS, EVENT_WEIGHT = 4, 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One clip, drawn and resized, and two questions about it with their answers."""

    pictures: NDArray[np.uint8]
    """[KEYFRAMES, IMAGE_SIZE, IMAGE_SIZE, 3]"""
    patches: Patches
    """Of the keyframes."""
    answers: tuple[str, ...]
    """One for each question."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one step of training reads."""

    pictures: torch.Tensor
    """uint8 [clips, KEYFRAMES, IMAGE_SIZE, IMAGE_SIZE, 3]"""
    ids: torch.Tensor
    """int64 [clips, tokens]: the keyframes once, then both turns side by side."""
    targets: torch.Tensor
    """int64 [clips, tokens]: what follows each token, -100 where nothing is to be learnt."""
    weights: torch.Tensor
    """float32 [clips, tokens]: what the loss at each target counts."""
    patches: Patches
    """[clips * KEYFRAMES, ...]"""
    positions: torch.Tensor
    """int64 [1, tokens]: both turns begin where the keyframes end."""
    mask: torch.Tensor
    """bool [1, 1, tokens, tokens]: causal, and no turn sees the other."""


def draw_questions(seed: int, step: int) -> tuple[str, ...]:
    """What is asked about all clips of a step: to describe them, and to say yes or no."""
    rng = np.random.default_rng([seed, step, 2])
    # The pipeline's own questions are asked more often than the others.
    return str(rng.choice((*DESCRIBE[:2], *DESCRIBE, *CAPTION))), str(rng.choice((ASK[0], *ASK)))


def show(clip: Clip, questions: tuple[str, ...]) -> Shown:
    """Draw a clip, and answer questions about it."""
    answers = tuple(answer(question, clip.caption, clip.abnormal) for question in questions)
    patches = stack([patches_of(clip.story.played(number), clip.kind) for number in clip.frames])
    return Shown(keyframes_of(clip), patches, answers)


def keyframes_of(clip: Clip) -> NDArray[np.uint8]:
    """A clip's keyframes as the model gets them, [KEYFRAMES, IMAGE_SIZE, IMAGE_SIZE, 3]."""
    return np.stack([resize_pillow(picture, IMAGE_SIZE, IMAGE_SIZE) for picture in clip.pictures()])


class Collator:
    """Makes batches; knows the tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def _prefix(self) -> list[int]:
        """Tokens of the beginning of a turn and of all keyframes, the same in every clip."""
        whole = self._turn("")
        last = max(i for i, token in enumerate(whole) if token == self._image)
        return whole[: last + 1]

    @cached_property
    def _image(self) -> int:
        return int(self._tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))

    def _turn(self, question: str) -> list[int]:
        """Token ids of a whole prompt, as the pipeline makes them."""
        shown = "".join(
            f"Frame{n}: <img>{IMAGE_TOKEN * TOKENS_PER_FRAME}</img>\n"
            for n in range(1, KEYFRAMES + 1)
        )
        content = [{"type": "text", "text": shown + question}]
        text = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return list(self._tokenizer(text)["input_ids"])

    def _suffix(self, question: str, said: str) -> tuple[list[int], int]:
        """Tokens after the keyframes up to the end of the answer, and how many are the answer's."""
        told = list(self._tokenizer(said + "<|im_end|>")["input_ids"])
        return self._turn(question)[len(self._prefix) :] + told, len(told)

    def batch(self, questions: tuple[str, ...], shown: list[Shown]) -> Batch:
        """Put clips side by side."""
        parts = [
            [self._suffix(q, a) for q, a in zip(questions, item.answers, strict=True)]
            for item in shown
        ]
        lengths = [max(len(suffix) for suffix, _ in turn) for turn in zip(*parts, strict=True)]
        first = len(self._prefix)
        total = first + sum(lengths)
        ids = torch.zeros((len(shown), total), dtype=torch.int64)
        ids[:, :first] = torch.tensor(self._prefix)
        targets = torch.full((len(shown), total), -100, dtype=torch.int64)
        weights = torch.zeros((len(shown), total))
        for row, own in enumerate(parts):
            begin = first
            for (suffix, told), length in zip(own, lengths, strict=True):
                ids[row, begin : begin + len(suffix)] = torch.tensor(suffix)
                answered = slice(begin + len(suffix) - told - 1, begin + len(suffix) - 1)
                targets[row, answered] = torch.tensor(suffix[-told:])
                weights[row, answered] = 1 / told
                # The first words say what happens, the others mostly where and when.
                weights[row, begin + len(suffix) - told - 1 :][:EVENT_WORDS] *= EVENT_WEIGHT
                begin += length
        pictures = torch.from_numpy(np.stack([item.pictures for item in shown]))
        patches = join([item.patches for item in shown])
        return Batch(pictures, ids, targets, weights, patches, *_layout(first, lengths))


def _layout(first: int, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and mask of a prefix and of the turns that follow it side by side."""
    total = first + sum(lengths)
    turn = torch.zeros(total, dtype=torch.int64)
    positions = torch.arange(total)
    begin = first
    for number, length in enumerate(lengths, start=1):
        turn[begin : begin + length] = number
        positions[begin : begin + length] = torch.arange(first, first + length)
        begin += length
    causal = torch.ones((total, total), dtype=torch.bool).tril()
    seen = causal & ((turn[None, :] == 0) | (turn[None, :] == turn[:, None]))
    return positions[None], seen[None, None]
