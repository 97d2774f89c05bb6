"""LLaVA-OneVision: keyframes as one pooled video, as the library's video processor has it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cache.errors import ConfigError
from stages.backbones.contract import Prompt, Wanted
from stages.backbones.families.llava_onevision import LlavaOneVision
from stages.backbones.load import family_of
from stages.backbones.multimodal import Multimodal
from tests import oracle
from tests.stages.backbones.checkpoints import llava_onevision
from tests.stages.backbones.families.videos import (
    PLAIN,
    SAID,
    SIZES,
    Segment,
    differences,
    segment,
)

SIDE = llava_onevision.SIDE
RELEASED = 384
"""The side of frames in the released models."""
VIDEOS = "video_preprocessor_config.json"
SEGMENTS = [
    *(segment(size, 3, prompt=prompt) for size in SIZES for prompt in (PLAIN, SAID)),
    *(segment((211, 333), keyframes, prompt=SAID) for keyframes in (8, 1)),
    segment((SIDE, SIDE)),
]


def request(asked: Segment) -> oracle.Request:
    return oracle.Request(
        oracle.video_messages(asked.prompt), asked.keyframes, options={"do_sample_frames": False}
    )


def bare(folder: Path) -> None:
    """Everything that the library has by itself is left out."""
    names = ("processor_class", "video_processor_type")
    kept = {name: llava_onevision.VIDEOS[name] for name in names}
    (folder / VIDEOS).write_text(json.dumps(kept))


def joint(folder: Path) -> None:
    """As transformers 5 saves it: all settings in one file; the old ones beside it do not count."""
    path = folder / "processor_config.json"
    content = json.loads(path.read_text())
    content["video_processor"] = {
        **json.loads((folder / VIDEOS).read_text()),
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.7],
    }
    path.write_text(json.dumps(content))


def images_only(folder: Path) -> None:
    """As first released: the settings for images hold for videos."""
    (folder / VIDEOS).unlink()
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "image_mean": [0.2, 0.4, 0.6]}))


CHANGES: dict[str, Callable[[Path], None]] = {
    "released": lambda folder: None,
    "bare": bare,
    "joint": joint,
    "images only": images_only,
}
"""Checkpoints with the side of the released models, and their settings in different places."""
ONE = segment((240, 320), 2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {name: tmp_path_factory.mktemp("checkpoint") / name for name in ("small", *CHANGES)}
    llava_onevision.build(found["small"])
    for name, change in CHANGES.items():
        llava_onevision.build(found[name], side=RELEASED)
        change(found[name])
    return found


@pytest.fixture(scope="module")
def answers(folders: dict[str, Path]) -> dict[str, list[oracle.Answer]]:
    segments = {"small": SEGMENTS, **{name: [ONE] for name in CHANGES}}
    asked = [(folders[name], [request(s) for s in each]) for name, each in segments.items()]
    return dict(zip(segments, oracle.ask_all(asked), strict=True))


@pytest.fixture(scope="module")
def folder(folders: dict[str, Path]) -> Path:
    return folders["small"]


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Multimodal:
    return Multimodal(family_of(folder), "float32", "sdpa", "cpu")


@pytest.mark.parametrize("number", range(len(SEGMENTS)))
def test_preparation_is_the_processors(
    backbone: Multimodal, answers: dict[str, list[oracle.Answer]], number: int
) -> None:
    found = differences(backbone, SEGMENTS[number], answers["small"][number])
    assert found == dict.fromkeys(("input_ids", "attention_mask", "pixel_values_videos"), 0.0)


def test_settings_are_found_where_the_library_finds_them(
    folders: dict[str, Path], answers: dict[str, list[oracle.Answer]]
) -> None:
    """At the side of the released models: 196 features a frame, and one for the newline."""
    means = set()
    for name in CHANGES:
        backbone = Multimodal(family_of(folders[name]), "float32", "sdpa", "cpu")
        (answer,) = answers[name]
        assert not any(differences(backbone, ONE, answer).values()), name
        ids = ONE.prepared(backbone).token_ids[0]
        assert int(np.isin(ids, backbone._family.visual_ids).sum()) == 2 * 196 + 1
        means.add(round(float(answer.arrays["pixel_values_videos"].mean()), 4))
    # Each of them says something else, so that the wrong one would be seen.
    assert len(means) == len(CHANGES)


def test_the_processors_template_counts_and_not_the_tokenizers(backbone: Multimodal) -> None:
    family = backbone._family
    assert family.text(Prompt("", "What?"), 8, [0.0] * 8) == (
        "<|im_start|>user <video>\nWhat?<|im_end|><|im_start|>assistant\n"
    )
    assert family.text(Prompt("You watch.", "What?"), 8, [0.0] * 8) == (
        "<|im_start|>system \nYou watch.<|im_end|>"
        "<|im_start|>user <video>\nWhat?<|im_end|><|im_start|>assistant\n"
    )


def test_every_frame_is_a_square_of_its_own(backbone: Multimodal) -> None:
    frames = [segment(size, 1).keyframes[0] for size in ((60, 100), (100, 60), (SIDE, SIDE))]
    family = backbone._family
    together = family.resize(frames)
    assert together.shape == (3, SIDE, SIDE, 3)
    for frame, resized in zip(frames, together, strict=True):
        np.testing.assert_array_equal(family.resize([frame])[0], resized)
    np.testing.assert_array_equal(together[2], frames[2])


def test_a_batch_is_its_segments_one_after_the_other(backbone: Multimodal) -> None:
    items = [segment(seed=n).prepared(backbone) for n in range(3)]
    shown = torch.stack([torch.from_numpy(item.pictures) for item in items])
    family = backbone._family
    together = family.visual_inputs(shown, [item.seconds for item in items])
    alone = [family.visual_inputs(shown[n : n + 1], [items[n].seconds]) for n in range(3)]
    assert list(together) == ["pixel_values_videos"]
    assert together["pixel_values_videos"].shape == (3, 8, 3, SIDE, SIDE)
    parts = torch.cat([one["pixel_values_videos"] for one in alone])
    assert torch.equal(together["pixel_values_videos"], parts)


def test_times_do_not_count(backbone: Multimodal) -> None:
    items = [segment(spacing=spacing).prepared(backbone) for spacing in (0.1, 20.0)]
    states = backbone.forward(items, Wanted((1, 5))).states
    assert torch.equal(states[0], states[1])


def first_release(name: str) -> str:
    """The vision tower had one more level in its names."""
    return name.replace("vision_tower.", "vision_tower.vision_model.")


def later_release(name: str) -> str:
    """Everything but the head stood below "model"."""
    if name.startswith("language_model.lm_head"):
        return name.removeprefix("language_model.")
    return "model." + first_release(name).replace("language_model.model.", "language_model.")


@pytest.mark.parametrize("rename", [first_release, later_release])
def test_weights_are_read_under_the_names_of_every_release(
    folder: Path, tmp_path: Path, backbone: Multimodal, rename: Callable[[str], str]
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    renamed = {rename(name): tensor for name, tensor in weights.items()}
    assert len(renamed.keys() - weights.keys()) > len(weights) / 3
    save_file(renamed, other / "model.safetensors", {"format": "pt"})
    model: Any = backbone._model
    found = dict(LlavaOneVision(other).load_model("float32", "sdpa").named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(found.pop(name), parameter), name
    assert not found


def changed(folder: Path, target: Path, file: str, **fields: Any) -> Path:
    """A copy of the checkpoint with other settings in one of its files."""
    shutil.copytree(folder, target)
    path = target / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}), encoding="utf-8")
    return target


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        (VIDEOS, {"resample": 2}, "resample = 2, only 3"),
        (VIDEOS, {"do_normalize": False}, "do_normalize = False"),
        (VIDEOS, {"do_resize": None}, "do_resize = None"),
        (VIDEOS, {"size": {"height": 384, "width": 384}}, "size"),
        (VIDEOS, {"do_center_crop": True}, "do_center_crop"),
        ("config.json", {"vision_feature_select_strategy": "default"}, "only 'full'"),
    ],
)
def test_what_is_not_followed_is_refused(
    folder: Path, tmp_path: Path, file: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        LlavaOneVision(changed(folder, tmp_path / "other", file, **fields))


@pytest.mark.parametrize("word", ["<video>", "<image>"])
def test_words_that_stand_for_pictures_are_refused(backbone: Multimodal, word: str) -> None:
    for prompt in (Prompt("", f"What is {word}?"), Prompt(f"See {word}.", "What?")):
        with pytest.raises(ConfigError, match=f"holds {word}, which stands for pictures"):
            backbone._family.text(prompt, 8, [0.0] * 8)


def test_a_frame_format_is_refused(backbone: Multimodal) -> None:
    with pytest.raises(ConfigError, match="LLaVA-OneVision takes the keyframes as one video"):
        backbone._family.text(Prompt("", "What?", "Frame{number}: {image}\n"), 8, [0.0] * 8)
