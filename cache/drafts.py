"""An artifact in the making: its folder, and the digests of what is finished before the rest is."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.atomic import sync_file, walk
from cache.commit import RECORD, FileEntry
from cache.digest import file_digest
from cache.errors import DamagedArtifact
from cache.keys import Keymaker

Seal = tuple[int, int, int]
"""Size, time of the last change and inode of a file: while it stays, so does its digest."""


class EarlyDigests:
    """Digests files in one thread and forces them to the disk in another, while more are written."""

    def __init__(self) -> None:
        self._digesting = ThreadPoolExecutor(1, "digest")
        self._forcing = ThreadPoolExecutor(1, "sync")
        self._found: dict[str, tuple[Future[tuple[Seal, str]], Future[None]]] = {}

    def add(self, path: Path) -> None:
        """Begin with one file, which nobody will touch any more."""
        name = os.fspath(path)
        self._found[name] = (
            self._digesting.submit(_digest, name),
            self._forcing.submit(sync_file, name),
        )

    def of(self, path: str) -> str:
        """The digest of a file, waited for where it was begun; computed where it was not.

        Raises the OSError that met a thread: a failed write to the disk is told only once.
        """
        if path in self._found:
            digested, forced = self._found[path]
            seal, digest = digested.result()
            forced.result()
            if seal == _seal(path):
                return digest
        return file_digest(path)

    def close(self) -> None:
        """Let go of the threads; what is not begun is not needed."""
        for pool in (self._digesting, self._forcing):
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Draft:
    """An artifact in the making: a folder that nobody sees until it is published."""

    path: Path
    stage: str
    version: int
    recipe: Mapping[str, Any]
    inputs: Mapping[str, Any]
    early: EarlyDigests = field(default_factory=EarlyDigests)

    @functools.cached_property
    def key(self) -> str:
        """The key under which it will be published."""
        return Keymaker(self.stage, self.version, self.recipe).key(self.inputs)

    def finished(self, path: Path) -> None:
        """Take note that a payload file is complete, so that it is digested while others are made."""
        self.early.add(path)

    def files(
        self, auxiliary: frozenset[str], logical: Callable[[Path], str] | None
    ) -> tuple[FileEntry, ...]:
        """What the record will list. Raises DamagedArtifact for what cannot be part of a payload."""
        entries = []
        # As the umask was when the folder was made. Some libraries (safetensors) write files for one
        # user alone: nobody else could read them in a shared store.
        readable = self.path.stat().st_mode & 0o666
        for found in walk(self.path):
            if found.is_dir(follow_symlinks=False):
                continue
            name = os.path.relpath(found.path, self.path).replace(os.sep, "/")
            if not found.is_file(follow_symlinks=False):
                raise DamagedArtifact(
                    f"draft holds {name}, a link or device: a payload is made of plain files"
                )
            if name == RECORD:
                raise DamagedArtifact(f"draft holds {name}: that name is the commit record's")
            table = logical is not None and name.endswith(".parquet")
            said = logical(Path(found.path)) if logical is not None and table else ""
            stat, digest = found.stat(follow_symlinks=False), self.early.of(found.path)
            if readable & ~stat.st_mode:
                Path(found.path).chmod(stat.st_mode & 0o777 | readable)
            entries.append(FileEntry(name, stat.st_size, digest, said, name in auxiliary))
        missing = auxiliary - {entry.path for entry in entries}
        if missing:
            raise DamagedArtifact(f"draft lacks the files {sorted(missing)} that it declares")
        return tuple(entries)


def _digest(path: str) -> tuple[Seal, str]:
    seal = _seal(path)
    return seal, file_digest(path)


def _seal(path: str) -> Seal:
    stat = Path(path).lstat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
