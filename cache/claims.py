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
import errno
import functools
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache.atomic import clock_of

LEASE_S = 60.0
"""Seconds without a sign of life after which a claim is up for grabs."""
BEAT_S = 10.0
"""Seconds between two signs of life."""


class Claims:
    """The claims of one process in one store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: set[Path] = set()
        self._changed = threading.Condition()
        self._beating = False

    @contextmanager
    def hold(self, name: str) -> Iterator[bool]:
        """Try to claim `name`; yields whether it was got. Released on leaving."""
        path = self._folder / name
        token = self._take(path)
        try:
            yield bool(token)
        finally:
            if token:
                self._release(path, token)

    def is_held(self, name: str) -> bool:
        """Whether somebody alive holds `name`."""
        path = self._folder / name
        return path.exists() and not self._is_stale(path)

    def sweep(self) -> None:
        """Remove claims whose process is gone: one that was killed after it had published."""
        for path in sorted(self._folder.glob("[!.]*")):
            # One that cannot be removed (a store that is only read) stands in nobody's way.
            with contextlib.suppress(OSError):
                if not self.is_held(path.name):
                    path.unlink(missing_ok=True)

    def _take(self, path: Path) -> str:
        """Make the claim file and start the heart; returns the claim's token, empty if not got."""
        if path.exists() and self._is_stale(path):
            # Two processes may both see it stale and both remove it; the second may remove the
            # claim that the first has just made. Then both work: wasteful, never wrong.
            path.unlink(missing_ok=True)
        token = uuid.uuid4().hex
        owner = json.dumps({"host": this_host(), "pid": os.getpid(), "token": token}).encode()
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return ""
        try:
            # One write, right behind: whoever is killed between the two leaves a claim that has to
            # be waited for, because it does not say whose it is.
            if os.write(descriptor, owner) < len(owner):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            path.unlink(missing_ok=True)  # a full disk: nobody shall wait for an empty claim
            raise
        finally:
            os.close(descriptor)
        with self._changed:
            self._held.add(path)
            if not self._beating:
                self._beating = True
                threading.Thread(target=self._beat, name="claims", daemon=True).start()
        return token

    def _release(self, path: Path, token: str) -> None:
        with self._changed:
            self._held.discard(path)
            self._changed.notify_all()
        # One that somebody has taken over meanwhile is theirs to release.
        if _owner(path).get("token") == token:
            path.unlink(missing_ok=True)

    def _is_stale(self, path: Path) -> bool:
        owner = _owner(path)
        if owner.get("host") == this_host() and not is_alive(owner.get("pid")):
            return True
        try:
            return clock_of(self._folder) - path.stat().st_mtime > LEASE_S
        except FileNotFoundError:
            return True

    def _beat(self) -> None:
        """Touch what is held every few seconds; the thread ends with the last claim."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._held, timeout=BEAT_S)
                if not self._held:
                    self._beating = False
                    return
                held = tuple(self._held)
            for path in held:
                # A missed sign of life may cost a claim; it must not stop the next one.
                with contextlib.suppress(OSError):
                    os.utime(path)


@functools.cache
def this_host() -> str:
    """This machine's name and process numbering.

    Containers may share a host's name and yet number their processes apart: a process number of
    one says nothing about the other.
    """
    try:
        numbering = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        numbering = 0
    return f"{socket.gethostname()}+{numbering}"


def is_alive(pid: object) -> bool:
    """Whether a process of this host runs; yes where that cannot be known."""
    if not isinstance(pid, int) or pid <= 0:
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _owner(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}  # gone, or being written this moment: its age decides
    return found if isinstance(found, dict) else {}
