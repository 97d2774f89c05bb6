"""The store inside a bundle: what a run needs and cannot make without videos, model and all layers."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from cache.artifact import EVICTED, Artifact
from cache.commit import RECORD, Commit, FileEntry
from cache.digest import file_digest, write_json
from cache.errors import DamagedArtifact, EvictedArtifact
from cache.keys import canonical
from cache.layout import FORMAT, MARK
from cache.store import Store
from pipeline.plan import StagePlan

BUNDLED = (
    "index", "decode", "sample", "forward", "moments", "statistics", "heads", "crossvalidate",
    "select", "forward_selected", "explain", "projection",
)  # fmt: skip
"""The stages whose artifacts are in a bundle: what the others make, it can make again."""
KEPT = {
    "forward": ("states.json",),
    "forward_selected": ("states.json",),
    "moments": (),
    "sample": ("segments.parquet", "keyframes.parquet"),
}
"""Files of these that are in a bundle, beside the record: not the hidden states, nor the pixels."""


def write_artifacts(root: Path, plans: Mapping[str, StagePlan], store: Store) -> None:
    """Write the store `root`: whole artifacts, and evicted ones with some of their files.

    Raises EvictedArtifact where a payload is not there, DamagedArtifact for a byte that is not what
    its record says.
    """
    root.mkdir()
    write_json(root / MARK, {"hiprobe_store": FORMAT})
    for stage in BUNDLED:
        plan = plans[stage]
        # Two videos may share an artifact: what is equal has the same key.
        for key in sorted({plan.keys[item] for item in plan.digests}):
            _write(root / stage / key[:2], store, stage, key)


def payload_of(store: Store, stage: str, key: str) -> Artifact:
    """An artifact whose payload is needed; raises EvictedArtifact that says what can be done."""
    try:
        return store.artifact(stage, key)
    except EvictedArtifact as error:
        raise EvictedArtifact(
            f"the payload of {stage}/{key} was evicted, and a bundle needs it: bring it back with "
            "`hiprobe cache pull`, or name a store that holds it in cache.shared",
            error.name,
        ) from error


def _write(folder: Path, store: Store, stage: str, key: str) -> None:
    record = store.record(stage, key)
    if record is None:
        record = store.artifact(stage, key)  # raises
    commit = record.commit
    kept = _kept(stage, commit)
    whole = len(kept) == len(commit.files)
    target = folder / (key if whole else key + EVICTED)
    target.mkdir(parents=True)
    source = payload_of(store, stage, key) if kept else record
    for entry in kept:
        _copy(source, entry, target / entry.path)
    (target / RECORD).write_text(canonical(_nameless(commit).to_json()), encoding="ascii")


def _kept(stage: str, commit: Commit) -> Sequence[FileEntry]:
    if stage not in KEPT:
        return commit.files
    return [entry for entry in commit.files if entry.path in KEPT[stage]]


def _copy(source: Artifact, entry: FileEntry, target: Path) -> None:
    if "/" in entry.path:
        target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source.path / entry.path, target)
    # What was written is compared, and not what was read: nothing lies between the two.
    if file_digest(target) != entry.sha256:
        raise DamagedArtifact(
            f"artifact {source.name}: {entry.path} does not have the digest of its record; "
            "`hiprobe cache repair --full` sets it aside and the next run makes it again"
        )


def _nameless(commit: Commit) -> Commit:
    """The record without the name of the machine; no key and no digest rests on it."""
    kept = {name: value for name, value in commit.environment.items() if name != "host"}
    return dataclasses.replace(commit, environment=kept)
