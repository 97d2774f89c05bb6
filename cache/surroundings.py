"""What lies in a store around its artifacts: its mark, roots and pins, and what does not belong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cache.artifact import EVICTED
from cache.errors import StoreError, StoreTooNew
from cache.keys import canonical
from cache.layout import FORMAT, IS_KEY, MARK, OTHER_FOLDERS, check_format, is_stage
from cache.roots import read_root
from cache.store import Store

_AT_THE_TOP = frozenset((MARK, "CACHEDIR.TAG", *OTHER_FOLDERS))


@dataclass(frozen=True, slots=True)
class Misfit:
    """Something in a store that is no artifact and not as it should be."""

    path: str
    """Relative to the store."""
    message: str
    damaged: bool
    """False for what only lies there: nothing reads it."""


def misfits(store: Store) -> Iterator[Misfit]:
    """Everything that is wrong around the artifacts of this very store."""
    yield from _mark(store)
    yield from _roots(store)
    yield from _strays(store)


def _mark(store: Store) -> Iterator[Misfit]:
    expected = f"{canonical({'hiprobe_store': FORMAT})}\n"
    try:
        check_format(store.root)
        if (store.root / MARK).read_text() != expected:
            yield Misfit(MARK, f"it does not say {expected.strip()}, as a whole one does", True)
    except StoreError as error:
        yield Misfit(MARK, str(error), True)


def _roots(store: Store) -> Iterator[Misfit]:
    for folder in ("roots", "pins"):
        for path in sorted((store.root / folder).glob("*")):
            name = f"{folder}/{path.name}"
            if path.suffix != ".txt":
                if not path.name.startswith("."):
                    yield Misfit(name, _FOREIGN, False)
                continue
            try:
                read_root(path, pinned=folder == "pins")
            except FileNotFoundError:
                continue  # taken away this moment
            except StoreTooNew as error:
                yield Misfit(name, str(error), False)
            except StoreError as error:
                yield Misfit(name, str(error), True)


_FOREIGN = "it is no part of a store: nothing reads it"


def _strays(store: Store) -> Iterator[Misfit]:
    for entry in _sorted(store.root):
        if entry.name in _AT_THE_TOP:
            continue
        if not (is_stage(entry.name) and entry.is_dir()):
            yield Misfit(entry.name, _FOREIGN, False)
            continue
        for ab in _sorted(entry.path):
            if len(ab.name) != 2 or not ab.is_dir() or not IS_KEY(32 * ab.name):
                yield Misfit(f"{entry.name}/{ab.name}", _FOREIGN, False)
                continue
            for folder in _sorted(ab.path):
                if (why := _no_artifact(folder, ab.name)) and os.path.lexists(folder.path):
                    yield Misfit(f"{entry.name}/{ab.name}/{folder.name}", why, False)


def _no_artifact(folder: os.DirEntry[str], ab: str) -> str:
    key = folder.name.removesuffix(EVICTED)
    if not IS_KEY(key):
        return _FOREIGN
    if key.startswith(ab):
        return ""
    return f"an artifact of this key belongs into the folder {key[:2]}: nothing finds it here"


def _sorted(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
