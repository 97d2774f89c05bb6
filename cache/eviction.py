"""Eviction: the payload of an artifact is given up, its record stays.

One rename says that the payload is gone; only then is it deleted. So a reader finds an artifact
whole or finds it evicted, and a deletion that was interrupted can be finished at any time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from cache.artifact import EVICTED, Artifact
from cache.atomic import sync_folder, walk
from cache.commit import RECORD
from cache.errors import MissingArtifact
from cache.store import Store
from cache.trash import waste_of


def evict(store: Store, stage: str, key: str) -> int:
    """Give up the payload of one artifact of this very store; returns the bytes that were freed.

    Raises DamagedArtifact where its record cannot be read (nothing could go by it), MissingArtifact
    where there is no payload: somebody else may have been faster.
    """
    path = store.folder(stage, key)
    freed = Artifact(stage, key, path).commit.bytes if path.exists() else 0
    target = path.with_name(key + EVICTED)
    if target.exists() and path.exists():  # left by somebody who made it again and was killed
        discard(store, target)
    try:
        path.rename(target)
    except FileNotFoundError as error:
        raise MissingArtifact(f"{stage}/{key} is not in the store {store.root}") from error
    # On the disk before a byte is deleted: after a power cut it is there whole, or evicted.
    sync_folder(target.parent)
    finish(store, target)
    return freed


def finish(store: Store, folder: Path) -> int:
    """Delete what is left of the payload in the folder of an evicted artifact; returns its bytes."""
    waste, size = None, 0
    with contextlib.suppress(FileNotFoundError):  # made again, or collected, this moment
        for entry in list(os.scandir(folder)):
            if entry.name != RECORD:
                waste = waste or waste_of(store)
                size += size_of(Path(entry.path))
                Path(entry.path).rename(waste / entry.name)
    if waste is not None:
        shutil.rmtree(waste, ignore_errors=True)
    return size


def finish_all(store: Store) -> int:
    """Finish what interrupted evictions left, in every stage; returns bytes."""
    size = 0
    for stage in store.stages():
        for key in store.listing(stage).evicted:
            size += finish(store, store.folder(stage, key + EVICTED))
    return size


def discard(store: Store, folder: Path) -> None:
    """Delete a folder of the store that nobody needs: out of sight in one step, then for good."""
    waste = waste_of(store)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(waste / folder.name)
    shutil.rmtree(waste, ignore_errors=True)


def size_of(path: Path) -> int:
    """Bytes of the files at or below a path; what vanishes meanwhile counts nothing."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        return sum(
            entry.stat(follow_symlinks=False).st_size
            for entry in walk(path)
            if not entry.is_dir(follow_symlinks=False)
        )
    return 0
