"""Verification: is every artifact what its commit says?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cache.artifact import EVICTED, Artifact, check_size
from cache.atomic import walk
from cache.commit import RECORD, content_digest
from cache.digest import file_digest
from cache.errors import StoreError
from cache.store import Store


@dataclass(frozen=True, slots=True)
class Finding:
    """One artifact that is not what it should be."""

    stage: str
    key: str
    message: str


def verify(
    store: Store,
    stages: Iterable[str] | None = None,
    *,
    full: bool = False,
    seen: Callable[[Artifact], None] = lambda artifact: None,
) -> Iterator[Finding]:
    """Look at every artifact of the named stages (all by default) and yield what is wrong.

    Quick: the record has every byte that was written and gives the key of its folder, every listed
    file is there with its size, and nothing else is. `full` reads every byte of the payload again
    and compares the digests.
    """
    for stage in stages if stages is not None else store.stages():
        for key in sorted(store.keys(stage)):
            artifact = Artifact(stage, key, store.folder(stage, key))
            if not artifact.path.exists():
                artifact = Artifact(stage, key, store.folder(stage, key + EVICTED))
            problem = examine(artifact, full=full)
            # Others may set artifacts aside meanwhile: one that is gone is not a damaged one.
            if problem and artifact.path.exists():
                yield Finding(stage, key, problem)
            seen(artifact)


def examine(artifact: Artifact, *, full: bool) -> str:
    """What is wrong with one artifact, or nothing."""
    try:
        commit = artifact.commit
        if not commit.key == commit.expected_key() == artifact.key:
            return f"its record gives the key {commit.expected_key()}"
        if commit.stage != artifact.stage:
            return f"its record is that of an artifact of {commit.stage}"
        for entry in () if artifact.evicted else commit.files:
            check_size(artifact, entry)
            if full and file_digest(artifact.path / entry.path) != entry.sha256:
                return f"{entry.path} does not have the digest of its record"
        if commit.digest != content_digest(commit.files):
            return "the content digest of its record does not follow from the files it lists"
        return (
            ""
            if artifact.evicted
            else _stray(artifact.path, {entry.path for entry in commit.files})
        )
    except (StoreError, OSError) as error:
        return str(error)
    except (ValueError, TypeError, RecursionError) as error:
        return f"its record gives no key: {error}"  # NaN in a recipe, nesting without end


def _stray(root: Path, listed: set[str]) -> str:
    for entry in walk(root):
        name = Path(entry.path).relative_to(root).as_posix()
        if not entry.is_dir(follow_symlinks=False) and name != RECORD and name not in listed:
            return f"{name} is not in its record"
    return ""
