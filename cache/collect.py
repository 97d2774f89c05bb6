"""Collecting garbage: what no run and no pin reaches is removed, safely beside everybody else.

Other processes publish, plan and read meanwhile, and none of them is locked out:

1. what the roots do not reach, and has not been for a while, is taken out of sight by a rename;
2. processes that announced before that they plan may have seen it: they are waited for, and have
   then written into their roots what they need;
3. the roots are read again; what they reach now is put back, and only the rest is deleted.

A process that begins to plan after step 1 does not see what is in the trash; if it needs that, its
root says so before step 3, or it makes it again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.artifact import EVICTED
from cache.atomic import clock_of, walk
from cache.commit import RECORD
from cache.errors import RunStopped
from cache.eviction import size_of
from cache.layout import IS_KEY, OTHER_FOLDERS, PARTS
from cache.roots import Root, announced, read_roots
from cache.store import Store, is_abandoned
from cache.trash import Trash

GUARD_S = 7 * 24 * 3600.0
"""Seconds that an artifact is left alone after it was made, or reached for the last time."""
DRAFT_S = 24 * 3600.0
"""Seconds without a change after which a draft is nobody's, where its process cannot be asked."""
PATIENCE_S = 600.0
"""Seconds to wait for processes that plan, before everything is put back."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """An artifact that no root reaches."""

    stage: str
    key: str
    path: Path
    bytes: int
    age_s: float
    """Since it came into this store, or was reached for the last time."""
    made: float
    """When it came into this store, in seconds since 1970 by the clock of the file system."""
    evicted: bool
    reached_by: str = ""
    """The name of the run that reached it last, where that is known."""
    until: int = 0
    """When that ended, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something under staging/ or quarantine/ that nobody works on any more."""

    what: str
    path: Path
    bytes: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of garbage."""

    removed: tuple[Garbage, ...]
    kept: tuple[Garbage, ...]
    """Put back: a run that planned meanwhile reaches it."""


def keys_of(roots: Iterable[Root]) -> set[tuple[str, str]]:
    """(stage, key) of everything that some roots reach."""
    return set[tuple[str, str]]().union(*(root.keys() for root in roots))


def garbage(store: Store, roots: Iterable[Root], age_s: float = GUARD_S) -> Iterator[Garbage]:
    """What none of the roots reaches and has not for `age_s` seconds, by stage and key.

    Ages go by the clock of the file system, so that a host whose own is off collects nothing more
    and nothing less.
    """
    roots = list(roots)
    reached = keys_of(roots)
    known: dict[tuple[str, str], tuple[int, str]] = {}
    for root in roots:
        for stage, keys in root.earlier.items():
            for key, until in keys.items():
                known[stage, key] = max(known.get((stage, key), (0, "")), (until, root.name))
    now = clock_of(store.root / "staging")
    for stage in store.stages():
        listing = store.listing(stage)
        for key in sorted(listing.inodes):
            if (stage, key) in reached:
                continue
            evicted = key in listing.evicted
            until, name = known.get((stage, key), (0, ""))
            path = store.folder(stage, key + EVICTED * evicted)
            try:
                made = made_at(path)
            except FileNotFoundError:
                continue  # collected or made again this moment
            age = now - max(made, until)
            if age >= age_s:
                yield Garbage(stage, key, path, size_of(path), age, made, evicted, name, until)


def collect(
    store: Store,
    found: Sequence[Garbage],
    *,
    patience_s: float = PATIENCE_S,
    waiting: Callable[[int], None] = lambda count: None,
) -> Collected:
    """Remove garbage that `garbage` found, but for what is reached by now.

    `waiting` is told how many processes that plan are waited for. Raises RunStopped where they take
    longer than `patience_s` seconds, and what `read_roots` raises: then nothing is removed.
    """
    trash = Trash(store)
    try:
        taken = [one for one in found if trash.take(one.path)]
        if not taken:
            trash.empty()  # made in vain: somebody else was faster
            return Collected((), ())
        _wait(store, patience_s, waiting)
        reached = keys_of(read_roots(store.root))
        kept = [one for one in taken if (one.stage, one.key) in reached]
        for one in kept:
            trash.put_back(one.stage, one.path.name)
    except BaseException:
        trash.put_all_back()
        raise
    trash.empty()
    gone = set(kept)
    return Collected(tuple(one for one in taken if one not in gone), tuple(kept))


def leftovers(store: Store, roots: Iterable[Root], age_s: float = GUARD_S) -> Iterator[Leftover]:
    """Drafts of processes that are gone, and old finished parts of items that no root reaches."""
    reached = {key for _, key in keys_of(roots)}
    staging = store.root / "staging"
    now = clock_of(staging)
    for path in sorted(staging.iterdir()):
        if is_abandoned(path, DRAFT_S):
            yield Leftover("draft", path, size_of(path), now - path.stat().st_mtime)
    for folder in (store.root, *(store.root / name for name in OTHER_FOLDERS)):
        # Files that are renamed into their place, and probes of the clock: made and gone in no time.
        for path in sorted(folder.glob(".*")):
            with contextlib.suppress(FileNotFoundError):
                since = now - path.lstat().st_mtime
                if path.is_file() and since >= DRAFT_S:
                    yield Leftover("draft", path, size_of(path), since)
    for path in sorted((staging / PARTS).glob("*")):
        if not IS_KEY(path.name) or (path.name in reached and not _is_made(store, path.name)):
            continue
        age = now - _touched(path)
        if age >= age_s:
            yield Leftover("parts", path, size_of(path), age)


def quarantined(store: Store, age_s: float = GUARD_S) -> Iterator[Leftover]:
    """Damaged artifacts that were set aside so long ago.

    The notes about artifacts of shared stores stay: without them these would be trusted again.
    """
    folder = store.root / "quarantine"
    now = clock_of(store.root / "staging")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        # When it was set aside: a rename changes no time but this.
        age = now - path.lstat().st_ctime
        if path.is_dir() and age >= age_s:
            yield Leftover("quarantine", path, size_of(path), age)


def _wait(store: Store, patience_s: float, waiting: Callable[[int], None]) -> None:
    """Wait for the processes that plan now: those that begin later do not see what was taken."""
    before = announced(store.root)
    deadline = time.monotonic() + patience_s
    while before := before & announced(store.root):
        waiting(len(before))
        if time.monotonic() >= deadline:
            raise RunStopped(
                f"{len(before)} runs have been planning for {patience_s:.0f} s, and may need what "
                "was to be removed: nothing was; try again when they have begun to work"
            )
        time.sleep(0.05)


def made_at(path: Path) -> float:
    """When the artifact in a folder came into this store, by the file system's clock."""
    try:
        return (path / RECORD).stat().st_mtime
    except FileNotFoundError:
        return path.stat().st_mtime


def _touched(path: Path) -> float:
    times = [entry.stat(follow_symlinks=False).st_mtime for entry in walk(path)]
    return max([path.stat().st_mtime, *times])


def _is_made(store: Store, key: str) -> bool:
    return any(store.find(stage, key) is not None for stage in store.stages())
