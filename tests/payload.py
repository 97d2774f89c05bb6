"""A payload over a plain folder, as strict about names as the store is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cache.digest import file_digest
from cache.errors import DamagedArtifact
from cache.keys import hash_of


@dataclass(frozen=True)
class Folder:
    """What a test gives a stage in the place of an artifact."""

    path: Path

    @property
    def digest(self) -> str:
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        return hash_of([[path.name, file_digest(path)] for path in files])

    def holds(self, name: str) -> bool:
        return (self.path / name).exists()

    def file(self, name: str) -> Path:
        if not self.holds(name):
            raise DamagedArtifact(f"the artifact does not hold {name}")
        return self.path / name
