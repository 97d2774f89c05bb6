"""Weights of an original-layout InternVL under the names of the native class of transformers.

Two kinds of tensors are stored joined: the vision model's queries, keys and values one after the
other, and InternLM2's by groups. A group is one key head with the query heads that attend to it: its
queries, then its key, then its value. Cut otherwise, they give a model that runs and is wrong.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cache.errors import ConfigError
from stages.backbones.weights import check_report, frozen, quiet_progress

_VISION, _TOWER = r"vision_model\.encoder\.layers\.(\d+)\.", r"model.vision_tower.encoder.layer.\1."
_TEXT, _DECODER = r"language_model\.model\.layers\.(\d+)\.", r"model.language_model.layers.\1."
_RENAMED = {
    r"vision_model\.embeddings\.class_embedding": r"model.vision_tower.embeddings.cls_token",
    r"vision_model\.embeddings\.position_embedding": (
        r"model.vision_tower.embeddings.position_embeddings"
    ),
    r"vision_model\.embeddings\.patch_embedding\.(.*)": (
        r"model.vision_tower.embeddings.patch_embeddings.projection.\1"
    ),
    _VISION + r"attn\.proj\.(.*)": _TOWER + r"attention.projection_layer.\2",
    _VISION + r"attn\.([qk]_norm\..*)": _TOWER + r"attention.\2",
    _VISION + r"norm1\.(.*)": _TOWER + r"layernorm_before.\2",
    _VISION + r"norm2\.(.*)": _TOWER + r"layernorm_after.\2",
    _VISION + r"ls([12])": _TOWER + r"lambda_\2",
    _VISION + r"(mlp\..*)": _TOWER + r"\2",
    r"mlp1\.0\.(.*)": r"model.multi_modal_projector.layer_norm.\1",
    r"mlp1\.1\.(.*)": r"model.multi_modal_projector.linear_1.\1",
    r"mlp1\.3\.(.*)": r"model.multi_modal_projector.linear_2.\1",
    _TEXT + r"attention\.wo\.(.*)": _DECODER + r"self_attn.o_proj.\2",
    _TEXT + r"attention_norm\.(.*)": _DECODER + r"input_layernorm.\2",
    _TEXT + r"ffn_norm\.(.*)": _DECODER + r"post_attention_layernorm.\2",
    _TEXT + r"feed_forward\.w1\.(.*)": _DECODER + r"mlp.gate_proj.\2",
    _TEXT + r"feed_forward\.w2\.(.*)": _DECODER + r"mlp.down_proj.\2",
    _TEXT + r"feed_forward\.w3\.(.*)": _DECODER + r"mlp.up_proj.\2",
    r"language_model\.model\.tok_embeddings\.(.*)": r"model.language_model.embed_tokens.\1",
    r"language_model\.(?:output|lm_head)\.(.*)": r"lm_head.\1",
    # What remains is named as in the library: InternLM2's last norm, and all of Qwen2.
    r"language_model\.model\.(.*)": r"model.language_model.\1",
}
_VISION_QKV = re.compile(_VISION + r"attn\.qkv\.(weight|bias)")
_TEXT_QKV = re.compile(_TEXT + r"attention\.wqkv\.(weight|bias)")


def load_original(folder: Path, config: Any, dtype: str, attention: str) -> Any:
    """The checkpoint in the native class of `config`, in evaluation mode on the CPU.

    Raises ConfigError where weights are missing, left over, or of another shape.
    """
    from transformers import InternVLForConditionalGeneration

    with quiet_progress():
        model, report = InternVLForConditionalGeneration.from_pretrained(
            None,
            config=copy.deepcopy(config),
            state_dict=native_weights(folder, config),
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            # Not to be ignored: so that they stand in the report, which is checked.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    check_report(folder, report)
    return frozen(model)


def native_weights(folder: Path, config: Any) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by their native names; one without a rule keeps its own name.

    Tensors are views of the files wherever they need not be cut into groups, so that the weights
    are in memory about once. Raises ConfigError where a joined tensor does not fit config.json.
    """
    from safetensors import safe_open

    found: dict[str, torch.Tensor] = {}
    for path in _files(folder):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                found.update(_native(folder, config, name, file.get_tensor(name)))
    return found


def _files(folder: Path) -> list[Path]:
    """The files of an index, or all there are."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(names))]
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise ConfigError(
            f"backbone {folder.name} has no *.safetensors; pickles (*.bin) are never read"
        )
    return found


def _native(
    folder: Path, config: Any, name: str, tensor: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor]]:
    """One stored tensor as the native class has it: one, or three where it is joined."""
    if ".lora_" in name:
        raise ConfigError(
            f"backbone {folder.name}: the weights hold {name}, a LoRA matrix that is not merged: "
            "merge it into the model first"
        )
    if match := _VISION_QKV.fullmatch(name):
        parts = _thirds(folder, config.vision_config, name, tensor)
        place, leaf = match.expand(_TOWER) + "attention.", match[2]
    elif match := _TEXT_QKV.fullmatch(name):
        parts = _groups(folder, config.text_config, name, tensor)
        place, leaf = match.expand(_DECODER) + "self_attn.", match[2]
    else:
        yield _renamed(name), tensor
        return
    for part, projection in zip(parts, ("q_proj", "k_proj", "v_proj"), strict=True):
        yield f"{place}{projection}.{leaf}", part


def _renamed(name: str) -> str:
    for pattern, native in _RENAMED.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(native)
    return name


def _thirds(folder: Path, vision: Any, name: str, tensor: torch.Tensor) -> list[torch.Tensor]:
    """Queries, keys and values of [3 * width, ...], in this order."""
    width = int(vision.hidden_size)
    _check_rows(folder, name, tensor, 3 * width)
    return list(torch.split(tensor, width))


def _groups(folder: Path, text: Any, name: str, tensor: torch.Tensor) -> list[torch.Tensor]:
    """Queries, keys and values of [key heads * (queries per key + 2) * head_dim, ...]."""
    heads, keys = int(text.num_attention_heads), int(text.num_key_value_heads)
    queries, wide = heads // keys, int(text.hidden_size) // heads
    _check_rows(folder, name, tensor, keys * (queries + 2) * wide)
    groups = torch.unflatten(tensor, 0, (keys, queries + 2, wide))
    return [
        groups[:, :queries].flatten(0, 2),
        groups[:, queries].flatten(0, 1),
        groups[:, queries + 1].flatten(0, 1),
    ]


def _check_rows(folder: Path, name: str, tensor: torch.Tensor, expected: int) -> None:
    if len(tensor) != expected:
        raise ConfigError(
            f"backbone {folder.name}: {name} has {len(tensor)} rows, {expected} expected: the "
            "checkpoint does not fit its config.json"
        )
