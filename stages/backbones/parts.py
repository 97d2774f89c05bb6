"""Finished blocks of a long video, kept through an interruption."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.digest import file_digest

Shapes = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and NumPy dtype of each array of a block, by its name."""


class Parts:
    """Blocks of numbers as raw files in a folder, each with its sha256 in its name.

    The folder belongs to one key, so a block that is there and whole is the right one, where it was
    made from the video as it is now: `seal` is in the name, too. A file that was torn by a crash or
    changed since does not match its name and is not used.
    """

    def __init__(self, folder: Path, seal: str = "") -> None:
        self._folder = folder
        self._seal = f"{seal}-" if seal else ""

    def find(self, start: int, shapes: Shapes) -> dict[str, Path] | None:
        """The files of the whole block that begins at segment `start`, or None.

        Removes what is not whole.
        """
        found = {}
        for name, (shape, dtype) in shapes.items():
            size = int(np.prod(shape)) * _stored(dtype).itemsize
            for path in sorted(self._folder.glob(f"{start:08d}-{name}-{self._seal}*.part")):
                digest = path.stem.rpartition("-")[2]
                if path.stat().st_size == size and file_digest(path) == digest:
                    found[name] = path
                else:
                    path.unlink()
        return found if len(found) == len(shapes) else None

    def read(self, files: Mapping[str, Path], shapes: Shapes) -> dict[str, NDArray[Any]]:
        """A block that `find` gave."""
        return {
            name: np.fromfile(files[name], dtype=_stored(dtype)).reshape(shape)
            for name, (shape, dtype) in shapes.items()
        }

    def save(self, start: int, block: Mapping[str, NDArray[Any]]) -> None:
        """Keep a block: each array written beside its place, then renamed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, values in block.items():
            content = np.ascontiguousarray(values, dtype=_stored(values.dtype.name))
            digest = hashlib.sha256(content.data).hexdigest()
            # A name of its own: another process may have taken this item over meanwhile.
            draft = self._folder / f".{start:08d}-{name}.{uuid.uuid4().hex[:12]}.tmp"
            try:
                # Not tofile, whose error does not say that the disk is full.
                draft.write_bytes(content.data)
                draft.replace(self._folder / f"{start:08d}-{name}-{self._seal}{digest}.part")
            finally:
                draft.unlink(missing_ok=True)


def _stored(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")
