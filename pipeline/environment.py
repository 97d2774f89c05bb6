"""What an artifact was made with: versions, machine, and the digest of the stage's own source."""

from __future__ import annotations

import functools
import hashlib
import platform
import socket
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "hiprobe", "av", "dask", "numpy", "pillow", "pyarrow", "scikit-learn", "scipy", "torch",
    "transformers", "zarr",
)  # fmt: skip
COMPANIONS = {
    "decode": ("video",),
    "sample": ("video",),
    "forward": ("backbones", "video"),
    "forward_selected": ("backbones", "video"),
    "explain": ("backbones", "video"),
    "moments": ("probes",),
    "statistics": ("probes",),
    "crossvalidate": ("probes",),
    "select": ("probes",),
    "fit": ("probes",),
    "score": ("probes",),
    "localize": ("probes",),
    "evaluate": ("probes",),
    "projection": ("probes",),
    "report": ("reporting",),
}
"""Folders of stages/ that hold the numerics of a stage: part of its source."""


def environment(stage: str) -> dict[str, Any]:
    """Versions, host and source digest, for the commit record of an artifact of this stage."""
    return {**_machine(), "source": source_digest(stage)}


@functools.cache
def source_digest(stage: str) -> str:
    """sha256 over the Python source of a stage and of the folders that it computes with.

    Not part of any key: `hiprobe status` warns where it changed and the version did not.
    """
    root = Path(__file__).parent.parent / "stages"
    files = [root / f"{stage}.py"]
    for folder in COMPANIONS.get(stage, ()):
        files += sorted((root / folder).rglob("*.py"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _machine() -> dict[str, Any]:
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "host": socket.gethostname(),
        "packages": {name: _version(name) for name in PACKAGES},
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
        found["cuda"] = torch.version.cuda
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
