"""Durable writes: what is on disk after a power cut is either the old state or the new one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cache.keys import canonical


def sync_file(path: Path | str) -> None:
    """Force a file's bytes to the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Force a folder's entries to the disk, so that a rename in it survives a power cut."""
    try:
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        # Some network file systems do not know fsync of a folder; nothing stronger is to be had.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def sync_tree(root: Path) -> None:
    """Force every file below `root` to the disk, and then every folder, the deepest first."""
    folders = [root]
    for entry in walk(root):
        if entry.is_dir(follow_symlinks=False):
            folders.append(Path(entry.path))
        else:
            sync_file(entry.path)
    for folder in reversed(folders):
        sync_folder(folder)


def walk(root: Path | str) -> Iterator[os.DirEntry[str]]:
    """Every entry below `root`, a folder before what is in it, sorted by name."""
    with os.scandir(root) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file beside its place, force it to the disk and rename it there in one step."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        draft.write_bytes(content)
        sync_file(draft)
        draft.replace(path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def replace_json(path: Path, value: Any) -> None:
    """The same for a value as canonical JSON."""
    replace_bytes(path, (canonical(value) + "\n").encode("ascii"))


def clock_of(folder: Path) -> float:
    """The time by the file system's own clock, read off a file that is made for it.

    Compared with other time stamps of the same file system it gives true ages on a host whose
    clock is off.
    """
    probe = folder / f".clock.{uuid.uuid4().hex[:12]}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _sync(path: Path | str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_drafts(folder: Path, age_s: float = 24 * 3600) -> None:
    """Remove what `replace_bytes` and `clock_of` leave in a folder where their process is killed.

    Only what nobody has touched for `age_s` seconds: a younger one may be somebody's at this moment.
    """
    # A folder that cannot be read or written keeps them: they stand in nobody's way.
    with contextlib.suppress(OSError):
        found = [path for path in folder.iterdir() if _IS_DRAFT(path.name)]
        now = clock_of(folder) if found else 0.0
        for path in found:
            with contextlib.suppress(OSError):
                if now - path.stat().st_mtime >= age_s:
                    path.unlink()


_IS_DRAFT = re.compile(r"\..+\.tmp|\.clock\.[0-9a-f]+").fullmatch
