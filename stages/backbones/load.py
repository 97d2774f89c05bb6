"""From a reference to a loaded backbone, once per process."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path

from cache.errors import ConfigError
from stages.backbones.contract import Backbone, Family
from stages.backbones.identity import identify, read_config, resolve, resolved_dtype
from stages.backbones.reference import BackboneReference

FAMILIES: dict[str, tuple[str, str]] = {
    "internvl": ("stages.backbones.families.internvl", "InternVL"),
    "internvl_chat": ("stages.backbones.families.internvl_chat", "InternVLChat"),
    "llava_onevision": ("stages.backbones.families.llava_onevision", "LlavaOneVision"),
    "qwen2_5_vl": ("stages.backbones.families.qwen2_5_vl", "Qwen2_5VL"),
    "qwen3_vl": ("stages.backbones.families.qwen3_vl", "Qwen3VL"),
}
"""Module and class of each family, by the model_type of config.json. To add one: docs/backbones.md."""

_LOADED: dict[BackboneReference, Backbone] = {}
_LOCK = threading.Lock()


def load(reference: BackboneReference) -> Backbone:
    """The backbone of a reference; the second call in a process gives the same object.

    Nothing is downloaded and no code of the checkpoint is run. Raises ConfigError for an unknown
    architecture, an unusable device, or where the files are not those that `identity` names.
    """
    with _LOCK:
        if reference not in _LOADED:
            _LOADED[reference] = _load(reference)
        return _LOADED[reference]


def adopt(reference: BackboneReference, backbone: Backbone) -> None:
    """Let `load` give this backbone for a reference: one that was made without weight files."""
    with _LOCK:
        _LOADED[reference] = backbone


def forget() -> None:
    """Let go of every loaded backbone."""
    with _LOCK:
        _LOADED.clear()


def _load(reference: BackboneReference) -> Backbone:
    from safetensors import SafetensorError

    from stages.backbones.multimodal import Multimodal

    folder = resolve(reference.model, reference.revision, download=False)
    family = family_of(folder)
    dtype = resolved_dtype(folder, reference.dtype)
    try:
        backbone = Multimodal(family, dtype, reference.attention, _device(reference.device))
    except SafetensorError as error:
        raise ConfigError(
            f"backbone {folder.name}: its weights cannot be read ({error}): a file is damaged or was "
            "only partly downloaded; get it again"
        ) from error
    if reference.identity:
        # After loading, so that files exchanged while they were read are noticed too.
        found = identify(
            reference.model, reference.revision, reference.dtype, reference.attention, {}
        )
        if found != reference.identity:
            raise ConfigError(
                f"backbone {folder.name} is not the one that was planned with: identity "
                f"{reference.identity[:12]} expected, {found[:12]} found; its files or its dtype "
                "or attention changed since: plan again"
            )
    return backbone


def family_of(folder: Path) -> Family:
    """The family of a checkpoint folder, made from its small files; no weights are read.

    Raises ConfigError for an architecture that is not supported, naming those that are.
    """
    model_type = str(read_config(folder).get("model_type"))
    if model_type not in FAMILIES:
        raise ConfigError(
            f"backbone {folder.name} has the architecture {model_type!r}; supported: "
            f"{', '.join(sorted(FAMILIES))}"
        )
    module, name = FAMILIES[model_type]
    family: Family = getattr(importlib.import_module(module), name)(folder)
    return family


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ConfigError(
            f"[backbone] device = {device!r}: expected auto, cpu, cuda or cuda:0 and so on"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"[backbone] device = {device!r}, and torch sees no GPU on this machine: use auto or cpu"
        )
    return device
