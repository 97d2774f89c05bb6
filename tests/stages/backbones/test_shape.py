"""The sizes of a checkpoint are read without a model library, as that library would read them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cache.errors import ConfigError
from stages.backbones.load import FAMILIES
from stages.backbones.shape import READERS, ModelShape, shape_of

TEXT = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
"""What a partial text_config may name."""


def shaped(folder: Path, config: dict[str, Any], **files: Any) -> ModelShape:
    """The shape of a folder that holds this config.json and these other JSON files."""
    (folder / "config.json").write_text(json.dumps(config))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return shape_of(folder)


def test_every_supported_architecture_has_a_reader() -> None:
    assert sorted(READERS) == sorted(FAMILIES)


@pytest.mark.parametrize("kind", ["internvl", "llava_onevision", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"text_config": TEXT},
        {"text_config": {**TEXT, "num_key_value_heads": None}},
        {"text_config": {**TEXT, "head_dim": 32}},
        {"vision_config": {"hidden_size": 96}},
        {"vision_config": {"patch_size": 8, "intermediate_size": 100}},
    ],
    ids=["nothing", "text", "no-kv", "head-dim", "vision", "patch"],
)
def test_fields_that_are_left_out_are_those_of_the_library(
    kind: str, given: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import AutoConfig

    shape = shaped(tmp_path, {"model_type": kind, **given})
    config = AutoConfig.from_pretrained(tmp_path, local_files_only=True)
    text, vision = config.text_config, config.vision_config
    kv_heads = text.num_key_value_heads or text.num_attention_heads
    assert shape.text_type == text.model_type
    assert (shape.layers, shape.width) == (text.num_hidden_layers, text.hidden_size)
    assert (shape.heads, shape.kv_heads) == (text.num_attention_heads, kv_heads)
    assert shape.intermediate == text.intermediate_size
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    assert shape.head_dim == head_dim
    seen = shape.vision
    depth = vision.depth if kind.startswith("qwen") else vision.num_hidden_layers
    assert (seen.layers, seen.width) == (depth, vision.hidden_size)
    assert seen.intermediate == vision.intermediate_size
    assert seen.patch[0] == (
        vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
    )
    if kind == "qwen2_5_vl":
        assert seen.full == tuple(vision.fullatt_block_indexes)
        assert seen.window == vision.window_size // vision.spatial_merge_size // seen.patch[0]
    if kind == "qwen3_vl":
        assert seen.projectors == 1 + len(vision.deepstack_visual_indexes)
    if kind == "llava_onevision":
        assert seen.pooling_head == vision.vision_use_head


@pytest.mark.parametrize("text", ["llama", "qwen2", "qwen3"])
def test_the_text_decoders_of_internvl_are_told_apart(text: str, tmp_path: Path) -> None:
    from transformers import AutoConfig

    shape = shaped(tmp_path, {"model_type": "internvl", "text_config": {"model_type": text}})
    expected = AutoConfig.from_pretrained(tmp_path, local_files_only=True).text_config
    assert shape.text_type == text
    assert shape.intermediate == expected.intermediate_size
    kv_heads = expected.num_key_value_heads or expected.num_attention_heads
    assert shape.kv_heads == kv_heads


def test_the_published_qwen_files_have_the_text_fields_beside_the_vision_ones(
    tmp_path: Path,
) -> None:
    flat = shaped(tmp_path, {"model_type": "qwen2_5_vl", **TEXT})
    assert (flat.layers, flat.width, flat.heads) == (3, 64, 4)


@pytest.mark.parametrize("text", ["internlm2", "qwen2"])
@pytest.mark.parametrize("vision", [{}, {"hidden_size": 96, "image_size": 448, "patch_size": 16}])
@pytest.mark.parametrize("sizes", [{}, {**TEXT, "num_key_value_heads": 2}])
def test_the_original_layout_is_read_as_the_native_class_that_it_is_loaded_into(
    text: str, vision: dict[str, Any], sizes: dict[str, int], tmp_path: Path
) -> None:
    from stages.backbones.families.internvl_chat_config import native_config

    config = {
        "model_type": "internvl_chat",
        "ps_version": "v2",
        "llm_config": {"model_type": text, **sizes},
        "vision_config": vision,
    }
    found = shaped(tmp_path, config)
    (tmp_path / "native").mkdir()
    native = native_config(tmp_path, config, 299)
    expected = shaped(tmp_path / "native", native.to_dict())
    assert dataclasses.replace(found, model_type="internvl") == expected


def test_limits_of_pixels_come_from_the_file_where_the_library_looks_first(tmp_path: Path) -> None:
    def limits(config: str, **files: Any) -> tuple[int, int]:
        for old in tmp_path.glob("*processor*.json"):
            old.unlink()
        return shaped(tmp_path, {"model_type": config}, **files).vision.pixels

    size = {"size": {"shortest_edge": 10, "longest_edge": 20}}
    old = {"min_pixels": 3136, "max_pixels": 12845056}
    assert limits("qwen2_5_vl") == (128 * 28 * 28, 768 * 28 * 28)
    assert limits("qwen3_vl") == (128 * 32 * 32, 768 * 32 * 32)
    assert limits("qwen2_5_vl", preprocessor_config=old) == (3136, 12845056)
    assert limits("qwen2_5_vl", preprocessor_config=size) == (10, 20)
    assert limits("qwen3_vl", preprocessor_config=old, video_preprocessor_config=size) == (10, 20)
    joint = {"image_processor": old, "video_processor": size}
    assert limits("qwen2_5_vl", preprocessor_config=old, processor_config=joint) == (10, 20)


def test_another_architecture_is_an_error_that_names_the_supported_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'blip'; supported: internvl, .*qwen3_vl"):
        shaped(tmp_path, {"model_type": "blip"})


def test_a_decoder_of_another_kind_is_an_error_that_names_it(tmp_path: Path) -> None:
    config = {"model_type": "internvl", "text_config": {"model_type": "qwen3_moe"}}
    with pytest.raises(ConfigError, match="text model 'qwen3_moe', whose cost is not known"):
        shaped(tmp_path, config)


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "video_preprocessor_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"video_preprocessor_config\.json cannot be read"):
        shaped(tmp_path, {"model_type": "qwen3_vl"})
    with pytest.raises(ConfigError, match=r"vision_config of config\.json is no JSON object"):
        shaped(tmp_path, {"model_type": "internvl", "vision_config": 3})


def test_no_model_library_is_imported() -> None:
    code = "import sys, stages.backbones.cost; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "numpy", "huggingface_hub"} & set(out.stdout.split())
