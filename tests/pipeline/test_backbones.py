"""`hiprobe backbone`: a checkpoint is described, tried, and its prompts shown, for every family."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.backbones import find_checkpoint, frames_of, shortened
from stages.backbones.identity import identify
from stages.backbones.load import FAMILIES, family_of
from stages.backbones.multimodal import Multimodal
from stages.backbones.prompting import token_digest
from stages.backbones.trial import moving_square
from stages.forward import prompts_of
from stages.sample import Settings as Sample
from tests.conftest import Called
from tests.small_backbone import build_backbone
from tests.stages.backbones.checkpoints.registry import SMALL

Hiprobe = Callable[..., Called]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A small checkpoint of every family and text model, and the demo's."""
    root = tmp_path_factory.mktemp("families")
    folders = {name: root / str(number) for number, name in enumerate([*SMALL, "demo"])}
    for name, small in SMALL.items():
        folders[name].mkdir()
        small.build(folders[name])
    build_backbone(folders["demo"])
    return folders


@pytest.fixture
def own(checkpoints: Mapping[str, Path], tmp_path: Path) -> Path:
    """A copy of the small InternVL that a test may change."""
    return shutil.copytree(checkpoints["demo"], tmp_path / "own")


def change_weights(folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    path = folder / "model.safetensors"
    weights = {name: change(name, tensor) for name, tensor in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})


def test_there_is_a_small_checkpoint_of_every_family() -> None:
    assert {name.split()[0] for name in SMALL} == set(FAMILIES)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_checkpoint_of_every_family_is_described_and_tried(
    name: str, checkpoints: Mapping[str, Path], hiprobe: Hiprobe
) -> None:
    folder = checkpoints[name]
    options = ("--keyframes", 5, "--size", "333x250", "--device", "cpu")
    called = hiprobe("backbone", "check", folder, *options, "--json")
    assert called.code == 0, called.out
    found = called.value()
    shape, estimate, trial = found["shape"], found["estimate"], found["trial"]
    assert found["family"] == name.split()[0]
    assert (shape["layers"], shape["width"]) == (trial["layers"], trial["width"])
    assert found["identity"] == identify(str(folder), "", "auto", "sdpa", {})
    # What the arithmetic says of a segment is what went through the model.
    assert found["visual_tokens"] == estimate["visual_tokens"] > 0
    assert found["tokens"] == trial["tokens"] > found["visual_tokens"]
    assert estimate["bytes_per_segment"] == (shape["layers"] + 1) * shape["width"] * 4
    assert estimate["bytes"]["UCF-Crime"] == 576_000 * estimate["bytes_per_segment"]
    shares = [entry["share"] for entry in estimate["ending_after"]]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert trial["problems"] == trial["notes"] == []
    assert 0 < trial["largest"] < 1000
    assert 0 <= trial["largest_layer"] <= shape["layers"]
    assert trial["device"] == "cpu"
    assert trial["peak_bytes"] is None


def test_the_description_comes_before_the_weights_are_loaded(own: Path, hiprobe: Hiprobe) -> None:
    (own / "model.safetensors").write_bytes(b"no weights")
    called = hiprobe("backbone", "check", own)
    assert called.code != 0
    for words in ("6 layers of qwen2, 128 wide", "one pass", "ending after", "identity"):
        assert words in called.out


def test_a_person_is_told_what_was_seen(checkpoints: Mapping[str, Path], hiprobe: Hiprobe) -> None:
    told = hiprobe("backbone", "check", checkpoints["demo"], "--device", "cpu").out
    assert "8 keyframes of 320x240: 204 tokens, 32 of them visual" in told
    assert "finite, and two segments differ in all 6 layers" in told
    assert "3.6 kB a segment (7 states in float32)" in told


def test_another_architecture_is_refused_with_the_names_of_the_supported_ones(
    own: Path, hiprobe: Hiprobe
) -> None:
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "model_type": "blip"}))
    called = hiprobe("backbone", "check", own)
    assert called.code == 2
    assert "'blip'; supported: internvl, internvl_chat, llava_onevision" in called.out


@pytest.mark.parametrize("size", ["320", "0x240", "320x", "axb", "320x240x3"])
def test_a_size_is_a_width_and_a_height(size: str, own: Path, hiprobe: Hiprobe) -> None:
    called = hiprobe("backbone", "check", own, "--size", size)
    assert called.code == 2
    assert "such as 320x240" in called.out


def test_states_that_are_not_finite_are_a_problem(own: Path, hiprobe: Hiprobe) -> None:
    def broken(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor * torch.inf if name.endswith("layers.3.mlp.down_proj.weight") else tensor

    change_weights(own, broken)
    called = hiprobe("backbone", "check", own, "--device", "cpu", "--json")
    assert called.code == 1
    trial = json.loads(called.out)["trial"]
    assert trial["not_finite"] == [4, 5, 6]
    assert "states of layers 4, 5, 6 are not finite" in trial["problems"]
    assert np.isfinite(trial["largest"])


def test_states_that_know_nothing_of_the_pictures_are_a_problem(
    own: Path, hiprobe: Hiprobe
) -> None:
    def blind(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor * 0 if "multi_modal_projector.linear_2" in name else tensor

    change_weights(own, blind)
    called = hiprobe("backbone", "check", own, "--device", "cpu")
    assert called.code == 1
    assert "two different segments leave the same states in layers 1, 2, 3, 4, 5, 6" in called.out


def test_states_beyond_float16_are_noted(own: Path, hiprobe: Hiprobe) -> None:
    def large(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor * 1e6 if name.endswith("layers.5.mlp.down_proj.weight") else tensor

    change_weights(own, large)
    trial = hiprobe("backbone", "check", own, "--device", "cpu", "--json").value()["trial"]
    assert trial["largest"] > 65504
    assert trial["largest_layer"] == 6
    assert trial["notes"] == ['the largest state does not fit forward.store_dtype = "float16"']


def test_a_hub_id_that_is_not_here_is_downloaded_after_saying_so(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    said: list[str] = []

    def snapshot(model: str, local_files_only: bool, **more: Any) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        assert said, "the download began before a word was said"
        return str(own)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert find_checkpoint("someone/model", "", said.append) == own
    assert said == ["someone/model is not on this machine: downloading it from the hub"]


def run_file(folder: Path, model: Path, **sections: str) -> Path:
    """A configuration for this checkpoint; `sections` are lines of TOML."""
    texts = {"data": 'videos = "videos"', "backbone": f"model = {json.dumps(str(model))}"}
    lines = [f"[{name}]\n{text}\n" for name, text in {**texts, **sections}.items()]
    path = folder / "run.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("name", sorted(SMALL))
def test_prompts_are_shown_as_the_forward_stage_records_them(
    name: str, checkpoints: Mapping[str, Path], tmp_path: Path, hiprobe: Hiprobe
) -> None:
    asked = 'prompts = ["What happens?", "Is it normal? Answer with yes or no."]\nsystem = "Look."'
    config = run_file(
        tmp_path,
        checkpoints[name],
        forward=asked,
        sample='segment_frames = 48\nkeyframes = 6\nrule = "endpoints"',
    )
    called = hiprobe("backbone", "prompt", config, "--size", "300x200", "--fps", 25, "--json")
    assert called.code == 0, called.out
    shown = called.value()["prompts"]

    from pipeline.config import load_config

    loaded = load_config(config).sections
    backbone = Multimodal(family_of(checkpoints[name]), "float32", "sdpa", "cpu")
    # 0, 9.4, 18.8, ... of 48 frames, rounded.
    seconds = [frame / 25 for frame in (0, 9, 19, 28, 38, 47)]
    frames = moving_square(6, 200, 300, backwards=False)
    item = backbone.prepare(frames, seconds, prompts_of(loaded["forward"]))
    assert [prompt["token_ids_sha256"] for prompt in shown] == [
        token_digest(ids) for ids in item.token_ids
    ]
    assert [prompt["tokens"] for prompt in shown] == [len(ids) for ids in item.token_ids]
    assert [prompt["text"] for prompt in shown] == list(item.texts)
    for prompt in shown:
        assert "Look." in prompt["expanded"]
        assert prompt["question"] in prompt["expanded"]
        assert "> x " in prompt["expanded"]
        assert len(prompt["expanded"]) < 1000


def test_prompts_are_shown_without_weights(own: Path, tmp_path: Path, hiprobe: Hiprobe) -> None:
    (own / "model.safetensors").write_bytes(b"no weights")
    called = hiprobe("backbone", "prompt", run_file(tmp_path, own))
    assert called.code == 0
    assert "Frame1: <img><IMG_CONTEXT> x 4</img>" in called.out
    assert "204 tokens, 32 of them visual; sha256 of the ids" in called.out


def test_a_prompt_of_a_backbone_that_is_not_here_says_how_to_get_it(
    tmp_path: Path, hiprobe: Hiprobe
) -> None:
    called = hiprobe("backbone", "prompt", run_file(tmp_path, Path("someone/model")))
    assert called.code == 2
    assert "hf download someone/model" in called.out


def test_repeated_tokens_are_counted_and_words_are_not() -> None:
    assert shortened("a <x><x><x><y> ha ha ha <x><x>") == "a <x> x 3<y> ha ha ha <x><x>"
    assert shortened("<|video_pad|>" * 396) == "<|video_pad|> x 396"


def test_keyframes_lie_where_the_sample_stage_puts_them() -> None:
    frames = frames_of(Sample(), "320x240", 30.0)
    assert (frames.height, frames.width) == (240, 320)
    assert frames.seconds == tuple(frame / 30 for frame in (1, 4, 7, 10, 13, 16, 19, 22))
