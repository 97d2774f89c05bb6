"""Qwen2.5-VL: what the library's processor prepares, what its plain model computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cache.errors import ConfigError, ItemError
from stages.backbones.contract import Prompt, Wanted
from stages.backbones.load import family_of
from stages.backbones.multimodal import Multimodal
from tests import oracle
from tests.stages.backbones.checkpoints import qwen2_5_vl
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
    made = tmp_path_factory.mktemp("checkpoint") / "qwen2_5_vl"
    qwen2_5_vl.build(made)
    return made


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Multimodal:
    return Multimodal(family_of(folder), "float32", "sdpa", "cpu")


def request(asked: Segment) -> oracle.Request:
    """To the library: these very frames, so many of them per second."""
    shown = len(asked.seconds)
    rate = (shown - 1) / asked.after[-1] if asked.after[-1] else float("inf")
    metadata = {"fps": rate, "frames_indices": list(range(shown)), "total_num_frames": shown}
    return oracle.Request(
        oracle.video_messages(asked.prompt),
        asked.keyframes,
        options={
            "video_metadata": [metadata],
            "do_sample_frames": False,
            "cap_pixels_per_frame": False,
        },
    )


@pytest.fixture(scope="module")
def answers(folder: Path) -> list[oracle.Answer]:
    return oracle.ask(folder, [request(each) for each in SEGMENTS])


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
            "second_per_grid_ts",
        ),
        0.0,
    )


def test_the_template_says_something_where_no_system_message_is_given(
    backbone: Multimodal,
) -> None:
    family = backbone._family
    assert family.text(PLAIN, 8, [0.0] * 8).startswith(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    )
    assert "helpful" not in family.text(SAID, 8, [0.0] * 8)


def test_a_batch_is_its_segments_one_after_the_other(backbone: Multimodal) -> None:
    items = [segment(seed=n, spacing=0.1 + n).prepared(backbone) for n in range(3)]
    parts = batch_inputs(backbone, items)
    shown = torch.stack([torch.from_numpy(item.pictures) for item in items])
    together = backbone._family.visual_inputs(shown, [item.seconds for item in items])
    assert parts["second_per_grid_ts"].tolist() == pytest.approx([0.2, 2.2, 4.2])
    for name, value in together.items():
        assert torch.equal(value, parts[name]), name


@pytest.mark.parametrize("spacing", [0.0, 0.1, 0.125, 1.0, 20.0])
def test_positions_are_the_models_own(backbone: Multimodal, spacing: float) -> None:
    # Of three segments with other times, which lie at other places.
    items = [segment(seed=n, spacing=spacing * (n + 1)).prepared(backbone) for n in range(3)]
    inputs = batch_inputs(backbone, items)
    seconds = [item.seconds for item in items]
    shape = items[0].pictures.shape
    found = backbone._family.positions(backbone._model, inputs["input_ids"], shape, seconds)
    forward, generate = positions_seen(backbone, inputs)
    assert found.shape == (3, 3, inputs["input_ids"].shape[1])
    assert torch.equal(found, forward)
    # generate puts the plain count of tokens before the three axes; attention does not see it.
    assert torch.equal(found, generate[1:])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_states_are_those_of_the_plain_model(folder: Path, dtype: str, attention: str) -> None:
    backbone = Multimodal(family_of(folder), dtype, attention, "cpu")
    items = [segment(seed=n, spacing=0.3 + n).prepared(backbone) for n in range(3)]
    inputs = batch_inputs(backbone, items)
    plain, generated = plain_states(backbone, inputs), answered(backbone, inputs)
    states = backbone.forward(items, Wanted(LAYERS)).states[:, 0]
    for layer in LAYERS[:-1]:
        assert torch.equal(states[:, layer], plain[layer])
        assert torch.equal(states[:, layer], generated[layer])
    assert torch.equal(final_norm(backbone, states[:, -1]), plain[-1])
    # What is compared differs between segments.
    assert float(states[:, 1:].float().std(dim=0).mean(dim=-1).min()) > 0.1


def test_prompts_that_share_a_video_are_answered_as_if_alone(backbone: Multimodal) -> None:
    prompts = [PLAIN, Prompt("", "Ωhy?"), Prompt("", "Is anybody there, yes or no?")]
    clips = [segment(seed=n, spacing=0.5) for n in range(2)]
    together, alone = packed_and_alone(backbone, clips, prompts)
    assert float((together - alone).abs().max()) <= 1e-5 * float(alone.abs().max())


def test_without_token_types_the_plain_model_says_nothing_and_is_wrong(
    backbone: Multimodal,
) -> None:
    item = segment().prepared(backbone)
    inputs = batch_inputs(backbone, [item])
    right = plain_states(backbone, inputs)
    inputs.pop("mm_token_type_ids")
    wrong = plain_states(backbone, inputs)
    states = backbone.forward([item], Wanted(LAYERS)).states[:, 0]
    for layer in LAYERS[1:-1]:
        assert torch.equal(states[:, layer], right[layer])
        assert float((wrong[layer] - right[layer]).abs().max()) > 0.5


def test_the_time_between_keyframes_counts(backbone: Multimodal) -> None:
    near, far = (segment(spacing=spacing) for spacing in (0.1, 1.0))
    states = backbone.forward(
        [each.prepared(backbone) for each in (near, far, near)], Wanted(LAYERS)
    ).states
    assert torch.equal(states[0], states[2])
    assert float((states[0] - states[1]).abs().amax(dim=-1)[:, 1:].min()) > 0.05


def test_only_differences_of_times_count(backbone: Multimodal) -> None:
    early = segment(spacing=0.25)
    late = Segment(early.keyframes, tuple(time + 512 for time in early.seconds))
    states = backbone.forward([each.prepared(backbone) for each in (early, late)], Wanted(LAYERS))
    assert torch.equal(states.states[0], states.states[1])


def test_answers_are_the_likeliest_tokens(backbone: Multimodal) -> None:
    items = [segment(seed=n, spacing=0.3).prepared(backbone) for n in range(2)]
    texts = [backbone._family.decode(greedy(backbone, item, 4)).strip() for item in items]
    assert [answer.text for answer in backbone.explain(items, 0, 4)] == texts


def test_limits_of_size_are_the_checkpoints(folder: Path, tmp_path: Path) -> None:
    limits = {"min_pixels": 60 * 28 * 28, "max_pixels": 70 * 28 * 28}
    narrow = changed(folder, tmp_path / "narrow", "preprocessor_config.json", **limits)
    backbone = Multimodal(family_of(narrow), "float32", "sdpa", "cpu")
    asked = beyond_limits()
    for each, answer in zip(asked, oracle.ask(narrow, [request(s) for s in asked]), strict=True):
        assert set(differences(backbone, each, answer).values()) == {0.0}


def test_what_is_not_followed_is_refused(folder: Path, tmp_path: Path) -> None:
    file = "preprocessor_config.json"
    with pytest.raises(ConfigError, match="resample = 2, only 3"):
        family_of(changed(folder, tmp_path / "bilinear", file, resample=2))
    with pytest.raises(ConfigError, match="cap_pixels_per_frame"):
        family_of(changed(folder, tmp_path / "capped", file, cap_pixels_per_frame=True))
    with pytest.raises(ConfigError, match=r"\(16, 2, 2\).*\(14, 2, 2\)"):
        family_of(changed(folder, tmp_path / "patches", file, patch_size=16))


def test_words_that_stand_for_pictures_are_refused(backbone: Multimodal) -> None:
    family = backbone._family
    for word in ("<|video_pad|>", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>"):
        with pytest.raises(ConfigError, match="stands for pictures"):
            family.text(Prompt("", f"What is {word}?"), 8, [0.0] * 8)
    with pytest.raises(ConfigError, match=r"Qwen2\.5-VL takes the keyframes as one video"):
        family.text(Prompt("", "What?", "Frame{number}: {image}\n"), 8, [0.0] * 8)


def test_a_template_without_video_is_refused(folder: Path, tmp_path: Path) -> None:
    words = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
    other = changed(folder, tmp_path / "other", "chat_template.json", chat_template=words)
    with pytest.raises(ConfigError, match="shows a video as 0 tokens"):
        family_of(other).text(PLAIN, 8, [0.0] * 8)


def test_frames_that_cannot_be_shown_fail_the_video(backbone: Multimodal) -> None:
    with pytest.raises(ItemError, match="1000x4 pixels"):
        backbone._family.resize(list(segment((4, 1000), 2).keyframes))
    with pytest.raises(ValueError, match="one size"):
        backbone._family.resize([segment().keyframes[0], segment((60, 101)).keyframes[0]])
