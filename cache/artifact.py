"""A committed artifact, opened for reading; and what is left of one whose payload was evicted."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from cache.commit import Commit, FileEntry, read_commit
from cache.digest import file_digest
from cache.errors import DamagedArtifact, EvictedArtifact, MissingArtifact

MISSING = "no such file"
EVICTED = ".evicted"
"""What the folder of an evicted artifact is called behind its key: only the record counts there."""


@dataclass(frozen=True)
class Artifact:
    """A committed artifact, opened for reading."""

    stage: str
    key: str
    path: Path

    @functools.cached_property
    def commit(self) -> Commit:
        """Its record. Raises DamagedArtifact where it cannot be read, or is that of another.

        Raises MissingArtifact where the artifact was taken out of the store meanwhile.
        """
        try:
            commit = read_commit(self.path)
        except DamagedArtifact as error:
            if not self.path.exists():
                raise gone(self) from error
            commit = self._again()
        if (commit.stage, commit.key) != (self.stage, self.key):
            raise DamagedArtifact(
                f"artifact {self.name}: its record is that of {commit.stage}/{commit.key}; "
                "`hiprobe cache repair` sets it aside and the next run makes it again",
                self.name,
            )
        return commit

    def _again(self) -> Commit:
        """The record, which may have been made again after it could not be read."""
        try:
            return read_commit(self.path)
        except DamagedArtifact as error:
            error.name = self.name
            raise

    @property
    def digest(self) -> str:
        """Its content digest."""
        return self.commit.digest

    @property
    def evicted(self) -> bool:
        """Whether its payload was given up: the record is all that can be read."""
        return self.path.name.endswith(EVICTED)

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.stage}/{self.key}"

    def holds(self, name: str) -> bool:
        """Whether its record lists a file, or a folder of files, of this name."""
        return any(e.path == name or e.path.startswith(f"{name}/") for e in self.commit.files)

    def file(self, name: str) -> Path:
        """The path of a payload file, or of a folder of them, checked against the record.

        Every listed file must be there with its size, and a file asked for by its own name must
        have its digest (Parquet and safetensors would give a flipped bit as another number), as the
        record of a Zarr folder must, which says what check sums its shards have: raises
        DamagedArtifact, naming the file, otherwise. Raises EvictedArtifact where only the record was
        kept, MissingArtifact where somebody took the artifact out of the store meanwhile.
        """
        if self.evicted:
            raise evicted(self.name)
        listed = [e for e in self.commit.files if e.path == name or e.path.startswith(f"{name}/")]
        if not listed:
            raise DamagedArtifact(f"artifact {self.name} does not hold {name}", self.name)
        for entry in listed:
            check_size(self, entry)
            read = entry.path == name or entry.path.endswith("/zarr.json")
            if read and file_digest(self.path / entry.path) != entry.sha256:
                raise DamagedArtifact(
                    f"artifact {self.name}: {entry.path} does not have the digest of its record; "
                    "`hiprobe cache repair --full` sets it aside and the next run makes it again",
                    self.name,
                )
        return self.path / name


def check_size(artifact: Artifact, entry: FileEntry) -> None:
    """Raise DamagedArtifact where a listed file is gone, is no plain file or has another size.

    Raises MissingArtifact where the whole artifact is gone: it was evicted, collected or set aside
    while it was read.
    """
    try:
        stat = (artifact.path / entry.path).lstat()
        found: int | str = stat.st_size if S_ISREG(stat.st_mode) else "something else than a file"
    except (FileNotFoundError, NotADirectoryError):
        found = MISSING
    if found != entry.bytes:
        # Where it was made again already, the next look at it finds it whole.
        again = found == MISSING and (artifact.path / entry.path).is_file()
        if again or not artifact.path.exists():
            raise gone(artifact)
        raise DamagedArtifact(
            f"artifact {artifact.name}: {entry.path} should have {entry.bytes} bytes, found "
            f"{found}; `hiprobe cache repair` sets it aside and the next run makes it again",
            artifact.name,
        )


def evicted(name: str) -> EvictedArtifact:
    """The error for an artifact <stage>/<key> of which only the record was kept."""
    return EvictedArtifact(
        f"the payload of {name} was evicted and is needed: run again, which makes it", name
    )


def gone(artifact: Artifact) -> MissingArtifact:
    """The error for an artifact that was there, and was taken out of the store while it was read."""
    return MissingArtifact(
        f"{artifact.name} was evicted, collected or set aside while it was read: run again"
    )
