"""The catalog of a store: what is committed, for fast looking.

Opening 100,000 records takes seconds; listing their folders and reading one table takes a fraction
of one. The listing is the truth: a listed key with no folder is dropped, a folder that is not
listed has its record read. The table can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cache.errors import DamagedArtifact
from cache.store import Store

WORTH_WRITING = 32
"""The table is written again when more entries than this had to be looked up one by one."""


@dataclass(slots=True)
class StageCatalog:
    """The committed artifacts of one stage: content digest, rows and bytes by key."""

    digests: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """(rows, bytes) by key."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Message by key, for folders whose record cannot be read."""

    def add(self, key: str, digest: str, rows: int, size: int) -> None:
        """Take note of one artifact."""
        self.digests[key] = digest
        self.sizes[key] = (rows, size)


def load_catalog(store: Store, stages: Iterable[str]) -> dict[str, StageCatalog]:
    """The catalog of the named stages, reconciled with the folders that are there."""
    return {stage: _load_stage(store, stage) for stage in stages}


def _load_stage(store: Store, stage: str) -> StageCatalog:
    present = store.keys(stage)
    remembered = _read(_path(store, stage)) if present else {}
    catalog = StageCatalog()
    unknown = 0
    for key in present:
        row = remembered.get(key)
        if row is None:
            unknown += 1
            _look_up(store, stage, key, catalog)
        else:
            catalog.digests[key] = row[0]
            catalog.sizes[key] = (row[1], row[2])
    if unknown > WORTH_WRITING or len(remembered) - len(catalog.digests) > WORTH_WRITING:
        save_catalog(store, {stage: catalog})
    return catalog


def save_catalog(store: Store, catalog: Mapping[str, StageCatalog]) -> None:
    """Write the tables; a store that cannot be written is left as it is."""
    for stage, entries in catalog.items():
        path = _path(store, stage)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        with contextlib.suppress(PermissionError, FileNotFoundError):
            lines = (
                f"{key} {digest} {entries.sizes[key][0]} {entries.sizes[key][1]}\n"
                for key, digest in entries.digests.items()
            )
            body = "".join(lines)
            draft.write_text(f"{_checksum(body)}\n{body}", encoding="ascii")
            draft.replace(path)


def _look_up(store: Store, stage: str, key: str, catalog: StageCatalog) -> None:
    try:
        commit = store.artifact(stage, key).commit
    except (DamagedArtifact, FileNotFoundError) as error:
        catalog.damaged[key] = str(error)
        return
    catalog.add(key, commit.digest, commit.rows, commit.bytes)


def _path(store: Store, stage: str) -> Path:
    return store.root / "catalog" / f"{stage}.txt"


def _read(path: Path) -> dict[str, tuple[str, int, int]]:
    """The remembered rows by key; nothing where the table is missing, damaged or foreign."""
    try:
        checksum, _, body = path.read_text(encoding="ascii").partition("\n")
    except (OSError, ValueError):
        return {}
    if checksum != _checksum(body):
        return {}
    rows = {}
    for line in body.splitlines():
        key, digest, count, size = line.split(" ")
        rows[key] = (digest, int(count), int(size))
    return rows


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode("ascii")).hexdigest()
