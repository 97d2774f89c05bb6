"""Finished blocks of a long video, kept through an interruption."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.digest import file_digest


class Parts:
    """Blocks of hidden states as raw files in a folder, each with its sha256 in its name.

    The folder belongs to one key, so a block that is there and whole is the right one. A file that
    was torn by a crash or changed since does not match its name and is not used.
    """

    def __init__(self, folder: Path, dtype: str) -> None:
        self._folder = folder
        self._dtype = np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")

    def find(self, start: int, shape: tuple[int, int, int]) -> Path | None:
        """The whole block that begins at segment `start`, or None; removes what is not whole."""
        size = int(np.prod(shape)) * self._dtype.itemsize
        found = None
        for path in sorted(self._folder.glob(f"{start:08d}-*.part")):
            digest = path.stem.partition("-")[2]
            if path.stat().st_size == size and file_digest(path) == digest:
                found = path
            else:
                path.unlink()
        return found

    def read(self, path: Path, shape: tuple[int, int, int]) -> NDArray[Any]:
        """A block that `find` gave."""
        return np.fromfile(path, dtype=self._dtype).reshape(shape)

    def save(self, start: int, block: NDArray[Any]) -> None:
        """Keep a block: written beside its place, then renamed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = np.ascontiguousarray(block, dtype=self._dtype)
        digest = hashlib.sha256(content.data).hexdigest()
        draft = self._folder / f".{start:08d}.{os.getpid()}.tmp"
        try:
            content.tofile(draft)
            draft.replace(self._folder / f"{start:08d}-{digest}.part")
        finally:
            draft.unlink(missing_ok=True)
