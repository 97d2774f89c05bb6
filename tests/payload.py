"""A payload over a plain folder, as strict about names as the store is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cache.errors import DamagedArtifact


@dataclass(frozen=True)
class Folder:
    """What a test gives a stage in the place of an artifact."""

    path: Path

    def holds(self, name: str) -> bool:
        return (self.path / name).exists()

    def file(self, name: str) -> Path:
        if not self.holds(name):
            raise DamagedArtifact(f"the artifact does not hold {name}")
        return self.path / name
