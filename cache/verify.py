"""Verification: is every artifact what its commit says?"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from stat import S_ISLNK
from threading import Event

from cache.artifact import EVICTED, Artifact, check_size
from cache.commit import RECORD, Commit, content_digest
from cache.digest import PLAINLY
from cache.errors import StoreError, StoreTooNew
from cache.store import Store

BLOCK = 1 << 20
"""Bytes that are read and hashed at a time."""
LARGE = 4 << 20
"""Bytes from which on an artifact is worth a thread: below, threads only wait for one another."""
DAMAGE = frozenset(
    (errno.EIO, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EUCLEAN,
     errno.EBADMSG, errno.ENXIO)
)  # fmt: skip
"""What the file system says where the bytes are not to be had any more; anything else (no
permission, too many open files) says nothing about them."""

Place = tuple[str, str]
"""(stage, key)."""


class NotJudged(StoreError):
    """An artifact cannot be looked at from here, and may be sound: no permission, a newer format."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One artifact that is not what it should be."""

    stage: str
    key: str
    message: str
    damaged: bool = True
    """False where it could not be looked at: it is not to be set aside."""


@dataclass(frozen=True, slots=True)
class Looked:
    """An artifact that was looked at."""

    artifact: Artifact
    inode: int
    """Of its folder."""
    finding: Finding | None


def verify(
    store: Store,
    stages: Iterable[str] | None = None,
    *,
    full: bool = False,
    seen: Callable[[Artifact], None] = lambda artifact: None,
) -> Iterator[Finding]:
    """Look at every artifact of the named stages (all by default) and yield what is wrong.

    Quick: the record has every byte that was written and gives the key of its folder, every listed
    file is there with its size, and nothing else is. `full` reads every byte of the payload again
    and compares the digests.
    """
    for looked in look_at(store, places_of(store, stages), full=full):
        if looked.finding is not None:
            yield looked.finding
        seen(looked.artifact)


def places_of(store: Store, stages: Iterable[str] | None = None) -> Iterator[Place]:
    """Every artifact of the named stages of this very store (all by default), evicted ones too."""
    for stage in stages if stages is not None else store.stages():
        for key in sorted(store.keys(stage)):
            yield stage, key


def look_at(
    store: Store, places: Iterable[Place], *, full: bool, threads: int = 1
) -> Generator[Looked, None, None]:
    """Look at artifacts of this very store.

    One that is not there, or goes away while it is looked at (evicted, collected, set aside), is
    left out. With several threads large artifacts are read side by side, and small ones may
    overtake them; no more than `threads` are begun and not given out.
    """
    stop = Event()
    pool = ThreadPoolExecutor(threads, "verify") if full and threads > 1 else None
    begun: deque[Future[Looked | None]] = deque()
    try:
        for stage, key in places:
            artifact = Artifact(stage, key, store.folder(stage, key))
            if pool is None or not _is_large(artifact):
                looked = _look(store, artifact, full, stop)
            else:
                begun.append(pool.submit(_look, store, artifact, full, stop))
                looked = begun.popleft().result() if len(begun) >= threads else None
            if looked is not None:
                yield looked
        for waited in begun:
            if (looked := waited.result()) is not None:
                yield looked
    finally:
        stop.set()  # who asks no more does not wait for the last ones either
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def is_damaged(store: Store, artifact: Artifact) -> bool:
    """Whether an artifact, of this store or one under it, is not what its record says, in full."""
    looked = _look(store, artifact, True, Event())
    return looked is not None and looked.finding is not None and looked.finding.damaged


def _is_large(artifact: Artifact) -> bool:
    try:
        return artifact.commit.bytes >= LARGE
    except StoreError:
        return False


def _look(store: Store, artifact: Artifact, full: bool, stop: Event) -> Looked | None:
    stage, key = artifact.stage, artifact.key
    while not stop.is_set():
        if (stat := _stat(artifact)) is None:
            artifact = Artifact(stage, key, store.folder(stage, key + EVICTED))
            if (stat := _stat(artifact)) is None:
                return None
        problem, damaged = "its folder is a link", True
        if not S_ISLNK(stat.st_mode):
            try:
                problem = examine(artifact, full=full, stop=stop)
            except NotJudged as error:
                problem, damaged = str(error), False
        if not problem:
            return Looked(artifact, stat.st_ino, None)
        after = _stat(artifact)
        if after is not None and after.st_ino == stat.st_ino:
            return Looked(artifact, stat.st_ino, Finding(stage, key, problem, damaged))
        # Somebody took it away meanwhile, and perhaps made it again: what was seen of the one says
        # nothing about the other.
        artifact = Artifact(stage, key, store.folder(stage, key))
    return None


def _stat(artifact: Artifact) -> os.stat_result | None:
    try:
        return os.lstat(artifact.path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def examine(artifact: Artifact, *, full: bool, stop: Event | None = None) -> str:
    """What is wrong with one artifact, or nothing. Raises NotJudged where that cannot be known."""
    try:
        commit = artifact.commit
        if commit.key != (expected := commit.expected_key()):
            return f"its record gives the key {expected}"
        if commit.digest != content_digest(commit.files):
            return "the content digest of its record does not follow from the files it lists"
        return "" if artifact.evicted else _payload_problem(artifact, commit, full, stop)
    except StoreTooNew as error:
        raise NotJudged(str(error)) from error
    except (StoreError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno not in DAMAGE:
            raise NotJudged(f"it cannot be read from here: {cause}") from error
        return str(error)
    except (ValueError, TypeError, RecursionError) as error:
        return f"its record gives no key: {error}"  # NaN in a recipe, nesting without end


def _payload_problem(artifact: Artifact, commit: Commit, full: bool, stop: Event | None) -> str:
    folder = os.fspath(artifact.path)
    for entry in commit.files:
        # What is no file of this size has no such digest; then the look at its size says so.
        if full and _digest(f"{folder}/{entry.path}", entry.bytes, stop) == entry.sha256:
            continue
        check_size(artifact, entry)
        if full:
            return f"{entry.path} does not have the digest of its record"
    listed = {RECORD, *[entry.path for entry in commit.files]}
    stray = _stray(folder, "", listed)
    return f"{stray} is not in its record" if stray else ""


def _stray(folder: str, inside: str, listed: set[str]) -> str:
    """A file, link or device in a folder that the record does not list, or nothing."""
    with os.scandir(folder) as found:
        unlisted = [entry for entry in found if inside + entry.name not in listed]
    for entry in sorted(unlisted, key=lambda entry: entry.name):
        name = inside + entry.name
        if not entry.is_dir(follow_symlinks=False):
            return name
        if stray := _stray(entry.path, f"{name}/", listed):
            return stray
    return ""


def _digest(path: str, size: int, stop: Event | None) -> str:
    """sha256, in hex, of a file of about this size; empty where there is none, or a link."""
    try:
        descriptor = os.open(path, PLAINLY)
    except OSError as error:
        if error.errno in DAMAGE:
            return ""
        raise
    try:
        digest, size = hashlib.sha256(), min(size + 1, BLOCK)
        while content := os.read(descriptor, size):
            digest.update(content)
            if stop is not None and stop.is_set():
                raise NotJudged("reading was stopped")
        return digest.hexdigest()
    except OSError as error:
        if error.errno == errno.EISDIR:
            return ""
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
