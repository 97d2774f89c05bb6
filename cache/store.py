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
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.atomic import replace_json, sync_folder, sync_tree, walk
from cache.claims import Claims
from cache.commit import RECORD, Commit, FileEntry, content_digest, read_commit
from cache.digest import file_digest, read_json
from cache.errors import DamagedArtifact, MissingArtifact, NotAStore, StoreTooNew
from cache.keys import Keymaker, canonical

FORMAT = 1
SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n# This is a hiprobe store; backup programs may leave it out.\n"
OTHER_FOLDERS = ("catalog", "staging", "claims", "quarantine")
PARTS = "parts"


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

    def file(self, name: str) -> Path:
        """The path of a payload file, or of a folder of them, checked against the record.

        Every listed file must be there with its size: raises DamagedArtifact, naming the file,
        otherwise.
        """
        listed = [e for e in self.commit.files if e.path == name or e.path.startswith(f"{name}/")]
        if not listed:
            raise DamagedArtifact(f"artifact {self.stage}/{self.key} does not hold {name}")
        for entry in listed:
            check_size(self, entry)
        return self.path / name


def check_size(artifact: Artifact, entry: FileEntry) -> None:
    """Raise DamagedArtifact where a listed file is gone or has another size."""
    try:
        found: int | str = (artifact.path / entry.path).stat().st_size
    except FileNotFoundError:
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
        mark = root / "format.json"
        if not mark.exists():
            if root.is_file() or (root.is_dir() and any(root.iterdir())):
                raise NotAStore(
                    f"{root} is not a hiprobe store (it has no format.json) and is not empty; "
                    "give [run] store another folder"
                )
            cls._make(root)
        try:
            found = read_json(mark)
            version = int(found["hiprobe_store"])
        except (ValueError, KeyError, TypeError) as error:
            raise NotAStore(f"{mark} does not say that this is a hiprobe store: {error}") from error
        if version > FORMAT:
            raise StoreTooNew(
                f"{root} has store format {version}, this hiprobe reads up to {FORMAT}; "
                "install a newer hiprobe"
            )
        return cls(root)

    @staticmethod
    def _make(root: Path) -> None:
        for name in (*OTHER_FOLDERS, f"staging/{PARTS}"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "CACHEDIR.TAG").write_text(SIGNATURE)
        replace_json(root / "format.json", {"hiprobe_store": FORMAT})

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
            if entry.is_dir() and entry.name not in OTHER_FOLDERS
        )

    def keys(self, stage: str) -> list[str]:
        """Every key of a stage that has an artifact folder: one listing per two-letter folder."""
        root = self.root / stage
        if not root.is_dir():
            return []
        with os.scandir(root) as folders:
            return [entry.name for ab in folders for entry in os.scandir(ab.path)]

    def parts(self, key: str) -> Path:
        """A folder for finished parts of the item of this key; it outlives an interruption."""
        return self.root / "staging" / PARTS / key

    @contextmanager
    def draft(
        self, stage: str, version: int, recipe: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> Iterator[Draft]:
        """A fresh folder under staging/, removed on leaving unless it was published."""
        owner = f"{stage}~{socket.gethostname()}~{os.getpid()}~{uuid.uuid4().hex[:12]}"
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
        (draft.path / RECORD).write_text(canonical(commit.to_json()) + "\n", encoding="ascii")
        sync_tree(draft.path)
        before_rename()
        return self._move_in(draft)

    def quarantine(self, stage: str, key: str) -> Path:
        """Take an artifact out of sight, keeping its bytes for whoever wants to look."""
        folder = self.root / "quarantine"
        folder.mkdir(exist_ok=True)
        target = folder / f"{stage}~{key}~{uuid.uuid4().hex[:8]}"
        source = self.folder(stage, key)
        source.rename(target)
        sync_folder(source.parent)
        return target

    def sweep(self, age_s: float = 24 * 3600) -> int:
        """Remove drafts whose process is gone from this host, and any older than `age_s` seconds."""
        removed = 0
        for entry in os.scandir(self.root / "staging"):
            name = entry.name.split("~")
            if len(name) != 4 or not _is_abandoned(entry, name[1], int(name[2]), age_s):
                continue
            shutil.rmtree(entry.path, ignore_errors=True)
            removed += 1
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
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return self._lose_to(draft)
        # The two-letter folder may be new itself, so its own entry is forced out too.
        for folder in (target.parent, target.parent.parent, self.root):
            sync_folder(folder)
        return Artifact(draft.stage, draft.key, target)

    def _lose_to(self, draft: Draft) -> Artifact:
        """Somebody published this key first: theirs stands, unless it cannot even be read."""
        winner = (
            self.artifact(draft.stage, draft.key) if self.find(draft.stage, draft.key) else None
        )
        if winner is None:
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
        if found.is_symlink():
            raise DamagedArtifact(f"draft holds the link {name}: a payload is made of plain files")
        said = logical(path) if logical and path.suffix == ".parquet" else ""
        entries.append(
            FileEntry(name, path.stat().st_size, file_digest(path), said, name in auxiliary)
        )
    missing = auxiliary - {entry.path for entry in entries}
    if missing:
        raise DamagedArtifact(f"draft lacks the files {sorted(missing)} that it declares")
    return tuple(entries)


def _is_abandoned(entry: os.DirEntry[str], host: str, pid: int, age_s: float) -> bool:
    if host == socket.gethostname() and pid != os.getpid():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
    with contextlib.suppress(FileNotFoundError):
        return time.time() - entry.stat().st_mtime > age_s
    return False
