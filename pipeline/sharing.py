"""What `hiprobe cache push` and `pull` do and say: which artifacts, in parallel, then the roots."""

from __future__ import annotations

import contextlib
import fnmatch
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.address import Address
from cache.artifact import Artifact
from cache.download import download
from cache.errors import ConfigError, DamagedArtifact, MissingArtifact, NotAStore, RunStopped
from cache.layout import MARK
from cache.moved import ABSENT, DAMAGED, DIFFERS, EVICTED, MOVED, OUTCOMES, PRESENT, Moved, Tick
from cache.remote import Remote
from cache.remote_roots import hand_root, origin_of, read_remote_roots, receive_root, send_root
from cache.roots import Root, named, read_roots
from cache.store import Store
from cache.upload import upload
from cache.verify import examine
from pipeline.config import nearest
from pipeline.graph import NODES
from pipeline.parallel import each
from pipeline.progress import Progress, size
from pipeline.task import Outcome
from pipeline.view import table

Name = tuple[str, str]
"""(stage, key)."""
Move = Callable[[Name, Tick], Moved]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which artifacts are meant, and how they are moved."""

    run: str = ""
    """Name or id of a run or pin: what it reaches, and its root."""
    stages: Sequence[str] = ()
    select: str = ""
    """Glob over the video ids that the runs know."""
    key: str = ""
    """First digits of the key."""
    jobs: int = 8
    dry_run: bool = False
    check: bool = False
    """Read back what was pushed, and what is there already."""

    @property
    def everything(self) -> bool:
        """Whether nothing narrows it down: then every root goes along."""
        return not (self.run or self.stages or self.select or self.key)


def push(store: Store, address: Address, wanted: Wanted, progress: Progress) -> dict[str, Any]:
    """Send artifacts of a store to a folder or a remote store; then the roots that reach them.

    Raises ConfigError for what cannot be right, Unreachable where the connection broke off for
    good, RunStopped where this machine has no space or no permission.
    """
    _check_stages(wanted)
    roots = read_roots(store.root)
    chosen = _roots_that_go(roots, wanted)
    names = _chosen(roots, store.stages, store.keys, wanted)
    if address.folder is not None:
        target = _open_target(address.folder, store, wanted.dry_run)
        if not wanted.dry_run:
            target.sweep()  # what killed pushes left
        move = _handing(store, target, wanted)
    else:
        if address.protocol in ("http", "https"):
            raise ConfigError(f"{address.shown}: a store over HTTP can be pulled from, only")
        remote = Remote(address)
        if not wanted.dry_run:
            remote.make()
        move = _sending(store, remote, wanted)
    said = _move_all("push", names, move, wanted, progress)
    if not wanted.dry_run:
        for root in chosen:
            if address.folder is not None:
                hand_root(target, root)
            else:
                send_root(remote, store, root)
    return _value("push", store, address, said, chosen, wanted)


def pull(store: Store, address: Address, wanted: Wanted, progress: Progress) -> dict[str, Any]:
    """Fetch artifacts into a store; the roots that reach them come first, under other names.

    Raises as `push` does, and NotAStore where the address is that of no store.
    """
    _check_stages(wanted)
    if address.folder == store.root.absolute():
        raise ConfigError(f"{address.shown} is the store itself")
    remote = Remote(address)
    remote.check()
    roots, problems = read_remote_roots(remote, wanted.run)
    try:
        chosen = _roots_that_go(roots, wanted)
    except ConfigError as error:
        if problems:
            raise DamagedArtifact("; ".join(problems)) from error
        raise ConfigError(f"{remote.shown}: {error}") from error
    names = _chosen(roots, remote.stages, remote.keys, wanted)
    if not wanted.dry_run:
        # Before what they reach: so that nobody's garbage collection takes it away meanwhile.
        for root in chosen:
            try:
                receive_root(store, root)
            except OSError as error:
                raise RunStopped(f"{store.root} cannot be written: {error}") from error
        store.sweep()  # what killed pulls left

    def move(name: Name, tick: Tick) -> Moved:
        return download(remote, *name, store, dry_run=wanted.dry_run, tick=tick)

    said = _move_all("pull", names, move, wanted, progress)
    said[0].extend(Moved("roots", "", DAMAGED, message=text) for text in problems)
    return _value("pull", store, address, said, chosen, wanted)


def _check_stages(wanted: Wanted) -> None:
    for stage in wanted.stages:
        if stage not in NODES:
            raise ConfigError(f"--stage {stage}: there is no such stage{nearest(stage, NODES)}")


def _chosen(
    roots: Iterable[Root],
    stages: Callable[[], Iterable[str]],
    keys: Callable[[str], Iterable[str]],
    wanted: Wanted,
) -> list[Name]:
    """What is wanted, by stage and key: of what runs reach, or of what a store lists."""
    if wanted.run or wanted.select:
        found = {
            (stage, key)
            for root in (named(roots, wanted.run) if wanted.run else roots)
            for stage, known in root.reach.items()
            for item, key in known.items()
            if not wanted.select or fnmatch.fnmatchcase(item, wanted.select)
        }
    else:
        listed = [stage for stage in stages() if stage in (wanted.stages or NODES)]
        found = {(stage, key) for stage in listed for key in keys(stage)}
    order = {stage: place for place, stage in enumerate(NODES)}
    return sorted(
        (
            (stage, key)
            for stage, key in found
            if stage in (wanted.stages or NODES) and key.startswith(wanted.key)
        ),
        key=lambda name: (order[name[0]], name[1]),
    )


def _roots_that_go(roots: Sequence[Root], wanted: Wanted) -> list[Root]:
    """The roots of the run that is named, or all; of one and its pulled copy, only the first."""
    found = named(roots, wanted.run) if wanted.run else list(roots) if wanted.everything else []
    own = {root.id for root in found if root.id == origin_of(root)}
    return [root for root in found if root.id == origin_of(root) or origin_of(root) not in own]


def _open_target(folder: Path, store: Store, dry_run: bool) -> Store:
    """The store that is pushed to; made where nothing is, unless nothing is to be written."""
    if folder == store.root.absolute():
        raise ConfigError(f"{folder} is the store itself")
    try:
        return Store(folder) if dry_run and not (folder / MARK).exists() else Store.open(folder)
    except PermissionError as error:
        raise ConfigError(f"{folder} cannot be written: {error}") from error
    except NotADirectoryError as error:
        raise NotAStore(f"{folder} is no folder") from error


def _sending(store: Store, remote: Remote, wanted: Wanted) -> Move:
    def move(name: Name, tick: Tick) -> Moved:
        artifact = store.record(*name)
        if artifact is None:
            return Moved(*name, ABSENT)
        return upload(artifact, remote, check=wanted.check, dry_run=wanted.dry_run, tick=tick)

    return move


def _handing(store: Store, target: Store, wanted: Wanted) -> Move:
    """Into a folder: the other store fetches, as it would from a remote one."""
    sources: dict[Path, Remote] = {}
    lock = threading.Lock()

    def source_of(artifact: Artifact) -> Remote:
        root = artifact.path.parents[2]
        with lock:
            return sources.setdefault(root, Remote(Address(str(root))))

    def move(name: Name, tick: Tick) -> Moved:
        artifact = store.record(*name)
        if artifact is None or artifact.evicted:
            return Moved(*name, ABSENT if artifact is None else EVICTED)
        note = ""
        there = target.find(*name)
        if there is not None:
            if bad := examine(there, full=wanted.check):
                if wanted.dry_run:
                    return Moved(*name, MOVED, artifact.commit.bytes, f"{bad}: to be replaced")
                target.quarantine(*name)
                note = f"{name[0]}/{name[1]} of {target.root}: {bad}; replaced"
            elif there.digest != artifact.digest:
                text = f"{there.name} is in {target.root} with other content: the first stays"
                return Moved(*name, DIFFERS, message=text)
            else:
                return Moved(*name, PRESENT)
        moved = download(source_of(artifact), *name, target, dry_run=wanted.dry_run, tick=tick)
        return Moved(*name, moved.outcome, moved.bytes, moved.message or note)

    def careful(name: Name, tick: Tick) -> Moved:
        try:
            return move(name, tick)
        except MissingArtifact:
            return Moved(*name, ABSENT)
        except DamagedArtifact as error:
            return Moved(*name, DAMAGED, message=str(error))

    return careful


def _move_all(
    what: str, names: Sequence[Name], move: Move, wanted: Wanted, progress: Progress
) -> tuple[list[Moved], int]:
    """Everything that became of it, and how many bytes have passed."""
    passed, lock = 0, threading.Lock()

    def tick(count: int) -> None:
        nonlocal passed
        with lock:
            passed += count

    found: dict[Name, Moved] = {}
    progress.start(what, {f"{stage}/{key}": 1.0 for stage, key in names})
    with contextlib.closing(each(names, move, wanted.jobs, tick)) as moving:
        for (stage, key), moved in moving:
            found[stage, key] = moved
            failed = moved.outcome == DAMAGED
            progress.update(Outcome(f"{stage}/{key}", "failed" if failed else "built"))
    progress.finish()
    return [found[name] for name in names], passed


def _value(
    what: str,
    store: Store,
    address: Address,
    said: tuple[list[Moved], int],
    roots: Sequence[Root],
    wanted: Wanted,
) -> dict[str, Any]:
    found, passed = said
    stages = []
    for stage in dict.fromkeys(moved.stage for moved in found):
        of_stage = [moved for moved in found if moved.stage == stage]
        counts = {name: sum(m.outcome == name for m in of_stage) for name in OUTCOMES}
        moving = sum(m.bytes for m in of_stage if m.outcome == MOVED)
        stages.append({"stage": stage, **counts, "bytes": moving})
    return {
        "did": what,
        "store": str(store.root),
        "url": address.shown,
        "dry_run": wanted.dry_run,
        "stages": stages,
        "bytes": sum(stage["bytes"] for stage in stages),
        "passed_bytes": passed,
        "runs": [origin_of(root) for root in roots],
        "moved": [
            {"stage": m.stage, "key": m.key, "bytes": m.bytes} for m in found if m.outcome == MOVED
        ],
        "damaged": _told(found, lambda m: m.outcome == DAMAGED),
        "notes": _told(found, lambda m: m.outcome != DAMAGED and bool(m.message)),
    }


def _told(found: Iterable[Moved], which: Callable[[Moved], bool]) -> list[dict[str, str]]:
    return [{"stage": m.stage, "key": m.key, "message": m.message} for m in found if which(m)]


def sharing_text(value: Mapping[str, Any]) -> str:
    """What was moved, what was there, and what was refused, as a table and lines."""
    shown = [name for name in OUTCOMES if any(stage[name] for stage in value["stages"])]
    rows = [
        [stage["stage"], *(str(stage[name]) for name in shown), size(stage["bytes"])]
        for stage in value["stages"]
    ]
    lines = [table(["stage", *shown, "bytes"], rows)] if rows else ["nothing is meant by this"]
    lines += [f"note: {note['message']}" for note in value["notes"]]
    lines += [f"REFUSED {bad['message']}" for bad in value["damaged"]]
    did = f"would {value['did']}" if value["dry_run"] else f"{value['did']}ed"
    where = f"{'to' if value['did'] == 'push' else 'from'} {value['url']}"
    runs = f", with the runs {', '.join(value['runs'])}" if value["runs"] else ""
    count = f"{len(value['moved'])} artifacts, {size(value['bytes'])}"
    lines.append(f"{did} {count}, {where}{runs}")
    return "\n".join(lines)
