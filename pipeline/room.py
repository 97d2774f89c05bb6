"""No room on a disk: said with what was needed and what is free, whatever was to be written."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from cache.catalog import load_catalog
from cache.drafts import Draft
from cache.errors import RunStopped
from cache.eviction import size_of
from cache.store import Store

FULL = (errno.ENOSPC, errno.EDQUOT)


class NoRoom(OSError):
    """A disk was full while an item was made; knows how far the item had come."""

    def __init__(self, cause: OSError, written: int, free: int) -> None:
        super().__init__(cause.errno, cause.strerror)
        self.written = written
        """Bytes that lay in its draft then."""
        self.free = free
        """Bytes that were free beside them."""


def is_full(error: OSError) -> bool:
    """Whether an error says that a disk, or a quota on it, is full."""
    return error.errno in FULL


def first_told(error: BaseException) -> BaseException | None:
    """What ended the run before this error, which came up on the way out, or None."""
    before = error.__context__
    while before is not None and not isinstance(before, RunStopped | KeyboardInterrupt):
        before = before.__context__
    return before


@contextlib.contextmanager
def measured(store: Store, draft: Draft) -> Iterator[None]:
    """Within this block a full disk is noticed while the draft still shows how far it came."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise NoRoom(error, size_of(draft.path), store.free_bytes()) from error


def text_for_item(store: Store, stage: str, item: str, error: OSError) -> str:
    """The message for an item that found no room in the store; its draft is gone again."""
    largest = max(
        (size for _, size in load_catalog(store, [stage])[stage].sizes.values()), default=0
    )
    told, needed = [], largest
    if isinstance(error, NoRoom):
        needed = max(needed, error.written + error.free + 1)
        told.append(f"it had written {error.written:,} when the disk was full")
    if largest:
        told.append(f"{stage} has made items of up to {largest:,}")
    why = f" ({'; '.join(told)})" if told else ""
    return (
        f"no space left for the store: {stage} of {item} needs at least {max(needed, 1):,} bytes"
        f"{why}, and there are {store.free_bytes():,} bytes that are free"
        f"{_without_files(store.root)}; {WHAT_TO_DO}"
    )


WHAT_TO_DO = "make room and run again, nothing is lost"


def text_for_place(error: OSError, *places: Path) -> str:
    """The message for anything else that found no room; the fullest of the places is meant."""
    named = [Path(os.fsdecode(error.filename))] if error.filename is not None else []
    free, place = min(
        (_free(path), path) for path in map(_there, [*named, *places] or [Path.cwd()])
    )
    # What was to be written is gone with its draft: one block more than there is, at the least.
    needed = free + os.statvfs(place).f_frsize
    return (
        f"no space left in {place}: {named[0].name if named else 'what had to be written'} needs at "
        f"least {needed:,} bytes, and there are {free:,} bytes that are free"
        f"{_without_files(place)}; {WHAT_TO_DO}"
    )


@contextlib.contextmanager
def stops_when_full(*places: Path) -> Iterator[None]:
    """Raise RunStopped, with the figures, where this block finds one of these disks full."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        before = first_told(error)
        if before is not None:
            raise before from error
        raise RunStopped(text_for_place(error, *places)) from error


def _there(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), Path.cwd())


def _free(place: Path) -> int:
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def _without_files(place: Path) -> str:
    """A disk can have bytes left and no room for one more file."""
    found = os.statvfs(place)
    return f" (but 0 of {found.f_files:,} files)" if found.f_files and not found.f_favail else ""
