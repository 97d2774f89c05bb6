"""Claims: who is working on what, so that two processes do not do the same work twice.

A claim only saves work. Nothing is wrong when two processes hold one at once (a clock jumped, a
process slept through its lease): both compute, the first to publish wins, the other deletes its
own. That is why no lock of the file system is needed, not even a working flock.

A claim is a file made with O_EXCL. Its holder touches it every few seconds; one that was not
touched for `LEASE_S` seconds, or whose process is gone from this very host, can be taken over.
Ages are differences between two time stamps of the same file system, so that a host whose clock is
off by an hour neither steals nor waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEASE_S = 60.0
"""Seconds without a sign of life after which a claim is up for grabs."""
BEAT_S = 10.0
"""Seconds between two signs of life."""


class Claims:
    """The claims of one process in one store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: set[Path] = set()
        self._guard = threading.Lock()
        self._beating = False

    @contextmanager
    def hold(self, name: str) -> Iterator[bool]:
        """Try to claim `name`; yields whether it was got. Released on leaving."""
        path = self._folder / name
        got = self._take(path)
        try:
            yield got
        finally:
            if got:
                with self._guard:
                    self._held.discard(path)
                if _owner(path) == _self(path):
                    path.unlink(missing_ok=True)

    def is_held(self, name: str) -> bool:
        """Whether somebody alive holds `name`."""
        path = self._folder / name
        return path.exists() and not self._is_stale(path)

    def _take(self, path: Path) -> bool:
        if path.exists() and self._is_stale(path):
            # Two processes may both see it stale and both remove it; the second may remove the
            # claim that the first has just made. Then both work: wasteful, never wrong.
            path.unlink(missing_ok=True)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w") as file:
            json.dump(_self(path), file)
        with self._guard:
            self._held.add(path)
            if not self._beating:
                self._beating = True
                threading.Thread(target=self._beat, name="claims", daemon=True).start()
        return True

    def _is_stale(self, path: Path) -> bool:
        owner = _owner(path)
        if owner.get("host") == socket.gethostname() and not _alive(owner.get("pid")):
            return True
        try:
            return self._now() - path.stat().st_mtime > LEASE_S
        except FileNotFoundError:
            return True

    def _now(self) -> float:
        """The file system's own time, read off a file that is touched for it."""
        probe = self._folder / f".clock.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(BEAT_S):
            with self._guard:
                held = tuple(self._held)
            for path in held:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path)


def _self(path: Path) -> dict[str, object]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "name": path.name}


def _owner(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}  # gone, or being written this moment: its age decides
    return found if isinstance(found, dict) else {}


def _alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
