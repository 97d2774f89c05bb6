"""Weights of an original-layout InternVL: each under its native name, joined ones cut as stored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cache.errors import ConfigError
from stages.backbones.families.internvl_chat import InternVLChat
from stages.backbones.families.internvl_chat_weights import native_weights
from stages.backbones.load import family_of
from tests.stages.backbones.checkpoints.internvl_chat import Text, Vision, build, write_shards

LAYER = "language_model.model.layers.1."
TOWER = "vision_model.encoder.layers.2."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    build(folder)
    return folder


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {n: t for path in folder.glob("*.safetensors") for n, t in load_file(path).items()}


def with_weights(folder: Path, copy: Path, change: dict[str, torch.Tensor | None]) -> Path:
    """A copy with other weights; None leaves one out."""
    shutil.copytree(folder, copy)
    found = {**stored(folder), **change}
    for path in copy.glob("*.safetensors"):
        path.unlink()
    write_shards(copy, {name: tensor for name, tensor in found.items() if tensor is not None})
    return copy


def load(folder: Path) -> Any:
    return family_of(folder).load_model("float32", "eager")


@pytest.mark.parametrize("text", ["internlm2", "qwen2"])
@pytest.mark.parametrize("vision", ["300M", "6B"])
def test_every_parameter_is_loaded_and_every_stored_number_is_used(
    tmp_path: Path, text: Text, vision: Vision
) -> None:
    build(tmp_path / "c", text=text, vision=vision)
    loaded = {name: p.detach() for name, p in load(tmp_path / "c").named_parameters()}
    mapped = native_weights(tmp_path / "c", InternVLChat(tmp_path / "c").config)
    assert loaded.keys() == mapped.keys()
    assert all(torch.equal(loaded[name], mapped[name]) for name in mapped)
    assert sum(p.numel() for p in loaded.values()) == sum(
        tensor.numel() for tensor in stored(tmp_path / "c").values()
    )


def test_internlm2s_queries_keys_and_values_lie_in_groups(folder: Path, tmp_path: Path) -> None:
    # 4 query heads on 2 key heads, 16 wide. Each row holds its own number.
    rows = torch.arange(2 * (2 + 2) * 16).float()[:, None].expand(-1, 64).contiguous()
    copy = with_weights(folder, tmp_path / "c", {LAYER + "attention.wqkv.weight": rows})
    attention = load(copy).model.language_model.layers[1].self_attn

    def head(group: int, member: int) -> list[int]:
        return list(range((group * 4 + member) * 16, (group * 4 + member + 1) * 16))

    assert attention.q_proj.weight[:, 0].tolist() == [
        *head(0, 0),
        *head(0, 1),
        *head(1, 0),
        *head(1, 1),
    ]
    assert attention.k_proj.weight[:, 0].tolist() == [*head(0, 2), *head(1, 2)]
    assert attention.v_proj.weight[:, 0].tolist() == [*head(0, 3), *head(1, 3)]


def test_a_joined_bias_is_cut_like_its_weight(folder: Path, tmp_path: Path) -> None:
    change: dict[str, torch.Tensor | None] = {}
    for number in range(4):
        prefix = f"language_model.model.layers.{number}.attention."
        change[prefix + "wqkv.bias"] = torch.arange(128).float()
        change[prefix + "wo.bias"] = torch.arange(64).float()
    copy = with_weights(folder, tmp_path / "c", change)
    config = json.loads((copy / "config.json").read_text())
    config["llm_config"]["bias"] = True
    (copy / "config.json").write_text(json.dumps(config))
    attention = load(copy).model.language_model.layers[3].self_attn
    assert attention.k_proj.bias.tolist() == [*range(32, 48), *range(96, 112)]
    assert attention.o_proj.bias.tolist() == list(range(64))


def test_the_vision_models_lie_one_after_the_other(folder: Path) -> None:
    attention = load(folder).model.vision_tower.encoder.layer[2].attention
    joined, bias = (stored(folder)[f"{TOWER}attn.qkv.{leaf}"] for leaf in ("weight", "bias"))
    for place, part in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
        assert torch.equal(part.weight, joined[32 * place : 32 * (place + 1)])
        assert torch.equal(part.bias, bias[32 * place : 32 * (place + 1)])


def test_only_grouped_tensors_are_copied(folder: Path) -> None:
    found = native_weights(folder, InternVLChat(folder).config)
    tower = "model.vision_tower.encoder.layer.2.attention."
    parts = [found[f"{tower}{name}_proj.weight"] for name in "qkv"]
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 1


def test_one_file_without_an_index_is_read(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "c")
    weights = stored(folder)
    for path in copy.glob("*.safetensors*"):
        path.unlink()
    save_file(weights, copy / "model.safetensors")
    one, two = (load(place).state_dict() for place in (folder, copy))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_file_that_the_index_does_not_list_is_not_read(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "c")
    save_file({"mlp1.0.weight": torch.zeros(128)}, copy / "other.safetensors")
    assert float(load(copy).model.multi_modal_projector.layer_norm.weight.abs().sum()) > 0


def test_a_tied_output_is_the_input_embedding(folder: Path, tmp_path: Path) -> None:
    copy = with_weights(folder, tmp_path / "c", {"language_model.output.weight": None})
    with pytest.raises(ConfigError, match=r"missing keys.*lm_head\.weight"):
        load(copy)
    config = json.loads((copy / "config.json").read_text())
    config["llm_config"]["tie_word_embeddings"] = True
    (copy / "config.json").write_text(json.dumps(config))
    model = load(copy)
    embedding = stored(folder)["language_model.model.tok_embeddings.weight"]
    assert torch.equal(model.lm_head.weight, embedding)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (LAYER + "ffn_norm.weight", None, r"missing keys.*layers\.1\.post_attention_layernorm"),
        (TOWER + "ls2", None, r"missing keys.*layer\.2\.lambda_2"),
        (LAYER + "attention.wo.lora_A.default.weight", torch.ones(4), "LoRA .* not merged"),
        ("sampler.weight", torch.ones(4), r"unexpected keys.*sampler\.weight"),
        ("mlp1.3.bias", torch.ones(63), r"mismatched keys.*linear_2\.bias"),
        (LAYER + "attention.wqkv.weight", torch.ones(127, 64), "wqkv.weight has 127 rows, 128"),
        (TOWER + "attn.qkv.bias", torch.ones(97), "qkv.bias has 97 rows, 96 expected"),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(
    folder: Path, tmp_path: Path, name: str, tensor: torch.Tensor | None, message: str
) -> None:
    copy = with_weights(folder, tmp_path / "c", {name: tensor})
    with pytest.raises(ConfigError, match=message):
        load(copy)


def test_pickles_are_never_read(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "c")
    for path in copy.glob("*.safetensors*"):
        path.unlink()
    torch.save(stored(folder), copy / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="pickles"):
        load(copy)
