"""One artifact from a remote store into a store: nobody sees it before every byte was checked.

It grows in a folder under staging/ that outlives an interruption. A file in it is whole: it was
written beside, digested meanwhile, and then renamed. The record comes last, everything is forced to
the disk, and one rename puts the folder into its place.

Several processes may want the same artifact: the claim of its key says who fetches it, and the
others wait. That saves work; that nothing goes wrong without it follows from the renames: who takes
over what another has begun takes the folder away from him.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from cache.atomic import sync_tree, walk
from cache.commit import RECORD, Commit, FileEntry
from cache.digest import file_digest
from cache.errors import DamagedArtifact, RunStopped
from cache.moved import ABSENT, DAMAGED, DIFFERS, MOVED, PRESENT, Moved, Tick
from cache.remote import Remote, checked, place
from cache.store import Store

BUSY_S = 0.2
"""Seconds between two looks at an artifact that another process is fetching or making."""
TAKEN = 20
"""Times that others may take away what was begun: each does so once, and somebody gets on."""
BEGUN = "pull~"
"""How the name of a folder of fetched files begins, among the finished parts of an item."""
GIVEN_UP = "gone~"
"""How it begins for one that is being removed."""
WHOLE, WRITING = "whole", "writing"


def download(
    remote: Remote,
    stage: str,
    key: str,
    store: Store,
    *,
    dry_run: bool = False,
    tick: Tick = lambda count: None,
) -> Moved:
    """Fetch an artifact that is not in a store; says what became of it.

    One that is evicted here is fetched again, if it still has the content that it had. Raises
    Unreachable where the connection breaks off (what has arrived is kept for the next try),
    RunStopped where the disk is too small.
    """
    taken = 0
    while True:
        if store.find(stage, key) is not None:
            if not dry_run:
                _tidy(store, key)
            return Moved(stage, key, PRESENT)
        if dry_run:
            return _fetch(remote, stage, key, store, tick, dry_run=True)
        with store.claims.hold(f"{stage}~{key}") as got:
            if got and store.find(stage, key) is None:
                try:
                    return _fetch(remote, stage, key, store, tick, fresh=taken > 0)
                except (FileNotFoundError, FileExistsError):
                    # Somebody who did not see our claim has taken our folder away.
                    taken += 1
                    if taken == TAKEN:
                        raise
        tick(0)
        time.sleep(0 if got else BUSY_S)


def _fetch(
    remote: Remote,
    stage: str,
    key: str,
    store: Store,
    tick: Tick,
    *,
    dry_run: bool = False,
    fresh: bool = False,
) -> Moved:
    content = remote.record(stage, key)
    if content is None:
        return Moved(stage, key, ABSENT)
    try:
        commit = checked(content, stage, key, remote.shown)
        size = commit.bytes + len(content)
        before = store.record(stage, key)
        if before is not None and before.digest != commit.digest:
            text = f"{before.name} had other content before it was evicted here: left as it is"
            return Moved(stage, key, DIFFERS, message=text)
        if dry_run:
            return Moved(stage, key, MOVED, size)
        _check_room(store, commit)
        folder = _begin(store, key, fresh)
        _fill(folder, remote, commit, content, tick)
    except DamagedArtifact as error:
        _tidy(store, key)
        return Moved(stage, key, DAMAGED, message=str(error))
    store.move_in(folder / WHOLE, stage, key)
    _tidy(store, key)
    return Moved(stage, key, MOVED, size)


def _tidy(store: Store, key: str) -> None:
    """Remove what was begun for a key; finished parts of another kind stay, who makes it has them."""
    with contextlib.suppress(OSError):  # not empty, or somebody else tidies up this moment
        for left in os.scandir(store.parts(key)):
            if left.name.startswith(BEGUN):
                _remove(Path(left.path))
            elif left.name.startswith(GIVEN_UP):
                shutil.rmtree(left.path, ignore_errors=True)
        store.parts(key).rmdir()


def _remove(folder: Path) -> None:
    """Remove a folder that somebody may be renaming this moment.

    It is renamed first: files are deleted through an open folder, wherever that goes meanwhile, and
    must not be those of an artifact that has just been put into its place.
    """
    gone = folder.with_name(f"{GIVEN_UP}{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _check_room(store: Store, commit: Commit) -> None:
    free = store.free_bytes()
    if commit.bytes > free:
        raise RunStopped(
            f"no space left for the store: {commit.stage}/{commit.key} has {commit.bytes:,} bytes, "
            f"{free:,} are free; make room and pull again, nothing is lost"
        )


def _begin(store: Store, key: str, fresh: bool) -> Path:
    """A folder of our own for the files: what somebody has begun and left, or a new one."""
    parts = store.parts(key)
    parts.mkdir(parents=True, exist_ok=True)
    ours = parts / f"{BEGUN}{uuid.uuid4().hex}"
    for left in () if fresh else sorted(parts.glob(f"{BEGUN}*")):
        if ours.exists():
            _remove(left)
        else:
            try:
                left.rename(ours)
            except FileNotFoundError:
                continue  # somebody else was faster
    shutil.rmtree(ours / WRITING, ignore_errors=True)
    for name in (WHOLE, WRITING):
        (ours / name).mkdir(parents=True, exist_ok=True)
    return ours


def _fill(folder: Path, remote: Remote, commit: Commit, content: bytes, tick: Tick) -> None:
    """Bring every file of a record into a folder, and the record last; force all to the disk."""
    whole = folder / WHOLE
    if _holds_others(whole, commit):
        _remove(whole)  # begun from another record
        whole.mkdir()
    for entry in commit.files:
        target = whole / entry.path
        if not _is_whole(target, entry):
            draft = folder / WRITING / uuid.uuid4().hex
            _fetch_file(remote, commit, entry, draft, tick)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(target)
    draft = folder / WRITING / RECORD
    draft.write_bytes(content)
    draft.replace(whole / RECORD)
    tick(len(content))
    sync_tree(whole)


def _fetch_file(remote: Remote, commit: Commit, entry: FileEntry, draft: Path, tick: Tick) -> None:
    digest, size = hashlib.sha256(), 0
    with draft.open("wb") as file:
        for block in _payload(remote, commit, entry):
            size += len(block)
            if size > entry.bytes:
                break  # whoever sends without end does not fill the disk
            digest.update(block)
            file.write(block)
            tick(len(block))
    if size != entry.bytes or digest.hexdigest() != entry.sha256:
        found = f"more than {entry.bytes}" if size > entry.bytes else str(size)
        what = "another sha256" if size == entry.bytes else f"{found} bytes"
        raise _damaged(
            remote, commit, entry, f"should have {entry.bytes} bytes and the sha256 of its record, found {what}"
        )  # fmt: skip


def _payload(remote: Remote, commit: Commit, entry: FileEntry) -> Iterator[bytes]:
    try:
        yield from remote.blocks(f"{place(commit.stage, commit.key)}/{entry.path}")
    except FileNotFoundError as error:
        raise _damaged(remote, commit, entry, "is listed in its record and is not there") from error


def _damaged(remote: Remote, commit: Commit, entry: FileEntry, what: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"{commit.stage}/{commit.key} of {remote.shown}: {entry.path} {what}; "
        "`hiprobe cache push --check` from a store that holds it puts it right"
    )


def _is_whole(path: Path, entry: FileEntry) -> bool:
    try:
        return path.stat().st_size == entry.bytes and file_digest(path) == entry.sha256
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _holds_others(whole: Path, commit: Commit) -> bool:
    """Whether a folder holds something that no file of the record, or folder of one, is."""
    files = {entry.path for entry in commit.files} | {RECORD}
    folders = {str(parent) for name in files for parent in Path(name).parents}
    for entry in walk(whole):
        name = Path(entry.path).relative_to(whole).as_posix()
        if name not in (folders if entry.is_dir(follow_symlinks=False) else files):
            return True
    return False
