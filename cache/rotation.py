"""When each artifact was last read in full, so that checks that take turns come round to all.

<store>/catalog/verified.txt    a line per artifact: stage, key, inode of its folder, seconds

Like the catalogs it can be deleted at any time: then nothing counts as read. A row counts for the
one folder that was read: an artifact that was made again has another inode, and is due.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cache.store import Store
from cache.verify import Looked, Place

FILE = "verified.txt"


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a store was read in full, and since when."""

    read: int
    of: int
    """Artifacts that were read in full, and all."""
    since: float | None
    """When the one was read whose turn is the longest ago, in seconds since 1970."""


class Rotation:
    """Who was read when, in one store."""

    def __init__(self, store: Store) -> None:
        self._path = store.root / "catalog" / FILE
        self._inodes: dict[Place, int] = {}
        for stage in store.stages():
            for key, inode in store.listing(stage).inodes.items():
                self._inodes[stage, key] = inode
        self._read = self._valid(_load(self._path))
        self._noted: set[Place] = set()

    def order(self, places: Iterable[Place]) -> list[Place]:
        """These artifacts in the order in which they are due: never read, then the longest ago."""
        return sorted(places, key=lambda place: (self._read.get(place, (0, 0))[1], place))

    def note(self, looked: Looked) -> None:
        """Take note of an artifact that was read in full; a damaged one is due as long as it lies."""
        place = (looked.artifact.stage, looked.artifact.key)
        self._noted.add(place)
        self._inodes[place] = looked.inode
        self._read.pop(place, None)
        if looked.finding is None:
            self._read[place] = (looked.inode, int(time.time()))

    def coverage(self) -> Coverage:
        """How far it has come."""
        times = [at for _, at in self._read.values()]
        return Coverage(len(times), len(self._inodes), min(times) if times else None)

    def save(self) -> str:
        """Keep it in the store; gives why that was not possible, or nothing.

        What another check has read meanwhile is kept, too.
        """
        draft = self._path.with_name(f".{FILE}.{uuid.uuid4().hex[:12]}.tmp")
        for place, row in self._valid(_load(self._path)).items():
            if place not in self._noted:
                self._read[place] = max(row, self._read.get(place, row), key=lambda row: row[1])
        rows = sorted(self._read.items())
        body = "".join(f"{s} {key} {inode} {at}\n" for (s, key), (inode, at) in rows)
        try:
            draft.write_text(f"{_checksum(body)}\n{body}", encoding="ascii")
            draft.replace(self._path)
        except OSError as error:
            return str(error)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        return ""

    def _valid(self, rows: Mapping[Place, tuple[int, int]]) -> dict[Place, tuple[int, int]]:
        # A clock that was ahead must not put off what it has read for as long.
        now = int(time.time())
        return {
            place: (inode, min(at, now))
            for place, (inode, at) in rows.items()
            if self._inodes.get(place) == inode
        }


def _load(path: Path) -> dict[Place, tuple[int, int]]:
    """Inode and time by artifact; nothing where the file is missing, damaged or foreign."""
    try:
        checksum, _, body = path.read_text(encoding="ascii").partition("\n")
        rows = [line.split(" ") for line in body.splitlines()]
        if checksum == _checksum(body):
            return {(stage, key): (int(inode), int(at)) for stage, key, inode, at in rows}
    except (OSError, ValueError):
        pass
    return {}


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode("ascii")).hexdigest()
