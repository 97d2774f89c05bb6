"""What a bundle holds of an artifact: its record, some of its files, and the arrays of some layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cache.artifact import Artifact, check_size
from cache.digest import file_digest, read_json
from cache.errors import ConfigError, DamagedArtifact
from cache.shards import ShardedArray
from cache.store import Store
from pipeline.bundles.contents import HEADS, STATES, Bundle, array_name
from stages.contract import Payload
from stages.probes.choice import choice_of

ARRAYS = (STATES, HEADS)


@dataclass(frozen=True)
class Part:
    """A payload in the place of an artifact whose own payload is not there."""

    bundle: Bundle
    record: Artifact
    item: str

    @property
    def digest(self) -> str:
        """The content digest of the whole artifact."""
        return self.record.digest

    def holds(self, name: str) -> bool:
        """Whether the bundle has this file or array of it."""
        if name in ARRAYS:
            return self.record.holds(name) and (self.bundle.path / name).is_dir()
        return self.record.holds(name) and (self.record.path / name).exists()

    def file(self, name: str) -> Path:
        """The path of a file, checked against the record, or of an array, which says whose it is.

        Raises DamagedArtifact.
        """
        if name in ARRAYS:
            return self._array(name)
        for entry in self.record.commit.files:
            if entry.path == name:
                check_size(self.record, entry)
                if file_digest(self.record.path / name) == entry.sha256:
                    return self.record.path / name
        raise DamagedArtifact(
            f"the bundle {self.bundle.path.name} does not hold {name} of {self.record.name} as it "
            "was written; copy the bundle again from where it came from"
        )

    def _array(self, name: str) -> Path:
        path = self.bundle.path / name / array_name(self.item)
        said = ShardedArray.open(path).attributes
        if (said.get("video_id"), said.get("artifact")) != (self.item, self.digest):
            raise DamagedArtifact(
                f"{name}/{path.name} of the bundle {self.bundle.path.name} is not of {self.item!r}, "
                "or was taken from another artifact than the bundle's record says; copy the bundle "
                "again from where it came from"
            )
        return path


def part_of(bundle: Bundle, stage: str, key: str, item: str) -> Part | None:
    """What a bundle holds of an artifact of which it has the record alone; None where it has none."""
    record = Store(bundle.artifacts).record(stage, key)
    return Part(bundle, record, item) if record is not None and record.evicted else None


def require_chosen(bundle: Bundle, inputs: Mapping[str, Payload]) -> None:
    """Raise ConfigError where a choice, or a scorer, reads what the bundle does not hold."""
    for role, name in (("choice", "choice.json"), ("scorer", "scorer.json")):
        if role not in inputs:
            continue
        choice = choice_of(read_json(inputs[role].file(name)))
        layers = {layer for layer in (choice.layer, choice.context) if layer is not None}
        lacking = [f"layer {layer}" for layer in sorted(layers - {*bundle.layers})]
        lacking += [f"head {list(pair)}" for pair in choice.heads if pair not in bundle.heads]
        if lacking:
            held = f'; set select.method = "fixed:{bundle.layers[0]}"' if bundle.layers else ""
            raise ConfigError(
                f"the {role} reads {', '.join(lacking)}, the bundle {bundle.path.name} holds "
                f"{bundle.what} alone{held}, or ask for a bundle with what is lacking"
            )
