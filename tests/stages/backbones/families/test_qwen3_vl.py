"""Qwen3-VL: what the library's processor prepares, what its plain model computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache.errors import ConfigError
from stages.backbones.contract import Prompt, Wanted
from stages.backbones.load import family_of
from stages.backbones.multimodal import Multimodal
from tests import oracle
from tests.stages.backbones.checkpoints import qwen3_vl
from tests.stages.backbones.families.videos import (
    PLAIN,
    SAID,
    Segment,
    answered,
    batch_inputs,
    beyond_limits,
    changed,
    differences,
    final_norm,
    given,
    greedy,
    packed_and_alone,
    plain_states,
    positions_seen,
    segment,
    segments,
)

LAYERS = tuple(range(6))
SEGMENTS = segments()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("checkpoint") / "qwen3_vl"
    qwen3_vl.build(made)
    return made


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Multimodal:
    return Multimodal(family_of(folder), "float32", "sdpa", "cpu")


def request(asked: Segment, **options: Any) -> oracle.Request:
    """To the library: these very frames, at these times (it divides indices by frames a second)."""
    times = [round(time, 6) for time in asked.after]
    shown = asked.keyframes
    if len(times) == 1:
        # It refuses a video of one frame: what is compared is that frame shown twice.
        times, shown = times * 2, np.repeat(shown, 2, axis=0)
    metadata = {"fps": 1.0, "frames_indices": times, "total_num_frames": len(times)}
    plain = {
        "video_metadata": [metadata],
        "do_sample_frames": False,
        "cap_pixels_per_frame": False,
    }
    return oracle.Request(oracle.video_messages(asked.prompt), shown, options={**plain, **options})


@pytest.fixture(scope="module")
def answers(folder: Path) -> list[oracle.Answer]:
    sampled = {"fps": 30.0, "frames_indices": list(range(8)), "total_num_frames": 8}
    asked = [request(each) for each in SEGMENTS]
    # The last one as the library would have it: sampled again.
    again = request(segment(), video_metadata=[sampled], do_sample_frames=True)
    return oracle.ask(folder, [*asked, again])


@pytest.mark.parametrize("number", range(len(SEGMENTS)))
def test_preparation_is_the_processors(
    backbone: Multimodal, answers: list[oracle.Answer], number: int
) -> None:
    found = differences(backbone, SEGMENTS[number], answers[number])
    assert found == dict.fromkeys(
        (
            "input_ids",
            "attention_mask",
            "mm_token_type_ids",
            "pixel_values_videos",
            "video_grid_thw",
        ),
        0.0,
    )


def test_frames_are_never_sampled_again(backbone: Multimodal, answers: list[oracle.Answer]) -> None:
    # Left to itself the processor takes 4 of 8 keyframes; ours shows all of them.
    ours = given(backbone, segment().prepared(backbone))
    assert ours["video_grid_thw"].tolist() == [[4, 4, 6]]
    assert answers[-1].arrays["video_grid_thw"].tolist() == [[2, 4, 6]]


def test_a_time_stands_before_each_pair_of_keyframes(backbone: Multimodal) -> None:
    item = segment(spacing=0.5, keyframes=5).prepared(backbone)
    expanded = backbone._family.expand(item.texts[0], item.pictures.shape, item.seconds)
    pads = "<|vision_start|>" + "<|video_pad|>" * 6 + "<|vision_end|>"
    shown = "".join(f"<{when} seconds>{pads}" for when in ("0.2", "1.2", "2.0"))
    # The library leaves the template's own pair of marks around it all.
    assert expanded == (
        f"<|im_start|>user\n<|vision_start|>{shown}<|vision_end|>What happens here?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_template_says_nothing_of_its_own(backbone: Multimodal) -> None:
    assert backbone._family.text(PLAIN, 8, [0.0] * 8).startswith("<|im_start|>user\n<|vision_st")
    assert backbone._family.text(SAID, 8, [0.0] * 8).startswith(
        "<|im_start|>system\nDu bist ein aufmerksamer Wächter …<|im_end|>\n<|im_start|>user\n"
    )


@pytest.mark.parametrize("rate", [12, 24, 25, 30, 50, 30000 / 1001])
def test_segments_with_equal_spacing_are_told_equal_times(
    backbone: Multimodal, rate: float
) -> None:
    # In a difference of two times is a rounding error that differs from segment to segment.
    for step in range(1, 16):
        texts = {
            backbone._family.expand(
                "<|video_pad|>",
                (8, 64, 64, 3),
                [(first + n * step) / rate - first / rate for n in range(8)],
            )
            for first in range(0, 200_000, 997)
        }
        assert len(texts) == 1


@pytest.mark.parametrize("spacing", [0.0, 0.1, 20.0])
def test_positions_are_the_models_own(backbone: Multimodal, spacing: float) -> None:
    # With 20 seconds the times of the three segments have other numbers of digits.
    clips = [segment(seed=n, spacing=spacing * (n + 1)) for n in range(3)]
    for batch in ([clip.prepared(backbone)] for clip in clips):
        inputs = batch_inputs(backbone, batch)
        seconds = [item.seconds for item in batch]
        shape = batch[0].pictures.shape
        found = backbone._family.positions(backbone._model, inputs["input_ids"], shape, seconds)
        forward, generate = positions_seen(backbone, inputs)
        assert found.shape == (3, 1, inputs["input_ids"].shape[1])
        assert torch.equal(found, forward)
        assert torch.equal(found, generate[1:])


def test_positions_of_a_batch_may_differ(backbone: Multimodal) -> None:
    # As many tokens in all, and pictures elsewhere: 0.5, 2.5, 10.5, 10.5 and 0.5, 10.5, 2.5, 10.5.
    times = ((0, 1, 2, 3, 10, 11, 10, 11), (0, 1, 9, 12, 2, 3, 10, 11))
    frames = segment().keyframes
    items = [Segment(frames, tuple(map(float, each))).prepared(backbone) for each in times]
    inputs = batch_inputs(backbone, items)
    seconds = [item.seconds for item in items]
    shape = items[0].pictures.shape
    found = backbone._family.positions(backbone._model, inputs["input_ids"], shape, seconds)
    forward, _ = positions_seen(backbone, inputs)
    assert torch.equal(found, forward)
    assert not torch.equal(found[:, 0], found[:, 1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_states_are_those_of_the_plain_model(folder: Path, dtype: str, attention: str) -> None:
    backbone = Multimodal(family_of(folder), dtype, attention, "cpu")
    items = [segment(seed=n, spacing=0.3 + n / 4).prepared(backbone) for n in range(3)]
    inputs = batch_inputs(backbone, items)
    plain, generated = plain_states(backbone, inputs), answered(backbone, inputs)
    states = backbone.forward(items, Wanted(LAYERS)).states[:, 0]
    for layer in LAYERS[:-1]:
        assert torch.equal(states[:, layer], plain[layer])
        assert torch.equal(states[:, layer], generated[layer])
    assert torch.equal(final_norm(backbone, states[:, -1]), plain[-1])
    # What is compared differs between segments.
    assert float(states[:, 1:].float().std(dim=0).mean(dim=-1).min()) > 0.05


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_pictures_added_between_layers_leave_the_last_position_alone(
    backbone: Multimodal, depth: int
) -> None:
    # Features of the pictures are added to their own positions after layers 1, 2 and 3; a pass that
    # ends there, with the last position only, must not come to that.
    item = segment().prepared(backbone)
    expected = plain_states(backbone, batch_inputs(backbone, [item]))
    state = backbone.forward([item], Wanted((depth,))).states[0, 0]
    found = final_norm(backbone, state) if depth == 5 else state
    assert torch.equal(found, expected[depth])


def test_prompts_that_share_a_video_are_answered_as_if_alone(backbone: Multimodal) -> None:
    prompts = [PLAIN, Prompt("", "Ωhy?"), Prompt("", "Is anybody there, yes or no?")]
    clips = [segment(seed=n, spacing=0.5) for n in range(2)]
    together, alone = packed_and_alone(backbone, clips, prompts)
    assert float((together - alone).abs().max()) <= 1e-5 * float(alone.abs().max())


def test_without_token_types_generation_says_nothing_and_is_wrong(backbone: Multimodal) -> None:
    item = segment().prepared(backbone)
    inputs = batch_inputs(backbone, [item])
    right = answered(backbone, inputs)
    inputs.pop("mm_token_type_ids")
    wrong = answered(backbone, inputs)
    states = backbone.forward([item], Wanted(LAYERS)).states[:, 0]
    for layer in LAYERS[1:-1]:
        assert torch.equal(states[:, layer], right[layer])
        assert float((wrong[layer] - right[layer]).abs().max()) > 0.1
    with pytest.raises(ValueError, match="mm_token_type_ids"):
        plain_states(backbone, inputs)


def test_times_count(backbone: Multimodal) -> None:
    near, far = (segment(spacing=spacing) for spacing in (0.1, 0.5))
    items = [each.prepared(backbone) for each in (near, far, near)]
    states = backbone.forward(items, Wanted(LAYERS)).states
    assert torch.equal(states[0], states[2])
    assert float((states[0] - states[1]).abs().amax(dim=-1)[:, 1:].min()) > 0.01


def test_answers_are_the_likeliest_tokens(backbone: Multimodal) -> None:
    items = [segment(seed=n, spacing=0.3).prepared(backbone) for n in range(2)]
    texts = [backbone._family.decode(greedy(backbone, item, 4)).strip() for item in items]
    assert [answer.text for answer in backbone.explain(items, 0, 4)] == texts


def test_limits_of_size_hold_for_all_keyframes_together(folder: Path, tmp_path: Path) -> None:
    limits = {"shortest_edge": 80 * 32 * 32, "longest_edge": 160 * 32 * 32}
    narrow = changed(folder, tmp_path / "narrow", "video_preprocessor_config.json", size=limits)
    backbone = Multimodal(family_of(narrow), "float32", "sdpa", "cpu")
    asked = beyond_limits()
    for each, answer in zip(asked, oracle.ask(narrow, [request(s) for s in asked]), strict=True):
        assert set(differences(backbone, each, answer).values()) == {0.0}


def test_a_size_in_other_words_is_refused(folder: Path, tmp_path: Path) -> None:
    size = {"height": 224, "width": 224}
    other = changed(folder, tmp_path / "other", "video_preprocessor_config.json", size=size)
    with pytest.raises(ConfigError, match="shortest_edge and longest_edge"):
        family_of(other)


def test_words_that_stand_for_pictures_are_refused(backbone: Multimodal) -> None:
    family = backbone._family
    for word in ("<|video_pad|>", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>"):
        with pytest.raises(ConfigError, match="stands for pictures"):
            family.text(Prompt(f"You see {word}.", "What?"), 8, [0.0] * 8)
    with pytest.raises(ConfigError, match="Qwen3-VL takes the keyframes as one video"):
        family.text(Prompt("", "What?", "Frame{number}: {image}\n"), 8, [0.0] * 8)
