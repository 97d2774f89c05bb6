"""The catalog of a store: what is committed, for fast looking.

Opening 100,000 records takes seconds; listing their folders and reading one table takes a fraction
of one. The listing is the truth: a listed key with no folder is dropped, a folder that is not
listed has its record read. A row counts for the one folder (by its inode) that it was read from:
a key that was set aside and made again may hold other bytes. The table can be deleted at any time.

What shared stores hold is part of the catalog. Their own tables are read; what these do not know is
looked up once and remembered in a table of the store that they lie under.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
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
    inodes: dict[str, int] = field(default_factory=dict)
    """Inode of the folder by key, for rows that were loaded."""
    evicted: set[str] = field(default_factory=set)
    """The keys of which only the record was kept: nothing can be read of them."""
    origin: dict[str, Path] = field(default_factory=dict)
    """The folder of the shared store by key, for what this very store does not hold."""

    def add(self, key: str, digest: str, rows: int, size: int) -> None:
        """Take note of one artifact."""
        self.digests[key] = digest
        self.sizes[key] = (rows, size)
        self.inodes.pop(key, None)
        self.evicted.discard(key)
        self.origin.pop(key, None)


def load_catalog(store: Store, stages: Iterable[str]) -> dict[str, StageCatalog]:
    """The catalog of the named stages, reconciled with the folders that are there."""
    return {stage: _load_stage(store, stage) for stage in stages}


def _load_stage(store: Store, stage: str) -> StageCatalog:
    catalog = _load_own(store, stage, (_path(store, stage),))
    for shared in store.shared:
        table = store.root / "catalog" / f"{stage}@{_name_of(shared)}.txt"
        _add_shared(catalog, _load_own(shared, stage, (table, _path(shared, stage))), store, shared)
    return catalog


def _load_own(store: Store, stage: str, tables: tuple[Path, ...]) -> StageCatalog:
    """What one store holds. The first of the tables is kept up to date, the others only read."""
    listing = store.listing(stage)
    present = listing.inodes
    first = _read(tables[0])
    remembered = {k: v for table in reversed(tables[1:]) for k, v in _read(table).items()} | first
    catalog = StageCatalog()
    unknown = 0
    for key, inode in present.items():
        row = remembered.get(key)
        if row is None or row[3] != inode:
            unknown += 1
            _look_up(store, stage, key, catalog)
        else:
            catalog.digests[key] = row[0]
            catalog.sizes[key] = (row[1], row[2])
        catalog.inodes[key] = inode
    catalog.evicted = set(listing.evicted)
    # A row that does not hold is forgotten at once: a file system may give its inode again, and to
    # the same key.
    forget = any(present.get(key) != row[3] for key, row in first.items())
    if unknown > WORTH_WRITING or forget:
        _save(tables[0], catalog, {})
    return catalog


def _add_shared(catalog: StageCatalog, other: StageCatalog, store: Store, shared: Store) -> None:
    """Add what a shared store holds and those above it do not, or hold evicted."""
    distrusted = store.distrusted()
    for key, digest in other.digests.items():
        if (key in catalog.digests and (key not in catalog.evicted or key in other.evicted)) or (
            key in distrusted
        ):
            continue
        rows, size = other.sizes[key]
        catalog.add(key, digest, rows, size)
        catalog.origin[key] = shared.root
        if key in other.evicted:
            catalog.evicted.add(key)


def _name_of(shared: Store) -> str:
    """The name of a shared store within the names of the tables about it."""
    return hashlib.sha256(os.fsencode(shared.root)).hexdigest()[:16]


def save_catalog(store: Store, catalog: Mapping[str, StageCatalog]) -> None:
    """Write the tables; where that fails (no permission, no space) the old ones stay."""
    for stage, entries in catalog.items():
        _save(_path(store, stage), entries, store.listing(stage).inodes)


def _save(path: Path, entries: StageCatalog, inodes: Mapping[str, int]) -> None:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    # Nothing depends on the table being there, and its checksum tells a half-written one.
    with contextlib.suppress(OSError):
        body = "".join(_lines(entries, {**inodes, **entries.inodes}))
        try:
            draft.write_text(f"{_checksum(body)}\n{body}", encoding="ascii")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _lines(entries: StageCatalog, inodes: Mapping[str, int]) -> Iterator[str]:
    for key, digest in entries.digests.items():
        if key in inodes and key not in entries.origin:
            rows, size = entries.sizes[key]
            yield f"{key} {digest} {rows} {size} {inodes[key]}\n"


def _look_up(store: Store, stage: str, key: str, catalog: StageCatalog) -> None:
    try:
        artifact = store.record(stage, key)
        if artifact is None:
            raise DamagedArtifact(f"{stage}/{key}: its folder has no record")
        commit = artifact.commit
    except (DamagedArtifact, FileNotFoundError) as error:
        catalog.damaged[key] = str(error)
        return
    catalog.add(key, commit.digest, commit.rows, commit.bytes)


def _path(store: Store, stage: str) -> Path:
    return store.root / "catalog" / f"{stage}.txt"


def _read(path: Path) -> dict[str, tuple[str, int, int, int]]:
    """The remembered rows by key; nothing where the table is missing, damaged or foreign."""
    try:
        checksum, _, body = path.read_text(encoding="ascii").partition("\n")
    except (OSError, ValueError):
        return {}
    if checksum != _checksum(body):
        return {}
    rows = {}
    try:
        for line in body.splitlines():
            key, digest, count, size, inode = line.split(" ")
            rows[key] = (digest, int(count), int(size), int(inode))
    except ValueError:
        return {}  # the columns of another version
    return rows


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode("ascii")).hexdigest()
