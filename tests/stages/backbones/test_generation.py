"""Generation: greedy whatever the checkpoint says, and each row of a batch cut where it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from stages.backbones.contract import Explanation, Prepared, Prompt
from stages.backbones.generation import answer, stop_ids
from stages.backbones.load import family_of
from stages.backbones.multimodal import Multimodal
from tests.stages.backbones.conftest import Clip

TOKENS = 10
QUESTION = Prompt("", "What happens?")


@pytest.fixture(scope="module")
def items(backbone: Multimodal, clips: list[Clip]) -> list[Prepared]:
    times = [0.1 * n for n in range(8)]
    return [backbone.prepare(clip, times, [QUESTION]) for clip in clips]


@pytest.fixture
def model(backbone: Multimodal) -> Iterator[Any]:
    """The library's model, its generation settings put back afterwards."""
    before = backbone._model.generation_config
    yield backbone._model
    backbone._model.generation_config = before


@pytest.fixture(scope="module")
def naive(backbone: Multimodal, items: list[Prepared]) -> list[list[int]]:
    """Each answer by whole forward passes without a cache, the likeliest token appended."""
    model = backbone._model
    answers = []
    for item in items:
        ids = torch.from_numpy(item.token_ids[0])[None]
        visual = backbone._visual([item])
        for _ in range(TOKENS):
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False, **visual).logits
            ids = torch.cat([ids, logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
        answers.append(ids[0, len(item.token_ids[0]) :].tolist())
    return answers


@pytest.fixture
def tokens_of(
    backbone: Multimodal, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[Prepared]], list[list[int]]]:
    """Generated tokens in place of their text."""
    monkeypatch.setattr(backbone._family, "decode", lambda ids: ",".join(map(str, ids)))

    def ask(batch: list[Prepared]) -> list[list[int]]:
        found = backbone.explain(batch, seed=0, max_new_tokens=TOKENS)
        assert [e.tokens for e in found] == [len(e.text.split(",")) for e in found]
        return [[int(token) for token in e.text.split(",")] for e in found]

    return ask


def never_ends(model: Any) -> None:
    """Let no token end an answer: one that there is not."""
    model.generation_config = GenerationConfig(
        eos_token_id=[len(model.get_input_embeddings().weight)]
    )


def test_the_answers_differ_and_so_can_be_told_apart(naive: list[list[int]]) -> None:
    assert len({tuple(row) for row in naive}) == len(naive)


def test_a_batch_takes_the_likeliest_token_at_each_step(
    backbone: Multimodal,
    items: list[Prepared],
    naive: list[list[int]],
    model: Any,
    tokens_of: Callable[[list[Prepared]], list[list[int]]],
) -> None:
    never_ends(model)
    assert tokens_of(items) == naive
    assert [tokens_of([item])[0] for item in items] == naive


def test_each_row_ends_by_itself_and_what_fills_it_up_is_cut_off(
    items: list[Prepared],
    naive: list[list[int]],
    model: Any,
    tokens_of: Callable[[list[Prepared]], list[list[int]]],
) -> None:
    ends = [naive[0][3], naive[2][6]]
    model.generation_config = GenerationConfig(eos_token_id=ends)
    expected = [cut(row, ends) for row in naive]
    assert len({len(row) for row in expected}) >= 3  # some early, some late, some not at all
    assert tokens_of(items) == expected
    assert [tokens_of([item])[0] for item in items] == expected


def cut(row: list[int], ends: list[int]) -> list[int]:
    """The row up to the first of `ends`, which belongs to it."""
    for place, token in enumerate(row):
        if token in ends:
            return row[: place + 1]
    return row


def test_reason_and_text(
    backbone: Multimodal, items: list[Prepared], naive: list[list[int]], model: Any
) -> None:
    ends = [naive[0][3]]
    model.generation_config = GenerationConfig(eos_token_id=ends[0])
    tokenizer = family_tokenizer(backbone)
    for found, row in zip(backbone.explain(items, 0, TOKENS), naive, strict=True):
        kept = cut(row, ends)
        said = tokenizer.decode(kept, skip_special_tokens=True).strip()
        reason = "stop" if kept[-1] in ends else "length"
        assert found == Explanation(said, reason, len(kept))  # type: ignore[arg-type]


def family_tokenizer(backbone: Multimodal) -> Any:
    return backbone._family.tokenizer  # type: ignore[attr-defined]


def test_an_ending_at_the_very_limit_is_a_stop(
    backbone: Multimodal, items: list[Prepared], naive: list[list[int]], model: Any
) -> None:
    place = next(n for n in range(1, TOKENS) if naive[0][n] not in naive[0][:n])
    model.generation_config = GenerationConfig(eos_token_id=naive[0][place])
    (found,) = backbone.explain(items[:1], 0, max_new_tokens=place + 1)
    assert (found.finish_reason, found.tokens) == ("stop", place + 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": True, "temperature": 5.0, "top_p": 0.9, "top_k": 3},
        {"repetition_penalty": 9.0},
        {"no_repeat_ngram_size": 1},
        {"num_beams": 3},
        {"min_new_tokens": 5},
        {"suppress_tokens": list(range(200))},
        {"max_length": 3},
        {"return_dict_in_generate": True, "output_logits": True},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_generation_settings_of_the_checkpoint_have_no_say(
    items: list[Prepared],
    naive: list[list[int]],
    model: Any,
    tokens_of: Callable[[list[Prepared]], list[list[int]]],
    settings: dict[str, Any],
) -> None:
    ends = [naive[0][1]]
    given = model.generation_config = GenerationConfig(eos_token_id=ends, **settings)
    assert tokens_of(items) == [cut(row, ends) for row in naive]
    assert model.generation_config is given


def test_nothing_is_drawn_and_the_generators_state_is_left_alone(
    backbone: Multimodal, items: list[Prepared]
) -> None:
    before = torch.get_rng_state()
    first = backbone.explain(items[:2], seed=1, max_new_tokens=TOKENS)
    assert torch.equal(torch.get_rng_state(), before)
    assert backbone.explain(items[:2], seed=2, max_new_tokens=TOKENS) == first


def test_settings_are_put_back_after_an_error(
    backbone: Multimodal, items: list[Prepared], model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = model.generation_config

    def generate(**words: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(model, "generate", generate)
    with pytest.raises(RuntimeError, match="no memory"):
        answer(model, backbone._family, {}, torch.zeros((1, 3), dtype=torch.long), 0, 4)
    assert model.generation_config is given


class Named:
    """Something with an end token of its own."""

    def __init__(self, eos: Any) -> None:
        self.eos_token_id = eos
        self.generation_config = self
        self.tokenizer = self


@pytest.mark.parametrize(
    ("model_says", "tokenizer_says", "expected"),
    [([7, 5], 9, (7, 5)), (7, 9, (7,)), (0, 9, (0,)), (None, 9, (9,)), (None, None, ())],
)
def test_what_ends_an_answer(
    model_says: Any, tokenizer_says: Any, expected: tuple[int, ...]
) -> None:
    assert stop_ids(Named(model_says), Named(tokenizer_says)) == expected  # type: ignore[arg-type]


def test_the_small_checkpoint_names_two_ends(checkpoint: Path, backbone: Multimodal) -> None:
    tokenizer = family_of(checkpoint).tokenizer  # type: ignore[attr-defined]
    ends = tuple(tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))
    assert stop_ids(backbone._model, backbone._family) == ends
