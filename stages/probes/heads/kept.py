"""The attention heads that are kept of one video."""

from __future__ import annotations

from cache.arrays import Heads
from cache.errors import ConfigError
from stages.contract import Payload


def kept_heads(item: str, payload: Payload) -> Heads:
    """Open the heads of a video; raises ConfigError where none are kept, DamagedArtifact."""
    if not payload.holds("heads.zarr"):
        raise ConfigError(
            f"{item}: attention heads are needed and none are kept; set forward.heads to "
            '"all" or to [layer, head] pairs'
        )
    return Heads.open(payload.file("heads.zarr"))
