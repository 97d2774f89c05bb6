"""Weights: whatever does not fit config.json is an error, never a random number."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cache.errors import ConfigError
from stages.backbones.load import family_of

HEAD = "language_model.lm_head.weight"
NORM = "language_model.model.norm.weight"


def with_weights(checkpoint: Path, copy: Path, change: Mapping[str, torch.Tensor | None]) -> Path:
    """A copy with other weights; None leaves one out."""
    shutil.copytree(checkpoint, copy)
    path = copy / "model.safetensors"
    weights = {**load_file(path), **change}
    # The tensors are views of the file: it is replaced, not written over.
    path.unlink()
    left = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(left, path, metadata={"format": "pt"})
    return copy


def load(folder: Path) -> Any:
    return family_of(folder).load_model("float32", "sdpa")


@pytest.mark.parametrize("name", [HEAD, NORM])
def test_a_weight_that_is_missing_is_an_error(checkpoint: Path, tmp_path: Path, name: str) -> None:
    copy = with_weights(checkpoint, tmp_path / "c", {name: None})
    with pytest.raises(ConfigError, match="missing keys in the weights, 1 in all"):
        load(copy)


@pytest.mark.parametrize("name", [HEAD, NORM])
def test_a_weight_of_another_shape_is_an_error(checkpoint: Path, tmp_path: Path, name: str) -> None:
    copy = with_weights(checkpoint, tmp_path / "c", {name: torch.ones(7)})
    with pytest.raises(ConfigError, match="mismatched keys in the weights, 1 in all"):
        load(copy)


def test_a_weight_without_a_place_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    extra = {"language_model.model.layers.0.lora_A.weight": torch.ones(7)}
    copy = with_weights(checkpoint, tmp_path / "c", extra)
    with pytest.raises(ConfigError, match=r"unexpected keys.*lora_A"):
        load(copy)


def test_a_tied_output_embedding_need_not_be_stored(checkpoint: Path, tmp_path: Path) -> None:
    copy = with_weights(checkpoint, tmp_path / "c", {HEAD: None})
    content = json.loads((copy / "config.json").read_text())
    content["tie_word_embeddings"] = content["text_config"]["tie_word_embeddings"] = True
    (copy / "config.json").write_text(json.dumps(content))
    model = load(copy)
    assert torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)


def test_stored_rotary_tables_are_not_missed(checkpoint: Path, tmp_path: Path) -> None:
    old = {"language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)}
    copy = with_weights(checkpoint, tmp_path / "c", old)
    assert float(load(copy).model.language_model.rotary_emb.inv_freq[1]) < 1.0
