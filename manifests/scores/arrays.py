"""Scores in NumPy files: a folder of one array per video, an archive of them, or one for all."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cache.errors import ConfigError
from manifests.scores.contract import Floats, VideoScores, floats_of


def read_folder(folder: Path) -> dict[str, VideoScores]:
    """The scores of `<name>.npy` files in a folder and the folders in it; names are paths."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".npy" and p.is_file())
    if not paths:
        held = sorted({p.suffix for p in folder.rglob("*") if p.is_file()})
        raise ConfigError(
            f"{folder} holds no .npy file; it has files that end in {', '.join(held) or 'nothing'}: "
            "name the one that holds the scores"
        )
    found = {}
    for path in paths:
        video = path.relative_to(folder).as_posix()[: -len(path.suffix)]
        found[video] = VideoScores(video, read_array(path))
    return found


def read_archive(path: Path) -> dict[str, VideoScores]:
    """The scores of an .npz archive: one array per video, under its name."""
    return {name: VideoScores(name, values) for name, values in _archived(path)}


def read_array(path: Path) -> Floats:
    """The one-dimensional array of an .npy file."""
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable(path, error) from error
    return _flat(values, str(path))


def _archived(path: Path) -> Iterator[tuple[str, Floats]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                yield name, _flat(archive[name], f"{path}, {name}")
    except ConfigError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _flat(values: Any, what: str) -> Floats:
    found = floats_of(values, what)
    # [n, 1] and [1, n] are what a network's last layer leaves behind, and can mean one thing only
    if found.ndim == 0 or found.size != max(found.shape):
        raise ConfigError(
            f"{what}: expected one score after the other, found an array of shape {found.shape}"
        )
    return found.reshape(-1)


def _unreadable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path} is not a NumPy file of plain numbers ({error}); objects are never unpickled: save "
        "it again as an array of float64"
    )
