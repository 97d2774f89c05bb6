"""The store: artifacts by stage and key, published in one step or not at all.

<store>/CACHEDIR.TAG  format.json
<store>/<stage>/<ab>/<key>/     one artifact: payload files and commit.json
<store>/catalog/                what is committed, for fast looking: rebuildable, never the truth
<store>/staging/                drafts, and the finished parts of long items
<store>/claims/  quarantine/
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from cache.atomic import clock_of, replace_json, sync_folder, sync_tree, walk
from cache.claims import Claims, is_alive, this_host
from cache.commit import RECORD, Commit, FileEntry, content_digest, read_commit
from cache.digest import file_digest, read_json
from cache.errors import DamagedArtifact, MissingArtifact, NotAStore, StoreTooNew
from cache.keys import Keymaker, canonical

FORMAT = 1
MARK = "format.json"
SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n# This is a hiprobe store; backup programs may leave it out.\n"
OTHER_FOLDERS = ("catalog", "staging", "claims", "quarantine")
PARTS = "parts"
IS_KEY = re.compile(r"[0-9a-f]{64}").fullmatch


@dataclass(frozen=True)
class Artifact:
    """A committed artifact, opened for reading."""

    stage: str
    key: str
    path: Path

    @functools.cached_property
    def commit(self) -> Commit:
        """Its record. Raises DamagedArtifact where it cannot be read."""
        return read_commit(self.path)

    @property
    def digest(self) -> str:
        """Its content digest."""
        return self.commit.digest

    def holds(self, name: str) -> bool:
        """Whether its record lists a file, or a folder of files, of this name."""
        return any(e.path == name or e.path.startswith(f"{name}/") for e in self.commit.files)

    def file(self, name: str) -> Path:
        """The path of a payload file, or of a folder of them, checked against the record.

        Every listed file must be there with its size, and a file asked for by its own name must
        have its digest (Parquet and safetensors would give a flipped bit as another number; the
        shards in a Zarr folder carry checksums of their own): raises DamagedArtifact, naming the
        file, otherwise.
        """
        listed = [e for e in self.commit.files if e.path == name or e.path.startswith(f"{name}/")]
        if not listed:
            raise DamagedArtifact(f"artifact {self.stage}/{self.key} does not hold {name}")
        for entry in listed:
            check_size(self, entry)
            if entry.path == name and file_digest(self.path / name) != entry.sha256:
                raise DamagedArtifact(
                    f"artifact {self.stage}/{self.key}: {name} does not have the digest of its "
                    "record; `hiprobe cache repair --full` sets it aside and the next run makes it "
                    "again"
                )
        return self.path / name


def check_size(artifact: Artifact, entry: FileEntry) -> None:
    """Raise DamagedArtifact where a listed file is gone, is no plain file or has another size."""
    try:
        stat = (artifact.path / entry.path).lstat()
        found: int | str = stat.st_size if S_ISREG(stat.st_mode) else "something else than a file"
    except (FileNotFoundError, NotADirectoryError):
        found = "no such file"
    if found != entry.bytes:
        raise DamagedArtifact(
            f"artifact {artifact.stage}/{artifact.key}: {entry.path} should have {entry.bytes} "
            f"bytes, found {found}; `hiprobe cache repair` sets it aside and the next run makes it "
            "again"
        )


@dataclass(frozen=True)
class Draft:
    """An artifact in the making: a folder that nobody sees until it is published."""

    path: Path
    stage: str
    version: int
    recipe: Mapping[str, Any]
    inputs: Mapping[str, Any]

    @functools.cached_property
    def key(self) -> str:
        """The key under which it will be published."""
        return Keymaker(self.stage, self.version, self.recipe).key(self.inputs)


class Store:
    """One store on a file system; several processes, on several machines, may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.claims = Claims(root / "claims")

    @classmethod
    def open(cls, root: Path) -> Store:
        """Open a store, making it where the folder is missing or empty.

        Raises NotAStore where the folder holds something else, StoreTooNew for a newer format.
        """
        mark = root / MARK
        if not mark.exists():
            # Looked at again, because another process may make the store this very moment.
            if not _is_blank(root) and not mark.exists():
                raise NotAStore(
                    f"{root} is not a hiprobe store (it has no {MARK}) and is not empty; "
                    "give [run] store another folder"
                )
            root.mkdir(parents=True, exist_ok=True)
            replace_json(mark, {"hiprobe_store": FORMAT})
        try:
            found = read_json(mark)
            version = int(found["hiprobe_store"])
        except (IsADirectoryError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise NotAStore(f"{mark} does not say that this is a hiprobe store: {error}") from error
        if version > FORMAT:
            raise StoreTooNew(
                f"{root} has store format {version}, this hiprobe reads up to {FORMAT}; "
                "install a newer hiprobe"
            )
        _complete(root)
        return cls(root)

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact of this key lies, or would lie."""
        return self.root / stage / key[:2] / key

    def find(self, stage: str, key: str) -> Artifact | None:
        """The committed artifact of this key, or None."""
        path = self.folder(stage, key)
        return Artifact(stage, key, path) if (path / RECORD).exists() else None

    def artifact(self, stage: str, key: str) -> Artifact:
        """The committed artifact of this key. Raises MissingArtifact."""
        found = self.find(stage, key)
        if found is None:
            raise MissingArtifact(f"{stage}/{key} is not in the store {self.root}")
        return found

    def stages(self) -> list[str]:
        """The stages that have a folder here."""
        return sorted(
            entry.name
            for entry in os.scandir(self.root)
            if entry.is_dir() and entry.name.isidentifier() and entry.name not in OTHER_FOLDERS
        )

    def keys(self, stage: str) -> list[str]:
        """Every key of a stage that has an artifact folder."""
        return list(self.inodes(stage))

    def inodes(self, stage: str) -> dict[str, int]:
        """The inode of every artifact folder of a stage by key: one listing per two-letter folder.

        A key that was set aside and made again has another one. What is not named like an
        artifact, or lies where no artifact of that name would, is none.
        """
        root = self.root / stage
        if not root.is_dir():
            return {}
        return {
            entry.name: entry.inode()
            for ab in os.scandir(root)
            if ab.is_dir()
            for entry in os.scandir(ab.path)
            if entry.name.startswith(ab.name) and IS_KEY(entry.name) and len(ab.name) == 2
        }

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
        try:
            yield Draft(path, stage, version, recipe, inputs)
        finally:
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
        files = _list_files(draft.path, frozenset(auxiliary), logical)
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
        return self._move_in(draft)

    def quarantine(self, stage: str, key: str) -> Path:
        """Take an artifact out of sight, keeping its bytes for whoever wants to look.

        Raises MissingArtifact where there is none: somebody else may have been faster.
        """
        folder = self.root / "quarantine"
        folder.mkdir(exist_ok=True)
        target = folder / f"{stage}~{key}~{uuid.uuid4().hex[:8]}"
        source = self.folder(stage, key)
        try:
            source.rename(target)
        except FileNotFoundError as error:
            raise MissingArtifact(f"{stage}/{key} is not in the store {self.root}") from error
        sync_folder(source.parent)
        return target

    def sweep(self, age_s: float = 24 * 3600) -> int:
        """Remove drafts and claims whose process is gone from this host; returns how many drafts.

        Whether a process of another host lives cannot be asked: its draft is removed when nothing
        in it was touched for `age_s` seconds.
        """
        self.claims.sweep()
        removed = 0
        for path in sorted((self.root / "staging").iterdir()):
            if _is_abandoned(path, age_s):
                shutil.rmtree(path, ignore_errors=True)
                removed += not path.exists()
        return removed

    def free_bytes(self) -> int:
        """Bytes that can still be written here."""
        return shutil.disk_usage(self.root).free

    def _move_in(self, draft: Draft) -> Artifact:
        target = self.folder(draft.stage, draft.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.path.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            return self._lose_to(draft)
        # The two-letter folder may be new itself, so its own entry is forced out too.
        for folder in (target.parent, target.parent.parent, self.root):
            sync_folder(folder)
        return Artifact(draft.stage, draft.key, target)

    def _lose_to(self, draft: Draft) -> Artifact:
        """Somebody published this key first: theirs stands, unless its record cannot be read.

        Two that find it damaged in the same millisecond may set aside what the other puts there:
        a reader may then miss it for that long, and finds a whole one afterwards.
        """
        winner = Artifact(draft.stage, draft.key, self.folder(draft.stage, draft.key))
        if not winner.path.exists():
            return self._move_in(draft)  # set aside by somebody who saw the same
        try:
            read_commit(winner.path)
        except DamagedArtifact:
            with contextlib.suppress(MissingArtifact):  # somebody else was faster in this, too
                self.quarantine(draft.stage, draft.key)
            return self._move_in(draft)
        return winner


def _list_files(
    root: Path, auxiliary: frozenset[str], logical: Callable[[Path], str] | None
) -> tuple[FileEntry, ...]:
    entries = []
    for found in walk(root):
        if found.is_dir(follow_symlinks=False):
            continue
        path = Path(found.path)
        name = path.relative_to(root).as_posix()
        if not found.is_file(follow_symlinks=False):
            raise DamagedArtifact(
                f"draft holds {name}, a link or device: a payload is made of plain files"
            )
        if name == RECORD:
            raise DamagedArtifact(f"draft holds {name}: that name is the commit record's")
        said = logical(path) if logical and path.suffix == ".parquet" else ""
        entries.append(
            FileEntry(name, path.stat().st_size, file_digest(path), said, name in auxiliary)
        )
    missing = auxiliary - {entry.path for entry in entries}
    if missing:
        raise DamagedArtifact(f"draft lacks the files {sorted(missing)} that it declares")
    return tuple(entries)


def _is_blank(root: Path) -> bool:
    """Whether a store can be made here; one that is being made counts."""
    if not root.exists():
        return True
    return root.is_dir() and all(entry.name.startswith(f".{MARK}.") for entry in root.iterdir())


def _complete(root: Path) -> None:
    """Make what belongs to a store and is not there: when it is new, or was copied without."""
    try:
        for name in (*OTHER_FOLDERS, f"staging/{PARTS}"):
            (root / name).mkdir(parents=True, exist_ok=True)
        if not (root / "CACHEDIR.TAG").exists():
            (root / "CACHEDIR.TAG").write_text(SIGNATURE)
    except OSError as error:
        # A store that cannot be written can be read without them.
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def _is_abandoned(draft: Path, age_s: float) -> bool:
    name = draft.name.split("~")
    if len(name) != 4 or not name[2].isdecimal():
        return False
    if name[1] == this_host():
        return not is_alive(int(name[2]))
    try:
        # A folder's own time says nothing about what is being written deep in it.
        times = [entry.stat(follow_symlinks=False).st_mtime for entry in walk(draft)]
        return clock_of(draft.parent) - max([draft.stat().st_mtime, *times]) > age_s
    except FileNotFoundError:
        return False  # somebody is at work in it, or has just removed it
