"""Trash: what is taken out of sight before it is certain that nobody needs it.

<store>/staging/trash/gc~<host>~<pid>~<id>/<stage>~<key>[.evicted]    can be put back
<store>/staging/waste~<host>~<pid>~<id>/                              is being deleted

A folder of an artifact is moved by one rename, and whoever collects decides over what lies in the
trash. If that process dies before, the next look puts everything back; afterwards, what is left is
swept like the draft of a dead process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from cache.artifact import EVICTED
from cache.atomic import sync_folder
from cache.claims import this_host
from cache.layout import IS_KEY, is_stage
from cache.store import Store, is_abandoned

TRASH = "trash"


class Trash:
    """The trash of one process in one store."""

    def __init__(self, store: Store, path: Path | None = None) -> None:
        self._store = store
        self.path = path or store.root / "staging" / TRASH / _own_name("gc")

    def take(self, folder: Path) -> bool:
        """Take the folder of an artifact out of sight; False where it is gone already."""
        stage = folder.parent.parent.name
        try:
            self._make()
            folder.rename(self.path / f"{stage}~{folder.name}")
        except FileNotFoundError:
            return False
        sync_folder(folder.parent)
        return True

    def _make(self) -> None:
        # Another process may remove the folder of all trash while it is empty.
        while not self.path.is_dir():
            with contextlib.suppress(FileNotFoundError):
                self.path.mkdir(parents=True, exist_ok=True)

    def content(self) -> Iterator[tuple[str, str, Path]]:
        """(stage, name of the folder there, where it lies now) of everything in it."""
        if not self.path.is_dir():
            return
        for path in sorted(self.path.iterdir()):
            stage, _, name = path.name.partition("~")
            if is_stage(stage) and IS_KEY(name.removesuffix(EVICTED)):
                yield stage, name, path

    def put_back(self, stage: str, name: str) -> bool:
        """Put one back; False where another was made in its place, which then stays."""
        path = self.path / f"{stage}~{name}"
        key = name.removesuffix(EVICTED)
        # Two may put back the same, and one made meanwhile is as good.
        with contextlib.suppress(FileNotFoundError):
            if name == key:
                self._store.move_in(path, stage, key)
            elif not self._store.folder(stage, key).exists():
                target = self._store.folder(stage, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                _rename_unless_there(path, target)
                sync_folder(target.parent)
        return not path.exists()

    def put_all_back(self) -> int:
        """Put everything back; returns how many. What was made anew meanwhile is dropped here."""
        count = sum(self.put_back(stage, name) for stage, name, _ in self.content())
        self.empty()
        return count

    def empty(self) -> None:
        """Delete what is in it: from here on none of it can be put back."""
        if self.path.is_dir():
            waste = waste_of(self._store)
            with contextlib.suppress(FileNotFoundError):
                self.path.rename(waste / "trash")
            shutil.rmtree(waste, ignore_errors=True)
        with contextlib.suppress(OSError):  # others have theirs there, or it never was
            self.path.parent.rmdir()


def waste_of(store: Store) -> Path:
    """A new folder for what is to be deleted; the next sweep does it where this process dies."""
    waste = store.root / "staging" / _own_name("waste")
    waste.mkdir(parents=True)
    return waste


def recover(store: Store, age_s: float = 24 * 3600) -> int:
    """Put back what processes that are gone had in their trash; returns how many artifacts.

    Whether a process of another host lives cannot be asked: `age_s` seconds without a change in its
    trash have to do.
    """
    folder = store.root / "staging" / TRASH
    if not folder.is_dir():
        return 0
    gone = [path for path in sorted(folder.iterdir()) if is_abandoned(path, age_s)]
    count = sum(Trash(store, path).put_all_back() for path in gone)
    with contextlib.suppress(OSError):  # somebody is at work there
        folder.rmdir()
    return count


def _own_name(what: str) -> str:
    return f"{what}~{this_host()}~{os.getpid()}~{uuid.uuid4().hex[:12]}"


def _rename_unless_there(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
