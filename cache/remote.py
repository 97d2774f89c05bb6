"""A store on any file system that fsspec knows: files below one folder, laid out as in a store.

Nothing is ever executed of what lies there, and no name from there is followed: who asks gives
paths that are made of a stage, a key and the checked paths of a record.

A file system raises what it likes. Here that becomes FileNotFoundError for what is not there,
ConfigError for what is refused, and Unreachable for all the rest, without the credentials that
libraries like to quote.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from cache.address import Address
from cache.commit import RECORD, UNREADABLE, Commit, content_digest, parse_commit
from cache.errors import ConfigError, DamagedArtifact, HiprobeError, NotAStore, Unreachable
from cache.hosts import only_known_hosts
from cache.keys import canonical
from cache.layout import FORMAT, IS_KEY, MARK, check_mark, is_stage

OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"})
"""Stores of objects: one is seen whole or not at all, and there are no folders to be made."""
EXTRAS = {"s3": "s3", "s3a": "s3", "sftp": "sftp", "ssh": "sftp", "http": "http", "https": "http"}
"""The extra of hiprobe that brings the package for a protocol."""
BLOCK = 1 << 20
"""Bytes that are read, digested and written at once."""
PART = 16 << 20
"""Bytes of one part of a large object. What is sent in blocks fills parts exactly."""
RECORD_BYTES = 64 << 20
"""More than any record or root needs: what is larger is not read into memory."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as a remote store lists it."""

    bytes: int
    tag: str
    """What S3 gives as ETag; empty elsewhere."""


class Remote:
    """A store that is read and written through fsspec; safe in any thread."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.shown = address.shown.rstrip("/")
        self.objects = address.protocol in OBJECTS
        self._shared: Any = None
        self._own = threading.local()
        with self._over("cannot be used"):
            made = self._connect()
        self._root = made[1].rstrip("/")
        # One that waits in a thread of its own serves them all; a connection (SFTP) serves one.
        if getattr(made[0], "async_impl", False) or self.objects:
            self._shared = made[0]
        else:
            self._own.fs = made[0]

    def check(self) -> None:
        """Raise NotAStore where this is none, StoreTooNew for one of a newer format."""
        try:
            content = self.read(MARK)
        except FileNotFoundError as error:
            raise NotAStore(
                f"{self.shown} is not a hiprobe store: it has no {MARK}, or is not there"
            ) from error
        check_mark(content, self.shown)

    def make(self) -> None:
        """Make a store where nothing is, or check the one that is there."""
        try:
            self.read(MARK)
        except FileNotFoundError:
            if self.names(""):
                raise NotAStore(
                    f"{self.shown} is not a hiprobe store (it has no {MARK}) and is not empty; "
                    "give another folder"
                ) from None
            self.write(MARK, (canonical({"hiprobe_store": FORMAT}) + "\n").encode("ascii"))
        self.check()

    def record(self, stage: str, key: str) -> bytes | None:
        """The bytes of a record; None where there is none: then there is no artifact."""
        try:
            return self.read(f"{place(stage, key)}/{RECORD}")
        except FileNotFoundError:
            return None

    def stages(self) -> list[str]:
        """The stages that have a folder."""
        return sorted(name for name in self.names("") if is_stage(name))

    def keys(self, stage: str) -> list[str]:
        """The keys of a stage that have a folder, whole or not."""
        if self.objects:
            with contextlib.suppress(FileNotFoundError), self._over(f"cannot list {stage}"):
                # No folder is listed: one walk over all the objects is a request per thousand.
                found = [p.rsplit("/", 2) for p in self._fs.find(self._path(stage))]
                return sorted({p[1] for p in found if p[2] == RECORD and IS_KEY(p[1])})
            return []
        folders = [name for name in self.names(stage) if len(name) == 2]
        return sorted(
            key
            for ab in folders
            for key in self.names(f"{stage}/{ab}")
            if IS_KEY(key) and key.startswith(ab)
        )

    def names(self, folder: str) -> list[str]:
        """The names in a folder; none where it is not there."""
        with contextlib.suppress(FileNotFoundError), self._over(f"cannot list {folder or 'it'}"):
            found = self._fs.ls(self._path(folder), detail=False)
            return sorted({str(path).rstrip("/").rsplit("/", 1)[-1] for path in found} - {""})
        return []

    def files(self, folder: str) -> dict[str, Seen]:
        """Every file below a folder, by its path in it."""
        root = self._path(folder) + "/"
        with contextlib.suppress(FileNotFoundError), self._over(f"cannot list {folder}"):
            return {
                path[len(root) :]: Seen(int(info["size"]), str(info.get("ETag", "")).strip('"'))
                for path, info in self._fs.find(root.rstrip("/"), detail=True).items()
                if path.startswith(root)
            }
        return {}

    def read(self, path: str) -> bytes:
        """A small file. Raises FileNotFoundError, DamagedArtifact where it is far too large."""
        content = bytearray()
        for block in self.blocks(path):
            content += block
            if len(content) > RECORD_BYTES:
                raise DamagedArtifact(f"{path} of {self.shown} is larger than any file of its kind")
        return bytes(content)

    def blocks(self, path: str) -> Iterator[bytes]:
        """A file, piece by piece. Raises FileNotFoundError, DamagedArtifact for a link."""
        full = self._path(path)
        with self._over(f"cannot read {path}"):
            if self.address.folder is not None:
                refuse_links(Path(self._root), path)
            with self._fs.open(full, "rb", **self._reading()) as file:
                if hasattr(file, "prefetch"):
                    file.prefetch()  # SFTP would wait for every 32 kB otherwise
                while block := file.read(BLOCK):
                    yield block

    def write(self, path: str, content: bytes) -> None:
        """Put a small file in its place: it is seen whole or not at all."""
        with self._writing(path):
            if self.objects:
                self._fs.pipe_file(self._path(path), content)
                return
            draft = self._path(f"staging/{uuid.uuid4().hex}.tmp")
            self._make_folder(draft)
            self._make_folder(self._path(path))
            try:
                self._fs.pipe_file(draft, content)
                self._fs.mv(draft, self._path(path))
            except BaseException:
                with contextlib.suppress(Exception):
                    self._fs.rm_file(draft)
                raise

    def send(self, path: str, blocks: Iterable[bytes]) -> None:
        """Write a file of any size. Half of it may be seen, but nobody looks before the record."""
        with self._writing(path):
            full = self._path(path)
            if not self.objects:
                self._make_folder(full)
            with self._fs.open(full, "wb", **({"block_size": PART} if self.objects else {})) as out:
                for block in blocks:
                    out.write(block)

    def remove(self, path: str) -> None:
        """Remove a file, where it is there."""
        with contextlib.suppress(FileNotFoundError), self._over(f"cannot remove {path}"):
            self._fs.rm_file(self._path(path))

    @property
    def _fs(self) -> Any:
        if self._shared is not None:
            return self._shared
        if getattr(self._own, "fs", None) is None:
            self._own.fs = self._connect()[0]
        return self._own.fs

    def _connect(self) -> tuple[Any, str]:
        protocol = self.address.protocol
        options = dict(self.address.options)
        if self.objects:
            options.setdefault("use_listings_cache", False)
        if protocol in ("sftp", "ssh"):
            options.setdefault("host_key_policy", only_known_hosts())
        try:
            fs, root = fsspec.url_to_fs(self.address.url, skip_instance_cache=True, **options)
        except (ValueError, TypeError) as error:
            # A protocol that fsspec does not know, an option that its file system does not.
            text = self.address.scrub(f"{self.shown}: cannot be used: {error}")
            raise ConfigError(text) from None
        return fs, str(root)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _reading(self) -> dict[str, Any]:
        if self.address.protocol in ("http", "https"):
            # As it comes, for many servers know no ranges; and with a size, of which nothing is
            # made then: fsspec would ask for it, and call any trouble "not found".
            return {"block_size": 0, "size": 1}
        if self.objects:
            return {"block_size": BLOCK, "cache_type": "none"}
        return {}

    def _make_folder(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        try:
            self._fs.makedirs(folder, exist_ok=True)
        except Exception:
            # Another process has made a part of it this moment.
            if not self._fs.isdir(folder):
                self._fs.makedirs(folder, exist_ok=True)

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        """The same where something is written: then what is not there is the store itself."""
        try:
            with self._over(f"cannot write {path}"):
                yield
        except FileNotFoundError as error:
            if isinstance(error, HiprobeError):
                raise
            raise ConfigError(
                f"{self.shown} cannot be written: {self.address.scrub(str(error))}; make the "
                "bucket or folder first"
            ) from None

    @contextmanager
    def _over(self, what: str) -> Iterator[None]:
        """Turn what a file system raises into one of three errors; see the head of this file."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, HiprobeError) as error:
            if isinstance(error, NotADirectoryError):
                raise FileNotFoundError(str(error)) from None
            raise
        except ImportError as error:
            extra = EXTRAS.get(self.address.protocol)
            told = f'pip install "hiprobe[{extra}]"' if extra else str(error)
            raise ConfigError(f"{self.shown}: a package is missing for this: {told}") from None
        except Exception as error:
            text = self.address.scrub(f"{self.shown}: {what}: {type(error).__name__}: {error}")
            kind = ConfigError if _is_refusal(error) else Unreachable
            self._own.fs = None  # the connection may be broken: the next try makes a new one
            # Without the error itself, whose text may hold a password.
            raise kind(text) from None


def place(stage: str, key: str) -> str:
    """The path of an artifact below the root of a store."""
    return f"{stage}/{key[:2]}/{key}"


def refuse_links(root: Path, path: str) -> None:
    """Raise DamagedArtifact where a path below a folder leads through a symbolic link."""
    where = root
    for part in path.split("/"):
        where /= part
        if where.is_symlink():
            raise DamagedArtifact(f"{path}: {part} is a link: a payload is made of plain files")


def expected_tag(parts: list[bytes], size: int) -> str:
    """The ETag that S3 gives to an object of these parts' MD5s: it was sent whole, or in parts."""
    if size < PART:
        return parts[0].hex()
    joined = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    return f"{joined}-{len(parts)}"


def _is_refusal(error: Exception) -> bool:
    """Whether an error says that something is configured wrongly, and not that a line broke."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status", 0)
    refused = {"PermissionError", "AuthenticationException", "NoCredentialsError"}
    return bool(kinds & refused) or status in (401, 403)


def checked(content: bytes, stage: str, key: str, where: str) -> Commit:
    """The record of this artifact; raises DamagedArtifact, naming it and `where` it was read."""
    name = f"{stage}/{key}"
    try:
        commit = parse_commit(content, name)
        if not commit.key == commit.expected_key() == key or commit.stage != stage:
            raise ValueError(f"it is that of {commit.stage}/{commit.expected_key()}")
        if commit.digest != content_digest(commit.files):
            raise ValueError("its content digest does not follow from the files it lists")
        _check_files(commit)
    except UNREADABLE as error:
        if isinstance(error, HiprobeError):
            raise
        raise DamagedArtifact(
            f"{name} of {where}: its record {RECORD} cannot be used "
            f"({type(error).__name__}: {error})"
        ) from error
    return commit


def _check_files(commit: Commit) -> None:
    """Raise ValueError for a list of files that no artifact has: from elsewhere anything can come."""
    paths = [entry.path for entry in commit.files]
    folders = {path[:at] for path in paths for at, sign in enumerate(path) if sign == "/"}
    if len({*paths, *folders, RECORD}) != len(paths) + len(folders) + 1:
        raise ValueError("it lists a file twice, or one with the name of a folder or of the record")
    for entry in commit.files:
        if "\\" in entry.path or not entry.path.isprintable():
            raise ValueError(f"{entry.path!r} is not a path inside an artifact")
        if not (isinstance(entry.bytes, int) and entry.bytes >= 0 and IS_KEY(entry.sha256)):
            raise ValueError(f"{entry.path!r} has no size or no sha256")
