"""The small backbone: a real checkpoint folder, the same each time, that tells clips apart."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages.backbones.contract import Prompt, Wanted
from stages.backbones.load import load
from stages.backbones.reference import BackboneReference
from tests.small_backbone import build_backbone


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "small"
    build_backbone(folder)
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(17)
    before = torch.random.get_rng_state()
    build_backbone(tmp_path / "again")
    assert torch.equal(torch.random.get_rng_state(), before)
    build_backbone(tmp_path / "other", seed=1)
    assert digests(tmp_path / "again") == digests(folder)
    changed = {n for n, d in digests(tmp_path / "other").items() if d != digests(folder)[n]}
    assert changed == {"model.safetensors"}


def test_it_has_the_files_of_a_downloaded_checkpoint(folder: Path) -> None:
    assert set(digests(folder)) == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert str(folder.parent) not in "".join(
        p.read_text() for p in folder.iterdir() if p.suffix == ".json"
    )
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "internvl"
    assert config["text_config"]["model_type"] == "qwen2"


def test_no_parameter_is_constant(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    assert all(bool(weight.std() > 0.01) for weight in weights.values())
    assert sum(weight.numel() for weight in weights.values()) < 2_000_000


def test_every_text_has_tokens_and_comes_back(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "Häuser, 异常? \t\n\x00 <img> ok"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text.encode()) - len("<img>") + 1


def test_hidden_states_vary_between_clips_in_every_layer(folder: Path) -> None:
    backbone = load(BackboneReference(str(folder), "", "auto", "sdpa", "cpu", ""))
    generator = np.random.default_rng(2)
    prompt = Prompt("", "Describe the video and decide whether it shows an abnormal event.")
    clips = []
    for _ in range(6):
        scene = np.full((8, 96, 128, 3), generator.integers(60, 160), dtype=np.uint8)
        row, column, speed = generator.integers(0, 60), generator.integers(0, 20), 6
        for k in range(8):
            left = column + speed * k
            scene[k, row : row + 24, left : left + 24] = generator.integers(0, 256, 3)
        clips.append(backbone.prepare(list(scene), [k / 10 for k in range(8)], [prompt]))
    wanted = Wanted(tuple(range(backbone.layers + 1)))
    states = backbone.forward(clips, wanted).states[:, 0].numpy()
    assert np.isfinite(states).all()
    spread = states.std(axis=0).mean(axis=1)
    size = np.sqrt((states**2).mean(axis=(0, 2)))
    assert np.ptp(states[:, 0], axis=0).max() == 0
    assert (spread[1:] / size[1:] > 0.02).all()
