"""The commit record: what an artifact is, what made it, and the digest of every file of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cache.digest import read_plainly
from cache.errors import DamagedArtifact, StoreTooNew
from cache.keys import hash_of, key_of

RECORD = "commit.json"
FORMAT = 1
"""Version of the record; a newer one is refused by number."""
KINDS = {
    "stage": str, "version": int, "key": str, "recipe": dict, "inputs": dict, "files": list,
    "digest": str, "rows": int, "seconds": dict, "notes": list, "members": dict,
    "environment": dict, "created": str,
}  # fmt: skip
"""What JSON each field of a record must be."""
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a record that is none can raise."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an artifact."""

    path: str
    """Relative to the artifact, with forward slashes."""
    bytes: int
    sha256: str
    logical: str = ""
    """Digest of what the file says, where its bytes also hold a library's version (Parquet)."""
    auxiliary: bool = False
    """For people only: checked like the others, but outside the content digest."""

    def __post_init__(self) -> None:
        """Raise ValueError for a path that could leave the artifact."""
        if not {"", ".", ".."}.isdisjoint(self.path.split("/")):
            raise ValueError(f"{self.path!r} is not a path inside an artifact")


@dataclass(frozen=True)
class Commit:
    """An artifact is what its commit lists; without one it does not exist."""

    stage: str
    version: int
    key: str
    recipe: Mapping[str, Any]
    inputs: Mapping[str, Any]
    """Digest or value by role, just as they entered the key."""
    files: tuple[FileEntry, ...]
    digest: str
    """Content digest: what later stages take as their input."""
    rows: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    members: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For a role that folds many artifacts into one digest: digest by video id."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    """UTC time of the commit."""

    @property
    def bytes(self) -> int:
        """Size of the payload, bytes."""
        return sum(entry.bytes for entry in self.files)

    def expected_key(self) -> str:
        """The key that recipe and inputs give: equal to `key` unless the record was tampered with."""
        return key_of(self.stage, self.version, self.recipe, self.inputs)

    def to_json(self) -> dict[str, Any]:
        """The record as it is written: canonical JSON that carries its own sha256."""
        # Not dataclasses.asdict, which copies every value of a recipe, deep, for each artifact.
        said = {"format": FORMAT, **_fields(self), "files": [_fields(e) for e in self.files]}
        return {**said, "record": hash_of(said)}


def _fields(record: Commit | FileEntry) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def content_digest(files: tuple[FileEntry, ...]) -> str:
    """sha256 over path and digest of every file that is not auxiliary."""
    said = [[e.path, e.logical or e.sha256] for e in files if not e.auxiliary]
    return hash_of(sorted(said))


def read_commit(folder: Path) -> Commit:
    """Read the record of the artifact in `folder`.

    Raises DamagedArtifact where it is missing, unreadable or not the bytes that were written,
    StoreTooNew for a newer format.
    """
    try:
        return parse_commit(read_plainly(f"{folder}/{RECORD}"), folder.name)
    except (OSError, *UNREADABLE) as error:
        if isinstance(error, StoreTooNew):
            raise
        raise DamagedArtifact(
            f"artifact {folder.name}: its record {RECORD} cannot be read "
            f"({type(error).__name__}: {error}); `hiprobe cache repair` sets it aside and the next "
            "run makes it again"
        ) from error


def parse_commit(content: bytes, name: str) -> Commit:
    """The record that these bytes are, of an artifact that messages call `name`.

    Raises one of UNREADABLE where it is not the bytes that were written, StoreTooNew for a newer
    format.
    """
    text = content.decode("ascii")
    raw = json.loads(text)
    # Before the format: a flipped bit in its number is damage, not a newer hiprobe. So every
    # later format has to keep this field, and this rule.
    _check_bytes(text, raw.pop("record"))
    if raw["format"] > FORMAT:
        raise StoreTooNew(
            f"{name}: commit record of format {raw['format']}, this hiprobe reads up to "
            f"{FORMAT}; install a newer hiprobe"
        )
    for field_name, kind in KINDS.items():
        if not isinstance(raw[field_name], kind):
            raise TypeError(
                f"{field_name} is a {type(raw[field_name]).__name__}, not a {kind.__name__}"
            )
    raw["files"] = tuple([FileEntry(**entry) for entry in raw["files"]])
    raw["notes"] = tuple(raw["notes"])
    del raw["format"]
    return Commit(**raw)


def _check_bytes(text: str, said: object) -> None:
    """Raise ValueError where a record's text is not the one that its own digest was made of."""
    # Over the text and not over the value: two texts of one value (an escape in capitals) are two.
    rest = text.replace(f'"record":"{said}",', "", 1)
    if hashlib.sha256(rest.encode("ascii")).hexdigest() != said:
        raise ValueError("it does not have the sha256 that it carries")
