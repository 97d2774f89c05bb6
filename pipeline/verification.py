"""What `hiprobe cache verify` and `repair` do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.catalog import StageCatalog, load_catalog
from cache.collect import keys_of
from cache.errors import ConfigError, MissingArtifact, StoreError
from cache.layout import PARTS
from cache.roots import Root, named, read_root
from cache.rotation import Rotation
from cache.store import Store
from cache.surroundings import misfits
from cache.verify import Finding, Looked, Place, look_at, places_of
from pipeline.config import nearest
from pipeline.graph import NODES
from pipeline.progress import Progress
from pipeline.results import broken_results, has_sums, set_aside
from pipeline.task import Outcome

SAVED_S = 30.0
"""Seconds between two times that it is written down what was read."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What is to be looked at, and how closely."""

    full: bool = False
    """Whether every byte is read again."""
    seconds: float = 0.0
    """For how long, where not to the end: then the artifacts take turns."""
    stages: Sequence[str] = ()
    run: str = ""
    """Name or id of a run or pin: only what it reaches."""
    key: str = ""
    """First digits of the key of one artifact."""
    shared: bool = False
    """Whether the stores that lie under this one are looked at, too."""
    threads: int = 2
    """Large artifacts that are read side by side."""

    @property
    def whole(self) -> bool:
        """Whether nothing is left out on purpose."""
        return not (self.stages or self.run or self.key)


@dataclass(slots=True)
class _Report:
    """What was looked at, and what was found."""

    artifacts: int = 0
    bytes: int = 0
    of: int = 0
    """Artifacts that were meant; fewer were looked at where the time was over before."""
    findings: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    strays: list[dict[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    covered: dict[str, Any] | None = None


def verify_store(
    store: Store,
    extent: Extent,
    *,
    repair: bool = False,
    results: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Look at artifacts, at what lies around them, and at the results of a run where they are given.

    With `repair`, what is damaged is set aside. Raises ConfigError for a stage, run or key that is
    not there.
    """
    report = _Report()
    stores = [store, *(store.shared if extent.shared else ())]
    chosen = _chosen(stores, extent)
    for one, places in zip(stores, chosen, strict=True):
        _look_through(one, places, store, extent, repair, report, progress)
    for one in stores if extent.whole else ():
        where = {} if one is store else {"store": str(one.root)}
        _look_around(one, where, report)
    if results is not None and extent.whole:
        for path, message in list(broken_results(results)):
            if repair:
                set_aside(path)
            said = {"path": str(path), "message": message, "set_aside": repair}
            report.files.append(said)
    report.left_out += _left_out(store, extent, results)
    return {
        "artifacts": report.artifacts,
        "of": report.of,
        "bytes": report.bytes,
        "full": extent.full,
        "repair": repair,
        "findings": report.findings,
        "files": report.files,
        "strays": report.strays,
        "covered": report.covered,
        "not_looked_at": report.left_out,
    }


def _chosen(stores: Sequence[Store], extent: Extent) -> list[list[Place]]:
    """The artifacts that are meant, for each of the stores."""
    for stage in extent.stages:
        known = {*NODES, *(name for store in stores for name in store.stages())}
        if stage not in known:
            raise ConfigError(f"--stage {stage}: there is no such stage{nearest(stage, known)}")
    found = [list(places_of(store, extent.stages or None)) for store in stores]
    if extent.run:
        roots = [root for store in stores for root in _readable_roots(store)]
        reached = keys_of(named(roots, extent.run))
        found = [[place for place in places if place in reached] for places in found]
    if extent.key:
        found = [[p for p in places if p[1].startswith(extent.key)] for places in found]
        matching = sorted({place for places in found for place in places})
        if len({key for _, key in matching}) != 1:
            some = ", ".join(f"{stage}/{key[:16]}" for stage, key in matching[:5])
            raise ConfigError(
                f"--id {extent.key}: {len(matching)} artifacts have a key that begins so"
                f"{f' ({some}, ...): give more digits' if matching else ''}"
            )
    return found


def _readable_roots(store: Store) -> Iterator[Root]:
    """The roots and pins that can be read: the others are told of where the store is looked around."""
    for folder in ("roots", "pins"):
        for path in sorted((store.root / folder).glob("[!.]*.txt")):
            with contextlib.suppress(StoreError, FileNotFoundError):
                yield read_root(path, pinned=folder == "pins")


def _look_through(
    one: Store,
    places: list[Place],
    store: Store,
    extent: Extent,
    repair: bool,
    report: _Report,
    progress: Progress | None,
) -> None:
    """Look at these artifacts of one store: `store`, or one that lies under it."""
    if one is not store:
        distrusted = store.distrusted()
        known = [place for place in places if place[1] in distrusted]
        if known:
            report.left_out.append(
                f"{len(known)} artifacts of {one.root} that were found damaged before: they are "
                "not used from here"
            )
        places = [place for place in places if place[1] not in distrusted]
    report.of += len(places)
    rotation = Rotation(one) if extent.full else None
    if rotation is not None and extent.seconds:
        places = rotation.order(places)
    try:
        for looked in _in_time(one, places, extent, rotation, progress):
            report.artifacts += 1
            report.bytes += _bytes_of(looked)
            if looked.finding is not None:
                report.findings.append(_told(looked.finding, one, store, repair))
    finally:
        if rotation is not None and (why := rotation.save()):
            report.left_out.append(f"what was read is not written down in {one.root}: {why}")
    if rotation is not None and one is store:
        coverage = rotation.coverage()
        report.covered = {"read": coverage.read, "of": coverage.of, "since": coverage.since}


def _in_time(
    store: Store,
    places: list[Place],
    extent: Extent,
    rotation: Rotation | None,
    progress: Progress | None,
) -> Iterator[Looked]:
    """Look at one after the other while there is time, and until one was sound.

    So what is damaged, which is due as long as it lies there, does not keep the others from theirs.
    """
    shown = progress if rotation is not None else None
    if shown is not None:
        shown.start("verify", _weights(store, places))
    began, sound = (saved := time.monotonic()), False
    with closing(look_at(store, places, full=extent.full, threads=extent.threads)) as looks:
        for looked in looks:
            now = time.monotonic()
            if rotation is not None:
                rotation.note(looked)
                if now - saved > SAVED_S:
                    rotation.save()
                    saved = now
            if shown is not None:
                shown.update(Outcome(f"{looked.artifact.stage}/{looked.artifact.key}", "hit"))
            yield looked
            sound = sound or looked.finding is None
            if extent.seconds and sound and now - began >= extent.seconds:
                break
    if shown is not None:
        shown.finish()


def _weights(store: Store, places: Iterable[Place]) -> dict[str, float]:
    """Bytes by artifact, as far as they are known."""
    places = list(places)
    catalog: dict[str, StageCatalog] = {}
    with contextlib.suppress(StoreError):  # a record of a newer format, say: it is told where it is
        catalog = load_catalog(Store(store.root), {stage for stage, _ in places})
    known = {stage: found.sizes for stage, found in catalog.items()}
    return {f"{s}/{key}": float(known.get(s, {}).get(key, (0, 0))[1]) for s, key in places}


def _bytes_of(looked: Looked) -> int:
    try:
        return 0 if looked.artifact.evicted else looked.artifact.commit.bytes
    except StoreError:
        return 0


def _told(finding: Finding, one: Store, store: Store, repair: bool) -> dict[str, Any]:
    aside = False
    if repair and finding.damaged and (one is store or not _own(store, finding)):
        with contextlib.suppress(MissingArtifact):  # somebody else has set it aside
            store.quarantine(finding.stage, finding.key)
        aside = True
    where = {} if one is store else {"store": str(one.root)}
    return {
        "stage": finding.stage,
        "key": finding.key,
        "message": finding.message,
        "damaged": finding.damaged,
        "set_aside": aside,
        **where,
    }


def _own(store: Store, finding: Finding) -> bool:
    """Whether a store has this artifact itself, so that the one of a shared store is not read."""
    return store.folder(finding.stage, finding.key).exists()


def _look_around(one: Store, where: dict[str, str], report: _Report) -> None:
    for misfit in misfits(one):
        if misfit.damaged:
            report.files.append(
                {"path": misfit.path, "message": misfit.message, "set_aside": False, **where}
            )
        else:
            report.strays.append({"path": misfit.path, "message": misfit.message, **where})


def _left_out(store: Store, extent: Extent, results: Path | None) -> Iterator[str]:
    """What was not looked at, in words."""
    if not extent.full:
        yield "the bytes of the payloads (--full reads them, --for 10m a part of them)"
    if not extent.whole:
        yield "what was not selected, and what lies around the artifacts"
    elif results is None:
        yield "the results of runs (give the configuration of one in place of the folder)"
    elif not has_sums(results):
        yield f"the results in {results}: they have no check sums, which the next run writes"
    if store.shared and not extent.shared:
        yield f"{len(store.shared)} shared stores (--shared looks at them, too)"
    waiting = [name for name in ("staging", "quarantine") if _holds(store.root / name)]
    if waiting:
        yield f"what lies in {' and '.join(waiting)}: nobody reads it as an artifact"


def _holds(folder: Path) -> bool:
    return any(path.name != PARTS or any(path.iterdir()) for path in folder.glob("*"))
