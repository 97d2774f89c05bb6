"""One item of work: what a worker process needs to know, and what it does with it."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.ahead import ahead
from cache.artifact import Artifact
from cache.digest import file_digest
from cache.errors import (
    ConfigError,
    DamagedArtifact,
    HiprobeError,
    ItemError,
    MissingArtifact,
    SourceChanged,
)
from cache.keys import Keymaker, hash_of
from cache.store import Store
from manifests.table import table_digest
from pipeline.bundles.contents import Bundle
from pipeline.bundles.part import Part, part_of, require_chosen
from pipeline.environment import environment
from pipeline.room import is_full, measured, text_for_item
from stages.backbones.reference import BackboneReference
from stages.contract import Job, Result, no_progress


@dataclass(frozen=True, slots=True)
class SourceVideo:
    """The video file of an item, as it was when it was indexed."""

    path: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A payload that does not lie in the store: the scorer of another run."""

    path: Path
    digest: str
    """What `scorer_digest` gave when the work was planned."""

    def checked(self) -> Folder:
        """This folder, where it is still what it was; the other run may have been run again.

        Raises ConfigError, which ends the run: what would be made is not what its key says.
        """
        try:
            found = scorer_digest(self.path)
        except FileNotFoundError:
            found = ""
        if found != self.digest:
            raise ConfigError(
                f"run.scorer = {self.path.name!r} was changed or removed while this run was using "
                "it: give a scorer that stays as it is (a copy of the folder), and run again"
            )
        return self

    def holds(self, name: str) -> bool:
        """Whether it has this file."""
        return (self.path / name).exists()

    def file(self, name: str) -> Path:
        """The path of a file of it. Raises DamagedArtifact where it is not there."""
        if not self.holds(name):
            raise DamagedArtifact(f"{self.path.name} does not hold {name}")
        return self.path / name


SCORER = ("scorer.json", "scorer.safetensors", "probing_scores.parquet")
"""The files of a scorer: what it is, its numbers, and the training rows that it was fitted on."""


def scorer_digest(folder: Path) -> str:
    """One digest for the scorer in a folder; raises FileNotFoundError where it is not whole."""
    return hash_of([file_digest(folder / name) for name in SCORER])


@dataclass(frozen=True)
class Task:
    """Everything that a worker needs to make one artifact; small, and safe to send."""

    stage: str
    version: int
    item: str
    settings: Any
    recipe: Mapping[str, Any]
    inputs: Mapping[str, Any]
    members: Mapping[str, Mapping[str, str]]
    store: Path
    single: Mapping[str, tuple[str, str] | Folder]
    """(stage, key) by role, or a folder outside the store."""
    many: Mapping[str, tuple[str, Mapping[str, str]]]
    """(stage, {video id: key}) by role."""
    values: Mapping[str, Any]
    source: SourceVideo | None = None
    backbone: BackboneReference | None = None
    shared: tuple[Path, ...] = ()
    """Stores under the store, which are only read."""
    bundle: Bundle | None = None
    """What stands in the place of payloads that are in no store."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    item: str
    status: str
    """built, hit (somebody else had made it), busy (somebody is making it), failed, or stopped
    (the whole run cannot go on)."""
    digest: str = ""
    rows: int = 0
    bytes: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error_class: str = ""
    message: str = ""
    damaged: tuple[tuple[str, str], ...] = ()
    """(stage, key) of artifacts that were found damaged while this item was computed."""


def execute(task: Task, progress: Callable[[float, float], None] = no_progress) -> Outcome:
    """Make one artifact, unless it is there or being made; never raises for one item's trouble."""
    store = Store(task.store, task.shared)
    try:
        return _find_or_build(task, store, progress)
    except OSError as error:
        if not is_full(error):
            return _failure(task, error)
        text = text_for_item(store, task.stage, task.item, error)
        return Outcome(task.item, "stopped", error_class="RunStopped", message=text)
    except Exception as error:
        return _failure(task, error)


def _find_or_build(task: Task, store: Store, progress: Callable[[float, float], None]) -> Outcome:
    key = _key(task)
    found = store.find(task.stage, key)
    if found is not None:
        return _outcome(task, "hit", found)
    try:
        with store.claims.hold(f"{task.stage}~{key}") as got:
            if not got:
                return Outcome(task.item, "busy")
            found = store.find(task.stage, key)  # published between the look and the claim
            if found is not None:
                return _outcome(task, "hit", found)
            return _outcome(task, "built", _build(task, store, progress))
    except FileNotFoundError:
        # Where this process slept through its lease, somebody else has made the item meanwhile and
        # cleared its finished parts away.
        found = store.find(task.stage, key)
        if found is None:
            raise
        shutil.rmtree(store.parts(key), ignore_errors=True)
        return _outcome(task, "hit", found)


def _key(task: Task) -> str:
    return Keymaker(task.stage, task.version, task.recipe).key(task.inputs)


def _build(task: Task, store: Store, progress: Callable[[float, float], None]) -> Artifact:
    module = importlib.import_module(f"stages.{task.stage}")
    started = time.perf_counter()
    seen = _seen(task)
    drafted = store.draft(task.stage, task.version, task.recipe, task.inputs)
    with drafted as draft, measured(store, draft):
        partial = store.parts(draft.key)
        job: Job[Any] = Job(
            item=task.item,
            settings=task.settings,
            out=draft.path,
            inputs={
                role: where.checked()
                if isinstance(where, Folder)
                else _open(store, *where, task.inputs[role], task.item, task.bundle)
                for role, where in task.single.items()
            },
            many={
                role: _open_all(store, stage, keys, task.members[role], task.bundle)
                for role, (stage, keys) in task.many.items()
            },
            values=task.values,
            source=task.source.path if task.source else None,
            seal=hash_of(seen)[:16] if seen else "",
            backbone=task.backbone,
            partial=partial,
            finished=draft.finished,
            progress=progress,
        )
        if task.bundle is not None:
            require_chosen(task.bundle, job.inputs)
        result = _computed(task, module, job)
        artifact = store.publish(
            draft,
            rows=result.rows,
            seconds={**result.seconds, "all": time.perf_counter() - started},
            notes=result.notes,
            auxiliary=result.auxiliary,
            members=task.members,
            environment=environment(task.stage),
            logical=table_digest,
            before_rename=lambda: _check_source(task, seen),
        )
    shutil.rmtree(partial, ignore_errors=True)
    return artifact


def _open_all(
    store: Store,
    stage: str,
    keys: Mapping[str, str],
    digests: Mapping[str, str],
    bundle: Bundle | None,
) -> dict[str, Artifact | Part]:
    """One input per video, by video id in order."""
    videos = sorted(keys)
    found = ahead(lambda v: _open(store, stage, keys[v], digests[v], v, bundle), videos)
    return dict(zip(videos, found, strict=True))


def _open(
    store: Store, stage: str, key: str, digest: str, item: str, bundle: Bundle | None
) -> Artifact | Part:
    """An input, which must still have the content that it had when this item was planned."""
    artifact: Artifact | Part | None = store.find(stage, key)
    if artifact is None and bundle is not None:
        artifact = part_of(bundle, stage, key, item)
    if artifact is None:
        artifact = store.artifact(stage, key)  # raises what is the matter
    if artifact.digest != digest:
        raise MissingArtifact(
            f"{stage}/{key} was made again with other content (digest {digest[:12]} when this was "
            f"planned, {artifact.digest[:12]} now); nothing was made from it: run again"
        )
    return artifact


def _seen(task: Task) -> list[int]:
    """What changes with every writing, replacing or moving of the source file; empty without one."""
    if task.source is None:
        return []
    with contextlib.suppress(OSError):  # the stage says so when it reads it
        stat = task.source.path.stat()
        return [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns]
    return [-1]


def _computed(task: Task, module: Any, job: Job[Any]) -> Result:
    """What the stage makes. A failure for a source that changed meanwhile is told as that."""
    try:
        result: Result = module.compute(job)
    except (ItemError, OSError):
        _check_source(task, [])
        raise
    return result


def _check_source(task: Task, before: list[int]) -> None:
    """Refuse to commit what was read from a file that is not the one in the key.

    The file is read again: a stage that decodes it has spent far more than this.
    """
    if task.source is None:
        return
    try:
        found = file_digest(task.source.path)
    except FileNotFoundError:
        found = "no file"
    if found == task.source.digest and before[:3] != _seen(task)[: len(before[:3])]:
        raise SourceChanged(
            f"{task.source.path.name} was written or replaced while it was read, and then put back; "
            "nothing was committed for it: run again"
        )
    if found != task.source.digest:
        raise SourceChanged(
            f"{task.source.path.name} changed since it was indexed (sha256 {task.source.digest[:12]} "
            f"then, {found[:12]} now); nothing was committed for it: run again to index it anew"
        )


def _outcome(task: Task, status: str, artifact: Artifact) -> Outcome:
    commit = artifact.commit
    return Outcome(
        item=task.item,
        status=status,
        digest=commit.digest,
        rows=commit.rows,
        bytes=commit.bytes,
        seconds=commit.seconds,
        notes=commit.notes,
    )


def _failure(task: Task, error: Exception) -> Outcome:
    # A message that a person wrote is shown as it is; anything else needs its class to be read.
    text = str(error) if isinstance(error, HiprobeError) else f"{type(error).__name__}: {error}"
    stopping = isinstance(error, ConfigError)
    gone = _is_gone(task, error)
    return Outcome(
        item=task.item,
        status="stopped" if stopping else "failed",
        error_class=MissingArtifact.__name__ if gone else type(error).__name__,
        message=text,
        damaged=_damaged(task) if isinstance(error, DamagedArtifact) else (),
    )


def _is_gone(task: Task, error: Exception) -> bool:
    """Whether a file of the store vanished between the look at an artifact and the reading of it.

    Libraries tell it in words of their own: it was evicted or collected, and is no failure of the item.
    """
    if isinstance(error, HiprobeError) or not isinstance(error, OSError):
        return False
    lost = error.errno == errno.ESTALE or isinstance(error, FileNotFoundError)
    return lost and any(f"{root}{os.sep}" in str(error) for root in (task.store, *task.shared))


def _damaged(task: Task) -> tuple[tuple[str, str], ...]:
    """Which of the artifacts that a task read, or found in its place, are not what they should be."""
    from cache.verify import is_damaged

    store = Store(task.store, task.shared)
    read = [where for where in task.single.values() if not isinstance(where, Folder)]
    read += [(stage, key) for stage, keys in task.many.values() for key in keys.values()]
    read.append((task.stage, _key(task)))
    found = []
    for stage, key in read:
        artifact = store.find(stage, key) or Artifact(stage, key, store.folder(stage, key))
        # One that somebody has evicted or collected meanwhile is gone, and not damaged.
        if artifact.path.exists() and is_damaged(store, artifact):
            found.append((stage, key))
    return tuple(found)
