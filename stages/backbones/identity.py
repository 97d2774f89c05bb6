"""Where a backbone lies and what it is: its folder, and a digest of all that changes its numbers.

Nothing here imports a model library: `hiprobe plan` must know the identity without one.
"""

from __future__ import annotations

import json
import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from cache.digest import file_digest
from cache.errors import ConfigError
from cache.keys import canonical, hash_of

DTYPES = ("float32", "bfloat16", "float16")

PARTS = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "added_tokens.json",
        "special_tokens_map.json",
        "preprocessor_config.json",
        "processor_config.json",
        "video_preprocessor_config.json",
        "chat_template.json",
        "chat_template.jinja",
    }
)
"""Files beside the weights that change what a backbone computes."""

DOWNLOADED = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")
"""What is fetched from the hub: data only; never code (*.py) and never pickles (*.bin)."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")


def identify(
    model: str,
    revision: str,
    dtype: str,
    attention: str,
    remembered: MutableMapping[str, str],
) -> str:
    """The identity of a backbone on this machine: sha256, 64 hexadecimal digits.

    It covers the bytes of weights, configuration, tokenizer, preprocessor and chat template, the
    resolved dtype and the attention implementation; never a path. `remembered` keeps the digest of
    each file by name, size, modification time and inode, so that weights are read only once.
    Raises ConfigError where the folder is no checkpoint.
    """
    folder = resolve(model, revision, download=False)
    files = {path.name: _remembered_digest(path, remembered) for path in _identity_files(folder)}
    return hash_of({"files": files, "dtype": resolved_dtype(folder, dtype), "attention": attention})


def resolve(model: str, revision: str, *, download: bool) -> Path:
    """The local folder of a checkpoint given as a folder or as an id on the hub.

    Only with `download` is the network used. Raises ConfigError that says what is expected and how
    to get it.
    """
    if not model:
        raise ConfigError(
            "no backbone is named: set [backbone] model to the folder of a checkpoint "
            "or to its id on the hub"
        )
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision:
            raise ConfigError(
                f"[backbone] revision = {revision!r} belongs to an id on the hub, "
                f"and model {model!r} is a folder: leave it empty"
            )
        folder = folder.absolute()
    elif is_hub_id(model):
        folder = _snapshot(model, revision, download=download)
    else:
        raise ConfigError(
            f"backbone {model!r}: there is no such folder, and it is no id of the form owner/name"
        )
    _check_checkpoint(folder, model)
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a checkpoint; raises ConfigError where it is none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"backbone {folder.name}: config.json cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"backbone {folder.name}: config.json is no JSON object")
    return config


def resolved_dtype(folder: Path, dtype: str) -> str:
    """The dtype that the model runs in: the one asked for, or for "auto" the checkpoint's."""
    if dtype == "auto":
        config = read_config(folder)
        inner = config.get("text_config") or config.get("llm_config") or {}
        found = [c.get(name) for c in (config, inner) for name in ("dtype", "torch_dtype")]
        dtype = next((str(name).removeprefix("torch.") for name in found if name), "auto")
    if dtype not in DTYPES:
        raise ConfigError(
            f"backbone {folder.name}: dtype {dtype!r} found, one of {', '.join(DTYPES)} expected; "
            "set [backbone] dtype"
        )
    return dtype


def is_hub_id(model: str) -> bool:
    """Whether this has the form of an id on the hub, and there is no such folder."""
    return not Path(model).expanduser().is_dir() and _HUB_ID.fullmatch(model) is not None


def _check_checkpoint(folder: Path, model: str) -> None:
    """Raise ConfigError unless the folder holds a configuration and whole safetensors weights."""
    expected = "a folder with config.json and *.safetensors is expected"
    if not (folder / "config.json").is_file():
        raise ConfigError(f"backbone {model!r} holds no config.json: {expected}")
    if not any(folder.glob("*.safetensors")):
        pickles = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        hint = (
            "; its weights are pickles, which are never read: convert them to safetensors"
            if pickles
            else ""
        )
        raise ConfigError(f"backbone {model!r} holds no *.safetensors: {expected}{hint}")
    for index in folder.glob("*.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"backbone {model!r}: {index.name} is unreadable") from error
        missing = sorted(name for name in shards if not (folder / str(name)).is_file())
        if missing:
            raise ConfigError(
                f"backbone {model!r} is incomplete: {index.name} lists {missing[0]}, which is not "
                f"there ({len(missing)} of {len(shards)} files are missing); download it again"
            )


def _identity_files(folder: Path) -> list[Path]:
    names = (
        path
        for path in folder.iterdir()
        if path.name in PARTS or path.name.endswith((".safetensors", ".safetensors.index.json"))
    )
    return sorted(path for path in names if path.is_file())


def _remembered_digest(path: Path, remembered: MutableMapping[str, str]) -> str:
    stat = path.stat()
    key = canonical([path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino])
    if key not in remembered:
        remembered[key] = file_digest(path)
    return remembered[key]


def _snapshot(model: str, revision: str, *, download: bool) -> Path:
    """The folder of a hub checkpoint in the hub's own local cache."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"backbone {model!r} is an id on the hub, and {error.name} is not installed: pip install "
            '"hiprobe[models]", or give backbone.identity to go without the model'
        ) from error

    at = f" --revision {revision}" if revision else ""
    try:
        return Path(
            snapshot_download(
                model,
                revision=revision or None,
                allow_patterns=list(DOWNLOADED),
                ignore_patterns=["*/*"],
                local_files_only=not download,
            )
        )
    except LocalEntryNotFoundError as error:
        raise ConfigError(
            f"backbone {model!r} is not on this machine and is no folder: download it with "
            f"`hf download {model}{at}`, or set [backbone] model to a folder that holds it"
        ) from error
    except HfHubHTTPError as error:
        raise ConfigError(f"backbone {model!r}{at} cannot be downloaded: {error}") from error
