"""The generic backbone: what it prepares, what it refuses, and what threads may do with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cache.errors import ConfigError
from stages.backbones.contract import Prompt, Wanted
from stages.backbones.load import family_of
from stages.backbones.multimodal import NO, YES, Multimodal

Clip = list[NDArray[np.uint8]]
SECONDS = [20 + n / 8 for n in range(8)]
PROMPT = Prompt("", "What is there?")


def test_it_says_what_it_is(backbone: Multimodal) -> None:
    found = (backbone.model_type, backbone.layers, backbone.dim, backbone.heads, backbone.head_dim)
    assert found == ("internvl", 6, 128, 4, 32)
    assert (backbone.dtype, backbone.full_batches) == ("float32", False)


def test_times_count_from_the_first_keyframe(backbone: Multimodal, clips: list[Clip]) -> None:
    item = backbone.prepare(clips[0], SECONDS, [PROMPT])
    assert item.seconds == tuple(n / 8 for n in range(8))
    assert item.pictures.dtype == np.uint8
    assert item.shape == (item.pictures.shape, (len(item.token_ids[0]),))
    assert "array" not in repr(item)


def test_a_batch_has_one_shape(backbone: Multimodal, clips: list[Clip]) -> None:
    longer = backbone.prepare(clips[0], SECONDS, [Prompt("", "What is there, please?")])
    items = [backbone.prepare(clips[0], SECONDS, [PROMPT]), longer]
    with pytest.raises(ValueError, match="one shape"):
        backbone.forward(items, Wanted((1,)))


def test_keyframes_have_times(backbone: Multimodal, clips: list[Clip]) -> None:
    with pytest.raises(ValueError, match="8 keyframes and 7 times"):
        backbone.prepare(clips[0], SECONDS[:-1], [PROMPT])
    with pytest.raises(ValueError, match="0 keyframes"):
        backbone.prepare([], [], [PROMPT])


def test_states_depend_on_pictures_and_on_their_order(
    backbone: Multimodal, clips: list[Clip]
) -> None:
    batch = [backbone.prepare(c, SECONDS, [PROMPT]) for c in (clips[0], clips[0][::-1], clips[1])]
    states = backbone.forward(batch, Wanted(tuple(range(7)))).states[:, 0]
    # Layer 0 is the embedding of the last token: the same vector for every clip.
    assert torch.equal(states[0, 0], states[2, 0])
    for layer in range(1, 7):
        assert not torch.equal(states[0, layer], states[1, layer])
        assert not torch.equal(states[0, layer], states[2, layer])


def test_yes_and_no_are_shares_of_the_first_token(backbone: Multimodal, clips: list[Clip]) -> None:
    model: Any = backbone._model
    item = backbone.prepare(clips[0], SECONDS, [PROMPT])
    found = backbone.forward([item], Wanted((3,), yes_no=True))
    with torch.inference_mode():
        visual = backbone._visual([item])
        logits = model(input_ids=torch.from_numpy(item.token_ids[0])[None], **visual).logits[0, -1]
    chances = torch.softmax(logits.double(), 0)
    # One byte is one token here, and a space begins both: it tells nothing.
    for column, words in enumerate((YES, NO)):
        firsts = {backbone._family.encode(word)[0] for word in words if word[0] != " "}
        expected = sum(float(chances[token]) for token in firsts)
        assert float(found.yes_no[0, 0, column]) == pytest.approx(expected, rel=1e-5)


def test_special_tokens_in_a_question_are_refused(backbone: Multimodal, clips: list[Clip]) -> None:
    with pytest.raises(ConfigError, match="the question holds <IMG_CONTEXT>"):
        backbone.prepare(clips[0], SECONDS, [Prompt("", "What is <IMG_CONTEXT>?")])
    with pytest.raises(ConfigError, match="the system message holds <img>"):
        backbone.prepare(clips[0], SECONDS, [Prompt("<img>", "What?")])


def test_threads_do_not_mix_their_states(backbone: Multimodal, clips: list[Clip]) -> None:
    items = [backbone.prepare(clip, SECONDS, [PROMPT]) for clip in clips]
    wanted = Wanted((2, 6), whole_heads=True)
    alone = [backbone.forward([item], wanted) for item in items]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda item: backbone.forward([item], wanted), items * 4))
    for number, found in enumerate(together):
        expected = alone[number % len(items)]
        assert torch.equal(found.states, expected.states)
        assert torch.equal(found.heads, expected.heads)


def test_a_pass_that_fails_leaves_the_backbone_usable(
    checkpoint: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = Multimodal(family_of(checkpoint), "float32", "sdpa", "cpu")
    item = backbone.prepare(clips[0], SECONDS, [PROMPT])
    before = backbone.forward([item], Wanted((4,))).states

    def fail(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(backbone._model.get_decoder().layers[2].mlp, "forward", fail)
        with pytest.raises(torch.OutOfMemoryError):
            backbone.forward([item], Wanted((4,)))
    assert torch.equal(backbone.forward([item], Wanted((4,))).states, before)
