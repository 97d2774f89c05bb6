"""The config.json of an original-layout InternVL, as the native class of transformers needs it.

What the file leaves out has the default of the original's own configuration classes, which differ
from the library's (bias in InternLM2, normalised queries and keys in the vision model).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.errors import ConfigError

Fields = Mapping[str, Any]

VISION: dict[str, Any] = {
    "num_channels": 3,
    "patch_size": 14,
    "image_size": 224,
    "qkv_bias": False,
    "hidden_size": 3200,
    "num_attention_heads": 25,
    "intermediate_size": 12800,
    "qk_normalization": True,
    "num_hidden_layers": 48,
    "hidden_act": "gelu",
    "norm_type": "rms_norm",
    "layer_norm_eps": 1e-6,
}
INTERNLM2: dict[str, Any] = {
    "vocab_size": 103168,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "bias": True,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "eos_token_id": 2,
}
"""Defaults of the original's classes."""

QWEN2 = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "eos_token_id",
)
"""What is taken over for Qwen2, whose class is the library's own."""


def text_type(folder: Path, original: Fields) -> str:
    """internlm2 or qwen2: the text model. Raises ConfigError for any other."""
    found = _inner(folder, original, "llm_config").get("model_type")
    if found not in ("internlm2", "qwen2"):
        raise ConfigError(
            f"backbone {folder.name} has the original InternVL layout with the text model "
            f"{found!r}; supported in this layout: internlm2, qwen2. A conversion of the same model "
            "to the layout of transformers (named ...-hf) may be supported"
        )
    return str(found)


def native_config(folder: Path, original: Fields, image_token_id: int) -> Any:
    """The InternVLConfig of transformers that computes the same as the original's classes.

    Raises ConfigError for a setting that the native class does not follow.
    """
    from transformers import InternVLConfig

    vision = VISION | _inner(folder, original, "vision_config")
    text = _inner(folder, original, "llm_config")
    _check(folder, original, vision, text)
    native = _llama(folder, text) if text_type(folder, original) == "internlm2" else _qwen2(text)
    size, patch = int(vision["image_size"]), int(vision["patch_size"])
    ratio = float(original.get("downsample_ratio", 0.5))
    return InternVLConfig(
        vision_config=_vision(vision),
        text_config=native,
        image_token_id=image_token_id,
        image_seq_length=int((size // patch) ** 2 * ratio**2),
        downsample_ratio=ratio,
        tie_word_embeddings=bool(native.get("tie_word_embeddings", False)),
    )


def _check(folder: Path, original: Fields, vision: Fields, text: Fields) -> None:
    """Raise ConfigError for what the native class cannot do, or does in another way."""
    size = vision["image_size"]
    wanted: list[tuple[Fields, str, Any, tuple[Any, ...]]] = [
        (original, "ps_version", "v1", ("v2",)),
        (original, "select_layer", -1, (-1,)),
        (original, "force_image_size", None, (None, size)),
        (text, "rope_pos_id_version", "default", ("default",)),
    ]
    if vision["qk_normalization"]:
        # The native class has this number built in where queries and keys are normalised.
        wanted.append((vision, "layer_norm_eps", None, (1e-6,)))
    for place, name, default, supported in wanted:
        found = place.get(name, default)
        if found not in supported:
            raise ConfigError(
                f"backbone {folder.name}: config.json has {name} = {found!r}, only "
                f"{supported[-1]!r} is supported"
            )


def _vision(vision: Fields) -> dict[str, Any]:
    same = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
        "norm_type",
        "layer_norm_eps",
        "num_channels",
        "image_size",
        "patch_size",
    )
    return {name: vision[name] for name in same} | {
        "attention_bias": bool(vision["qkv_bias"]),
        "use_qk_norm": bool(vision["qk_normalization"]),
        "use_absolute_position_embeddings": True,
        # Not a mean: the native class leaves out the last norm with it, as the original does.
        "use_mean_pooling": True,
    }


def _llama(folder: Path, given: Fields) -> dict[str, Any]:
    """InternLM2 computes what Llama does; only its weights are stored in another way."""
    text = {**INTERNLM2, **given}
    scaling = dict(text["rope_scaling"] or {})
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in ("default", "linear", "dynamic"):
        raise ConfigError(
            f"backbone {folder.name}: llm_config has the rotary scaling {kind!r}, which InternLM2 "
            "does not have: expected linear, dynamic or none"
        )
    same = [name for name in INTERNLM2 if name not in ("bias", "rope_theta", "rope_scaling")]
    return {name: text[name] for name in same} | {
        "model_type": "llama",
        "attention_bias": bool(text["bias"]),
        "bos_token_id": 1,
        "rope_parameters": _rope(text),
    }


def _qwen2(given: Fields) -> dict[str, Any]:
    return {name: given[name] for name in QWEN2 if name in given} | {
        "model_type": "qwen2",
        "rope_parameters": _rope(given),
    }


def _rope(text: Fields) -> dict[str, Any]:
    """Rotary settings: "dynamic" scaling changes nothing up to max_position_embeddings."""
    scaling = dict(text.get("rope_scaling") or {})
    kind = scaling.pop("type", "default")
    theta = float(text.get("rope_theta", 10000.0))
    return {"rope_type": kind, **scaling, "rope_theta": theta}


def _inner(folder: Path, original: Fields, name: str) -> dict[str, Any]:
    found = original.get(name)
    if not isinstance(found, dict):
        raise ConfigError(f"backbone {folder.name}: config.json has no {name}")
    return found
