"""What a checkpoint's small files say about the size of its parts; no model library is imported.

`hiprobe plan` must say what a run costs before a model is loaded, and in a fraction of a second.
Fields that config.json leaves out have the defaults of transformers 5.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.errors import ConfigError
from stages.backbones.identity import read_config

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VisionShape:
    """The part that turns keyframes into visual tokens."""

    layers: int
    width: int
    intermediate: int
    patch: tuple[int, int]
    """Pixels of a patch, height and width."""
    merge: int
    """Patches along each side that become one visual token."""
    projector: tuple[tuple[int, int], ...]
    """(inputs, outputs) of each linear layer between vision and decoder."""
    projectors: int = 1
    """How often that happens: once, and once more for each of Qwen3-VL's deepstack layers."""
    gated: bool = False
    """Whether the MLP of a layer has a gate beside up and down."""
    temporal: int = 1
    """Keyframes that are merged into one picture."""
    channels: int = 3
    image: tuple[int, int] | None = None
    """Pixels of every picture, height and width; None where it follows from the video's size."""
    class_token: bool = False
    """Whether a token of its own goes through the layers beside the patches."""
    pooled: bool = False
    """Whether patches are merged after the projector, with one more token that ends the video."""
    pixels: tuple[int, int] = (0, 0)
    """Least and most pixels of a picture, where `image` is None."""
    pixels_of_all: bool = False
    """Whether these limits hold for all keyframes of a segment together."""
    window: int = 0
    """Side of an attention window in visual tokens; 0 where every layer sees the whole picture."""
    full: tuple[int, ...] = ()
    """The layers that see the whole picture all the same."""
    pooling_head: bool = False
    """Whether SigLIP's pooling head runs too, whose output nobody reads."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that decide what a pass costs and what it leaves."""

    model_type: str
    text_type: str
    """Architecture of the text decoder."""
    layers: int
    """Decoder layers L; hidden states are numbered 0 to L."""
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vision: VisionShape


def shape_of(folder: Path) -> ModelShape:
    """The shape of a checkpoint folder.

    Raises ConfigError for an architecture that is not supported, naming those that are, and for a
    text decoder whose cost is not that of a dense Llama.
    """
    config = read_config(folder)
    read = READERS.get(str(config.get("model_type")))
    if read is None:
        raise ConfigError(
            f"backbone {folder.name} has the architecture {config.get('model_type')!r}; supported: "
            f"{', '.join(sorted(READERS))}"
        )
    return read(folder, config)


DECODERS: dict[str, dict[str, int | None]] = {
    "llama": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "head_dim": None,
    },
    "qwen2": {
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": None,
    },
    "qwen3": {
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
    },
    "qwen2_5_vl_text": {
        "hidden_size": 8192,
        "intermediate_size": 29568,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": None,
    },
    "qwen3_vl_text": {
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
    },
}
"""Defaults of the text decoders, by their model_type; all are dense, with a gated MLP."""

INTERN_VISION: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "image_size": 448,
    "patch_size": 14,
    "num_channels": 3,
}
ORIGINAL_VISION = INTERN_VISION | {
    "hidden_size": 3200,
    "intermediate_size": 12800,
    "num_hidden_layers": 48,
    "image_size": 224,
}
"""The defaults of the original layout's own classes."""
SIGLIP: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "vision_use_head": True,
}
LLAVA_VISION: dict[str, Any] = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
"""What LLaVA-OneVision takes where config.json has no vision_config at all."""
QWEN2_5_VISION: dict[str, Any] = {
    "depth": 32,
    "hidden_size": 3584,
    "intermediate_size": 3420,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "in_channels": 3,
    "out_hidden_size": 3584,
    "window_size": 112,
    "fullatt_block_indexes": (7, 15, 23, 31),
}
QWEN3_VISION: dict[str, Any] = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "in_channels": 3,
    "out_hidden_size": 3584,
    "deepstack_visual_indexes": (8, 16, 24),
}


def _internvl(folder: Path, config: Fields) -> ModelShape:
    text = _inner(folder, config, "text_config") or {}
    vision = INTERN_VISION | (_inner(folder, config, "vision_config") or {})
    return _decoder(folder, config, text, "qwen2", _intern_vision(folder, config, text, vision))


def _internvl_chat(folder: Path, config: Fields) -> ModelShape:
    text = dict(_inner(folder, config, "llm_config") or {})
    text.pop("head_dim", None)  # neither text model of this layout has one
    if text.get("model_type") == "internlm2":
        text["model_type"] = "llama"  # it differs from Llama only in how its weights are stored
    vision = ORIGINAL_VISION | (_inner(folder, config, "vision_config") or {})
    return _decoder(folder, config, text, "qwen2", _intern_vision(folder, config, text, vision))


def _intern_vision(folder: Path, config: Fields, text: Fields, vision: Fields) -> VisionShape:
    width = int(vision["hidden_size"])
    out = _decoder_fields(folder, text, "qwen2")["hidden_size"]
    merge = int(1 / float(config.get("downsample_ratio", 0.5)))
    return VisionShape(
        layers=int(vision["num_hidden_layers"]),
        width=width,
        intermediate=int(vision["intermediate_size"]),
        patch=_pair(vision["patch_size"]),
        merge=merge,
        projector=((width * merge**2, out), (out, out)),
        channels=int(vision["num_channels"]),
        class_token=True,
        image=_pair(vision["image_size"]),
    )


def _llava_onevision(folder: Path, config: Fields) -> ModelShape:
    text = _inner(folder, config, "text_config") or {}
    given = _inner(folder, config, "vision_config")
    vision = SIGLIP | (LLAVA_VISION if given is None else given)
    kind = vision.get("model_type", "siglip_vision_model")
    if kind != "siglip_vision_model":
        raise ConfigError(
            f"backbone {folder.name} has the vision model {kind!r}, whose cost is not known; "
            "known is siglip_vision_model"
        )
    out = _decoder_fields(folder, text, "qwen2")["hidden_size"]
    chosen = config.get("vision_feature_layer", -1)
    width = int(vision["hidden_size"])
    features = width * (len(chosen) if isinstance(chosen, list) else 1)
    shown = VisionShape(
        layers=int(vision["num_hidden_layers"]),
        width=width,
        intermediate=int(vision["intermediate_size"]),
        patch=_pair(vision["patch_size"]),
        merge=2,
        projector=((features, out), (out, out)),
        channels=int(vision["num_channels"]),
        image=_pair(vision["image_size"]),
        pooled=True,
        pooling_head=bool(vision["vision_use_head"]),
    )
    return _decoder(folder, config, text, "qwen2", shown)


def _qwen2_5_vl(folder: Path, config: Fields) -> ModelShape:
    # Published files have the fields of the text decoder beside vision_config.
    text = _inner(folder, config, "text_config")
    vision = QWEN2_5_VISION | (_inner(folder, config, "vision_config") or {})
    patch, merge = _pair(vision["patch_size"]), int(vision["spatial_merge_size"])
    settings = _video_processor(folder)
    size = settings.get("size") or {}
    least = settings.get("min_pixels") or size.get("shortest_edge") or 128 * 28 * 28
    most = settings.get("max_pixels") or size.get("longest_edge") or 768 * 28 * 28
    shown = _qwen_vision(
        vision,
        projectors=1,
        gated=True,
        pixels=(int(least), int(most)),
        window=int(vision["window_size"]) // merge // patch[0],
        full=tuple(int(index) for index in vision["fullatt_block_indexes"]),
    )
    fields = config if text is None else text
    return _decoder(folder, config, {**fields, "model_type": "qwen2_5_vl_text"}, "", shown)


def _qwen3_vl(folder: Path, config: Fields) -> ModelShape:
    text = _inner(folder, config, "text_config") or {}
    vision = QWEN3_VISION | (_inner(folder, config, "vision_config") or {})
    size = _video_processor(folder).get("size") or {}
    least = size.get("shortest_edge") or 128 * 32 * 32
    most = size.get("longest_edge") or 768 * 32 * 32
    shown = _qwen_vision(
        vision,
        projectors=1 + len(vision["deepstack_visual_indexes"]),
        gated=False,
        pixels=(int(least), int(most)),
        pixels_of_all=True,
    )
    return _decoder(folder, config, {**text, "model_type": "qwen3_vl_text"}, "", shown)


def _qwen_vision(vision: Fields, **more: Any) -> VisionShape:
    width, merge = int(vision["hidden_size"]), int(vision["spatial_merge_size"])
    wide = width * merge**2
    return VisionShape(
        layers=int(vision["depth"]),
        width=width,
        intermediate=int(vision["intermediate_size"]),
        patch=_pair(vision["patch_size"]),
        merge=merge,
        projector=((wide, wide), (wide, int(vision["out_hidden_size"]))),
        temporal=_pair(vision["temporal_patch_size"])[0],
        channels=int(vision["in_channels"]),
        **more,
    )


Reader = Callable[[Path, Fields], ModelShape]

READERS: dict[str, Reader] = {
    "internvl": _internvl,
    "internvl_chat": _internvl_chat,
    "llava_onevision": _llava_onevision,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
}
"""How to read each architecture, by the model_type of its config.json."""


def _decoder(
    folder: Path, config: Fields, text: Fields, kind: str, vision: VisionShape
) -> ModelShape:
    fields = _decoder_fields(folder, text, kind)
    heads = fields["num_attention_heads"]
    return ModelShape(
        model_type=str(config["model_type"]),
        text_type=str(text.get("model_type", kind)),
        layers=fields["num_hidden_layers"],
        width=fields["hidden_size"],
        heads=heads,
        kv_heads=fields["num_key_value_heads"] or heads,
        head_dim=fields["head_dim"] or fields["hidden_size"] // heads,
        intermediate=fields["intermediate_size"],
        vision=vision,
    )


def _decoder_fields(folder: Path, text: Fields, kind: str) -> dict[str, int]:
    """The sizes of a text decoder, 0 for one that follows from others."""
    kind = str(text.get("model_type", kind))
    if kind not in DECODERS:
        raise ConfigError(
            f"backbone {folder.name} has the text model {kind!r}, whose cost is not known; known "
            f"are {', '.join(sorted(DECODERS))}"
        )
    return {name: int(text.get(name, least) or 0) for name, least in DECODERS[kind].items()}


def _video_processor(folder: Path) -> Fields:
    """Settings of the video preprocessor, from the file where the library looks first."""
    joint = _json(folder / "processor_config.json").get("video_processor")
    if isinstance(joint, dict):
        return joint
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        if found := _json(folder / name):
            return found
    return {}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"backbone {path.parent.name}: {path.name} cannot be read") from error
    return found if isinstance(found, dict) else {}


def _inner(folder: Path, config: Fields, name: str) -> dict[str, Any] | None:
    found = config.get(name)
    if found is not None and not isinstance(found, dict):
        raise ConfigError(f"backbone {folder.name}: {name} of config.json is no JSON object")
    return found


def _pair(value: Any) -> tuple[int, int]:
    """A size given as one number or as two."""
    if isinstance(value, (list, tuple)):
        return int(value[0]), int(value[-1])
    return int(value), int(value)
