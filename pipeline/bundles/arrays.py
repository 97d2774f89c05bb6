"""Some layers and heads of a video, taken from its artifact into an array of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.arrays import Heads, States
from cache.errors import ConfigError
from cache.ranges import ranges_of
from cache.shards import ShardedArray, write_shards
from pipeline.bundles.contents import Pair

Slice = tuple[int, int, int]
"""A slot of an array, and which of its columns: from, to."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What an array says of itself, so that it cannot pass for that of another video."""

    video_id: str
    artifact: str
    """Content digest of the artifact that it was taken from."""


def copy_layers(source: Path, target: Path, layers: Sequence[int], origin: Origin) -> States:
    """Write `layers` of the hidden states at `source` to the new folder `target`, bit by bit.

    Every prompt is kept. Raises ConfigError where one is not there, DamagedArtifact for a byte that
    is not what was written.
    """
    states = States.open(source)
    lacking = sorted({*layers} - {*states.layers})
    if lacking:
        raise ConfigError(
            f"{origin.video_id}: layer {ranges_of(lacking)} is not kept, its hidden states have "
            f"layers {ranges_of(states.layers)}"
        )
    per_prompt = len(states.layers)
    taken = [
        (prompt * per_prompt + states.layers.index(layer), 0, states.dim)
        for prompt in range(states.prompts)
        for layer in layers
    ]
    attributes = {"layers": list(layers), "prompts": states.prompts}
    names = ("segment", "prompt_layer", "dim")
    _copy(states.array, target, taken, names, attributes, origin)
    return states


def copy_heads(source: Path, target: Path, heads: Sequence[Pair], origin: Origin) -> None:
    """The same for attention heads, one slot per prompt and head."""
    kept = Heads.open(source)
    lacking = [list(pair) for pair in heads if pair not in kept.heads]
    if lacking:
        raise ConfigError(f"{origin.video_id}: heads {lacking} are not kept")
    per_prompt, width = len(kept.heads) // kept.per_slot, kept.head_dim
    taken = []
    for prompt in range(kept.prompts):
        for pair in heads:
            slot, place = divmod(kept.heads.index(pair), kept.per_slot)
            taken.append((prompt * per_prompt + slot, place * width, (place + 1) * width))
    attributes = {"heads": [list(pair) for pair in heads], "prompts": kept.prompts}
    names = ("segment", "prompt_head", "dim")
    _copy(kept.array, target, taken, names, attributes, origin)


def _copy(
    source: ShardedArray,
    target: Path,
    taken: Sequence[Slice],
    names: tuple[str, str, str],
    attributes: dict[str, Any],
    origin: Origin,
) -> None:
    write_shards(
        target,
        _blocks(source, taken),
        segments=source.shape[0],
        inner=(len(taken), taken[0][2] - taken[0][1]),
        logical_dtype=source.logical_dtype,
        names=names,
        attributes={**attributes, "video_id": origin.video_id, "artifact": origin.artifact},
    )


def _blocks(source: ShardedArray, taken: Sequence[Slice]) -> Iterator[NDArray[Any]]:
    """Shard after shard [rows, slices, width], as the numbers are stored."""
    slots = sorted({slot for slot, _, _ in taken})
    buffer = source.form.buffer(len(slots))
    for shard in range(source.shards):
        for stored in source.stored(shard, [slots], buffer):
            parts = [stored[slots.index(slot), :, start:stop] for slot, start, stop in taken]
            yield np.stack(parts, axis=1)
