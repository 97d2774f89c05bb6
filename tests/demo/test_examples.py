"""What is trained on is what the pipeline will ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demo.architecture import build_model, build_tokenizer, write_checkpoint
from demo.clips import KEYFRAMES, draw_clip
from demo.exam import backbone_in
from demo.examples import Collator, Shown, draw_questions, show
from demo.language import ASK, DESCRIBE
from stages.backbones.contract import Prompt

ASKED = (DESCRIBE[0], ASK[0])


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


@pytest.fixture(scope="module")
def shown() -> list[Shown]:
    return [show(draw_clip(0, number, "training"), ASKED) for number in range(3)]


def test_prompts_and_pictures_are_those_of_the_pipeline(
    tokenizer: Any, shown: list[Shown], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, build_model(tokenizer, 0), tokenizer)
    backbone = backbone_in(tmp_path)
    clip = draw_clip(0, 0, "training")
    times = [frame / clip.story.fps for frame in clip.frames]
    batch = Collator(tokenizer).batch(ASKED, shown)
    for turn, question in enumerate(ASKED):
        prepared = backbone.prepare(clip.pictures(), times, [Prompt("", question, "")])
        assert np.array_equal(prepared.pictures, batch.pictures[0].numpy())
        (ids,) = prepared.token_ids
        assert list(ids) == _turn(batch, 0, turn)[: len(ids)]


def _turn(batch: Any, row: int, turn: int) -> list[int]:
    """The tokens that the last token of a turn sees, itself included."""
    last = batch.ids.shape[1] - 1 if turn else _last_of_first(batch)
    return [int(i) for i in batch.ids[row][batch.mask[0, 0, last]]]


def test_the_two_turns_do_not_see_each_other(tokenizer: Any, shown: list[Shown]) -> None:
    torch.manual_seed(0)
    model = build_model(tokenizer, 0).eval()
    batch = Collator(tokenizer).batch(ASKED, shown)
    pictures = torch.randn(len(shown) * KEYFRAMES, 3, 96, 96)
    mask = torch.zeros(batch.mask.shape).masked_fill(~batch.mask, torch.finfo(torch.float32).min)
    with torch.inference_mode():
        packed = model.model(
            input_ids=batch.ids, pixel_values=pictures, attention_mask=mask,
            position_ids=batch.positions, use_cache=False,
        ).last_hidden_state  # fmt: skip
        for turn in range(2):
            alone_ids = torch.tensor([_turn(batch, row, turn) for row in range(len(shown))])
            alone = model.model(input_ids=alone_ids, pixel_values=pictures, use_cache=False)
            last = packed[:, -1] if turn else packed[:, _last_of_first(batch)]
            torch.testing.assert_close(last, alone.last_hidden_state[:, -1], rtol=1e-4, atol=1e-5)


def _last_of_first(batch: Any) -> int:
    """Place of the last token that the second turn does not see."""
    return int(torch.nonzero(~batch.mask[0, 0, -1])[-1])


def test_targets_are_the_answers_and_nothing_else(tokenizer: Any, shown: list[Shown]) -> None:
    batch = Collator(tokenizer).batch(ASKED, shown)
    for row, item in enumerate(shown):
        learnt = batch.targets[row][batch.targets[row] >= 0]
        told = tokenizer.decode(learnt.tolist())
        assert told == "".join(answer + "<|im_end|>" for answer in item.answers)
        # What must be predicted at a place is what stands at the next one.
        places = torch.nonzero(batch.targets[row] >= 0).flatten()
        inside = places[places + 1 < batch.ids.shape[1]]
        assert torch.equal(batch.targets[row][inside], batch.ids[row][inside + 1])
        assert (batch.weights[row][places] > 0).all()
        assert not batch.weights[row][batch.targets[row] < 0].any()


def test_questions_of_a_step_are_always_the_same_ones_and_all_are_asked() -> None:
    asked = [draw_questions(0, step) for step in range(300)]
    assert asked == [draw_questions(0, step) for step in range(300)]
    assert {question for _, question in asked} == set(ASK)
    assert {question for question, _ in asked} > set(DESCRIBE)
