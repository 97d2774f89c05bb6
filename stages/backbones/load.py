"""From a reference to a loaded backbone, once per process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from cache.errors import ConfigError
from stages.backbones.contract import Backbone
from stages.backbones.identity import identify, read_config, resolve, resolved_dtype
from stages.backbones.reference import BackboneReference

Maker = Callable[[Path, str, str, str], Backbone]

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


def forget() -> None:
    """Let go of every loaded backbone."""
    with _LOCK:
        _LOADED.clear()


def _load(reference: BackboneReference) -> Backbone:
    folder = resolve(reference.model, reference.revision, download=False)
    make = _adapter(folder)
    dtype = resolved_dtype(folder, reference.dtype)
    backbone = make(folder, dtype, reference.attention, _device(reference.device))
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


def _internvl(folder: Path, dtype: str, attention: str, device: str) -> Backbone:
    from stages.backbones.internvl import InternVL

    return InternVL(folder, dtype, attention, device)


ADAPTERS: dict[str, Maker] = {"internvl": _internvl}
"""How to load each architecture, by the model_type of its config.json."""


def _adapter(folder: Path) -> Maker:
    model_type = str(read_config(folder).get("model_type"))
    if model_type == "internvl_chat":
        raise ConfigError(
            f"backbone {folder.name} has the original InternVL layout (internvl_chat), which is "
            "not supported yet and would need its own code: use the same model's -hf conversion, "
            "such as OpenGVLab/InternVL3-8B-hf or OpenGVLab/InternVL2_5-8B-MPO-hf"
        )
    if model_type not in ADAPTERS:
        raise ConfigError(
            f"backbone {folder.name} has the architecture {model_type!r}; supported: "
            f"{', '.join(sorted(ADAPTERS))}"
        )
    return ADAPTERS[model_type]


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
