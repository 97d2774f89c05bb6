"""The store: artifacts by stage and key, published in one step or not at all.

Stores that are only read (`shared`) may lie under one: what is not in it is looked for there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.artifact import EVICTED, Artifact, evicted
from cache.atomic import clear_drafts, clock_of, sync_folder, sync_tree, walk
from cache.claims import Claims, is_alive, this_host
from cache.commit import RECORD, Commit, content_digest, read_commit
from cache.drafts import Draft
from cache.errors import DamagedArtifact, MissingArtifact
from cache.keys import canonical
from cache.layout import IS_KEY, OTHER_FOLDERS, PARTS, check_format, is_stage, open_root


@dataclass(frozen=True, slots=True)
class Listing:
    """The artifact folders of one stage, by name alone: none of them was opened."""

    inodes: Mapping[str, int]
    """Inode by key. A key that was set aside and made again has another one."""
    evicted: frozenset[str]
    """The keys of which only the record was kept."""


class Store:
    """One store on a file system; several processes, on several machines, may use it at once."""

    def __init__(self, root: Path, shared: Sequence[Path] = ()) -> None:
        self.root = root
        self.shared = tuple(Store(path) for path in shared)
        """Stores that are read where this one does not hold an artifact; never written."""
        self.claims = Claims(root / "claims")

    @classmethod
    def open(cls, root: Path, shared: Sequence[Path] = ()) -> Store:
        """Open a store, making it where the folder is missing or empty.

        Raises NotAStore where a folder holds something else, or where there is no shared store;
        StoreTooNew for a newer format.
        """
        open_root(root)
        for path in shared:
            check_format(path)
        return cls(root, shared)

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact of this key lies, or would lie, in this very store."""
        return self.root.joinpath(stage, key[:2], key)

    def find(self, stage: str, key: str) -> Artifact | None:
        """The committed artifact of this key, here or in a shared store; None for an evicted one."""
        path = self.folder(stage, key)
        if (path / RECORD).exists():
            return Artifact(stage, key, path)
        for store in self.shared:
            found = store.find(stage, key)
            if found is not None and not self._is_distrusted(found):
                return found
        return None

    def record(self, stage: str, key: str) -> Artifact | None:
        """The same, but an evicted artifact is better than none: its record can be read."""
        found = self.find(stage, key)
        for store in (self, *self.shared):
            path = store.folder(stage, key + EVICTED)
            if found is None and (path / RECORD).exists():
                found = Artifact(stage, key, path)
        # One that was made again between these two looks is found by another.
        return found or self.find(stage, key)

    def artifact(self, stage: str, key: str) -> Artifact:
        """The committed artifact of this key. Raises MissingArtifact, or EvictedArtifact."""
        found = self.find(stage, key)
        if found is None and self.record(stage, key) is not None:
            raise evicted(f"{stage}/{key}")
        if found is None:
            raise MissingArtifact(f"{stage}/{key} is not in the store {self.root}")
        return found

    def stages(self) -> list[str]:
        """The stages that have a folder here."""
        return sorted(e.name for e in _entries(self.root) if e.is_dir() and is_stage(e.name))

    def keys(self, stage: str) -> list[str]:
        """Every key of a stage that has an artifact folder in this very store, or had a payload."""
        return list(self.listing(stage).inodes)

    def listing(self, stage: str) -> Listing:
        """The artifact folders of a stage in this very store: one listing per two-letter folder.

        What is not named like an artifact, or lies where no artifact of that name would, is none.
        """
        root = self.root / stage
        whole: dict[str, int] = {}
        evicted: dict[str, int] = {}
        for ab in _entries(root) if root.is_dir() else ():
            if not ab.is_dir() or len(ab.name) != 2:
                continue
            for entry in _entries(ab.path):
                key = entry.name.removesuffix(EVICTED)
                if key.startswith(ab.name) and IS_KEY(key):
                    (whole if key == entry.name else evicted)[key] = entry.inode()
        # One that was made again after it was evicted may have both folders for a moment.
        return Listing({**evicted, **whole}, frozenset(evicted.keys() - whole.keys()))

    def parts(self, key: str) -> Path:
        """A folder for finished parts of the item of this key; it outlives an interruption."""
        return self.root / "staging" / PARTS / key

    @contextmanager
    def draft(
        self, stage: str, version: int, recipe: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> Iterator[Draft]:
        """A fresh folder under staging/, removed on leaving unless it was published."""
        owner = f"{stage}~{this_host()}~{os.getpid()}~{uuid.uuid4().hex[:12]}"
        path = self.root / "staging" / owner
        path.mkdir(parents=True)
        draft = Draft(path, stage, version, recipe, inputs)
        try:
            yield draft
        finally:
            draft.early.close()
            if path.exists():
                shutil.rmtree(path, ignore_errors=True)

    def publish(
        self,
        draft: Draft,
        *,
        rows: int,
        seconds: Mapping[str, float] | None = None,
        notes: Iterable[str] = (),
        auxiliary: Iterable[str] = (),
        members: Mapping[str, Mapping[str, str]] | None = None,
        environment: Mapping[str, Any] | None = None,
        logical: Callable[[Path], str] | None = None,
        before_rename: Callable[[], None] = lambda: None,
    ) -> Artifact:
        """Commit a draft: digest, record, force to the disk, rename in one step.

        `logical` gives a digest of what a Parquet file says; `before_rename` may raise to refuse
        (a source that changed while it was read). The first to publish a key wins: a later one
        gets the artifact that is there, and its own draft is dropped.
        """
        files = draft.files(frozenset(auxiliary), logical)
        commit = Commit(
            stage=draft.stage,
            version=draft.version,
            key=draft.key,
            recipe=draft.recipe,
            inputs=draft.inputs,
            files=files,
            digest=content_digest(files),
            rows=rows,
            seconds={name: round(value, 6) for name, value in (seconds or {}).items()},
            notes=tuple(notes),
            members=members or {},
            environment=environment or {},
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        # The payload is digested before the record exists, so that no record can list what was
        # never read back.
        (draft.path / RECORD).write_text(canonical(commit.to_json()), encoding="ascii")
        sync_tree(draft.path)
        before_rename()
        return self.move_in(draft.path, draft.stage, draft.key)

    def quarantine(self, stage: str, key: str) -> Path:
        """Take an artifact out of sight, keeping its bytes for whoever wants to look.

        One of a shared store stays where it is, and is not looked at from here any more. Raises
        MissingArtifact where there is none: somebody else may have been faster.
        """
        folder = self.root / "quarantine"
        folder.mkdir(exist_ok=True)
        source = self.folder(stage, key)
        found = None if source.exists() else self.find(stage, key)
        if found is not None:
            mark = folder / _mark_of(found)
            mark.write_text(f"{found.path}\n")
            return mark
        target = folder / f"{stage}~{key}~{uuid.uuid4().hex[:8]}"
        try:
            source.rename(target)
        except FileNotFoundError as error:
            raise MissingArtifact(f"{stage}/{key} is not in the store {self.root}") from error
        sync_folder(source.parent)
        return target

    def sweep(self, age_s: float = 24 * 3600) -> int:
        """Remove drafts and claims whose process is gone from this host; returns how many drafts.

        And the finished parts of what is committed: its process was killed right after that.

        Whether a process of another host lives cannot be asked: its draft is removed when nothing
        in it was touched for `age_s` seconds.
        """
        self.claims.sweep()
        for name in OTHER_FOLDERS:
            clear_drafts(self.root / name, age_s)
        stages = self.stages()
        for path in (self.root / "staging" / PARTS).glob("*"):
            if any(self.folder(stage, path.name).exists() for stage in stages):
                shutil.rmtree(path, ignore_errors=True)
        removed = 0
        for path in sorted((self.root / "staging").iterdir()):
            if is_abandoned(path, age_s):
                shutil.rmtree(path, ignore_errors=True)
                removed += not path.exists()
        return removed

    def free_bytes(self) -> int:
        """Bytes that can still be written here."""
        return shutil.disk_usage(self.root).free

    def move_in(self, path: Path, stage: str, key: str) -> Artifact:
        """Rename a finished folder, forced to the disk and with its record, into its place.

        The first wins: where the key is there, that artifact is returned and the folder stays.
        """
        target = self.folder(stage, key)
        is_new = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            return self._lose_to(path, stage, key)
        # Where the two-letter folder is new, its own entry is forced out too. One that somebody else
        # has just made goes to the disk with what is in it, in any journaling file system.
        uppers = (target.parent.parent, self.root) if is_new else ()
        for folder in (target.parent, *uppers):
            sync_folder(folder)
        # What was kept of it when it was evicted has served.
        left = self.folder(stage, key + EVICTED)
        if left.exists():
            shutil.rmtree(left, ignore_errors=True)
        return Artifact(stage, key, target)

    def distrusted(self) -> frozenset[str]:
        """The keys of what was found damaged in a shared store."""
        if not self.shared:
            return frozenset()
        names = (path.name.split("~") for path in (self.root / "quarantine").glob("*~*~shared~*"))
        return frozenset(name[1] for name in names)

    def _is_distrusted(self, artifact: Artifact) -> bool:
        """Whether an artifact of a shared store was found damaged from here."""
        try:
            return (self.root / "quarantine" / _mark_of(artifact)).exists()
        except FileNotFoundError:
            return True  # gone this moment

    def _lose_to(self, path: Path, stage: str, key: str) -> Artifact:
        """Somebody published this key first: theirs stands, unless its record cannot be read.

        Two that find it damaged in the same millisecond may set aside what the other puts there:
        a reader may then miss it for that long, and finds a whole one afterwards.
        """
        winner = Artifact(stage, key, self.folder(stage, key))
        if not winner.path.exists():
            return self.move_in(path, stage, key)  # set aside by somebody who saw the same
        try:
            read_commit(winner.path)
        except DamagedArtifact:
            with contextlib.suppress(MissingArtifact):  # somebody else was faster in this, too
                self.quarantine(stage, key)
            return self.move_in(path, stage, key)
        return winner


def _mark_of(artifact: Artifact) -> str:
    """The name of the note that an artifact of a shared store is damaged: this one, not its heir."""
    return f"{artifact.stage}~{artifact.key}~shared~{artifact.path.stat().st_ino}"


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return list(found)


def is_abandoned(draft: Path, age_s: float) -> bool:
    """Whether the process of another's name in a folder's (<what>~<host>~<pid>~<id>) is gone."""
    name = draft.name.split("~")
    if len(name) != 4 or not name[2].isdecimal():
        return False
    if name[1] == this_host():
        return not is_alive(int(name[2]))
    try:
        # A folder's own time says nothing about what is being written deep in it.
        times = [entry.stat(follow_symlinks=False).st_mtime for entry in walk(draft)]
        return clock_of(draft.parent) - max([draft.stat().st_mtime, *times]) > age_s
    except OSError:
        return False  # gone this moment, or a full disk has no room even for a probe of the clock
