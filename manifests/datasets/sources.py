"""Digests of the source files, remembered, so that a video is read for its digest only once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event
from typing import Any

from cache.errors import ItemError
from manifests.datasets.contract import SourceFile

_FORMAT = "hiprobe.source_digests"
_VERSION = 1
_SETTLED_NS = 2_000_000_000
"""The coarsest clock tick of a file system in use (FAT)."""
_CHUNK = 1 << 20
_SAVE_SECONDS = 30.0

Entry = list[Any]
"""path, bytes, mtime_ns, inode, sha256: a list, as JSON gives it, for loading is what must be fast"""


class DigestMemory:
    """What the digest of a file was when its size, time and inode were these.

    A file of JSON lines: a head with the number of rows and their sha256, then one row per source
    file, sorted by path relative to the data set root. It only saves work: where it is absent,
    damaged or foreign it starts empty (`warning` says so), and the files are read again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Entry] = {}
        self._changed = False
        self.warning = ""
        """Why the file could not be used; empty where it could, or where there was none."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        try:
            self._entries = {entry[0]: entry for entry in _parse(data)}
        except (ValueError, RecursionError) as error:
            self.warning = (
                f"{path.name} is not a usable memory of digests ({error}): the videos are read "
                "again for their digests"
            )

    def known(self, file: SourceFile) -> str | None:
        """The digest of a file that has not changed since it was remembered, or None."""
        entry = self._entries.get(file.path)
        if entry is None or entry[1:4] != [file.bytes, file.mtime_ns, file.inode]:
            return None
        digest: str = entry[4]
        return digest

    def remember(self, file: SourceFile, digest: str, now_ns: int) -> bool:
        """Remember a digest; `now_ns` is a time before the file was read. Returns whether it did.

        A file that was written less than 2 s before is not remembered: it could be written once
        more within the same tick of the file system's clock, and would look the same. (git calls
        such an entry racily clean.) It is read again the next time. The same holds for a time of
        writing in the future, where clocks disagree.
        """
        if now_ns - file.mtime_ns < _SETTLED_NS:
            return False
        self._entries[file.path] = [file.path, file.bytes, file.mtime_ns, file.inode, digest]
        self._changed = True
        return True

    def forget(self, path: str) -> None:
        """Drop what is remembered of a file that turned out to be another, and looks the same."""
        self._changed |= self._entries.pop(path, None) is not None

    def save(self) -> None:
        """Put what is remembered in place of the file, in one step; do nothing if nothing is new."""
        if not self._changed:
            return
        body = "".join(f"{json.dumps(self._entries[p])}\n" for p in sorted(self._entries)).encode()
        head = {
            "format": _FORMAT,
            "version": _VERSION,
            "rows": len(self._entries),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        # A store that is full, or only read, does not remember: the videos are read again.
        with contextlib.suppress(OSError):
            self._write(json.dumps(head).encode() + b"\n" + body)
            self._changed = False

    def _write(self, content: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            draft.write_bytes(content)
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)


def digest_files(
    root: Path,
    files: Iterable[SourceFile],
    memory: DigestMemory,
    workers: int,
    progress: Callable[[float, float], None],
) -> tuple[dict[str, str], dict[str, str]]:
    """(digest by video id, reason by video id of each file that failed), both sorted by id.

    Files that the memory knows are not read; the others are, in `workers` threads (hashing releases
    the GIL), the largest first. The memory is saved every 30 s and at the end, an interruption
    included. `progress` gets (bytes done, bytes in all) of the files that are read.
    """
    files = list(files)
    digests = {file.video_id: digest for file in files if (digest := memory.known(file))}
    unknown = [file for file in files if file.video_id not in digests]
    unknown.sort(key=lambda file: -file.bytes)
    failures: dict[str, str] = {}
    stop = Event()
    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="digest")
    try:
        started = time.time_ns()
        tasks = {pool.submit(digest_file, root, file, stop): file for file in unknown}
        for file, task in _finished(tasks, memory, progress):
            try:
                digests[file.video_id] = task.result()
            except ItemError as error:
                failures[file.video_id] = str(error)
            else:
                memory.remember(file, digests[file.video_id], started)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        memory.save()
    return dict(sorted(digests.items())), dict(sorted(failures.items()))


def digest_file(root: Path, file: SourceFile, stop: Event | None = None) -> str:
    """sha256, in hex, of one source file that is still the one that was listed.

    Its size, time and inode are compared before and after it is read. Raises ItemError for a file
    that cannot be read, or that changed; `stop`, once set, ends the reading with ItemError too.
    """
    path = root / file.path
    digest = hashlib.sha256()
    read = 0
    try:
        _check_same(path, file)
        with path.open("rb", buffering=0) as source:
            buffer = memoryview(bytearray(_CHUNK))
            # a file that is still being recorded may grow as fast as it is read: no further than
            # its listed size
            while read <= file.bytes and (size := source.readinto(buffer)):
                if stop is not None and stop.is_set():
                    raise ItemError(f"{file.path}: reading was stopped")
                digest.update(buffer[:size])
                read += size
        _check_same(path, file)
    except OSError as error:
        raise ItemError(
            f"{file.path} cannot be read: {error.strerror}; check that it is there and that you "
            "may read it"
        ) from error
    if read != file.bytes:
        raise _changed(file, f"{read} bytes read")
    return digest.hexdigest()


def _check_same(path: Path, file: SourceFile) -> None:
    status = path.stat()
    found = (status.st_size, status.st_mtime_ns, status.st_ino)
    if found != (file.bytes, file.mtime_ns, file.inode):
        raise _changed(file, f"{found[0]} bytes, written at {found[1]} ns, inode {found[2]}")


def _changed(file: SourceFile, found: str) -> ItemError:
    return ItemError(
        f"{file.path} changed while its digest was taken: expected {file.bytes} bytes, written at "
        f"{file.mtime_ns} ns, inode {file.inode}; found {found}; run again once nothing writes to it"
    )


def _finished(
    tasks: dict[Future[str], SourceFile],
    memory: DigestMemory,
    progress: Callable[[float, float], None],
) -> Iterable[tuple[SourceFile, Future[str]]]:
    """Files as they are done; reports progress and saves the memory now and then."""
    total = sum(file.bytes for file in tasks.values())
    done, saved = 0, time.monotonic()
    for task in as_completed(tasks):
        file = tasks[task]
        yield file, task
        done += file.bytes
        progress(done, total)
        if time.monotonic() - saved > _SAVE_SECONDS:
            memory.save()
            saved = time.monotonic()


def _parse(data: bytes) -> list[Entry]:
    """The rows of a memory file; raises ValueError for anything that is not wholly one."""
    first, _, body = data.partition(b"\n")
    head = json.loads(first)
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise ValueError("it is another kind of file")
    if head.get("version") != _VERSION:
        raise ValueError(f"version {head.get('version')}, expected {_VERSION}")
    if hashlib.sha256(body).hexdigest() != head.get("sha256"):
        raise ValueError("its checksum is wrong")
    # One parse of one array is several times faster than one parse per line.
    rows: list[Entry] = json.loads(b"[" + body.rstrip(b"\n").replace(b"\n", b",") + b"]")
    return rows
