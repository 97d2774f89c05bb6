"""Hidden states and attention heads of one video on disk, each number under its own name.

Both are a `cache.shards` array [segments, slots, width]. A slot is one prompt and one layer (or
head): slot = prompt * len(layers) + index of the layer in `layers`. Layers and heads are asked for
by their numbers in the model, so that an array that keeps a few of them reads like one of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import DamagedArtifact
from cache.ranges import ranges_of
from cache.shards import ShardedArray, shard_rows, write_shards

__all__ = ["Heads", "States", "shard_rows", "write_heads", "write_states"]

Pair = tuple[int, int]
"""(layer, head), both counted from 0."""


def write_states(
    path: Path,
    blocks: Iterable[NDArray[Any]],
    *,
    segments: int,
    layers: Sequence[int],
    dim: int,
    logical_dtype: str,
    prompts: int = 1,
    finished: Callable[[Path], None] | None = None,
) -> None:
    """Write the hidden states of `layers` (numbers, increasing) into the new folder `path`.

    Each block is [shard_rows(segments), prompts, len(layers), dim] (the last may be shorter), of the
    logical dtype "float32" or "float16", or uint16 bits for "bfloat16". Only whole shards are ever
    written, and `finished` is called with the file of each. Raises FileExistsError where the folder
    is there, ValueError for what does not fit.
    """
    numbers = [int(number) for number in layers]
    _require_names("layers", numbers, prompts)
    write_shards(
        path,
        blocks,
        segments=segments,
        inner=(prompts, len(numbers), dim),
        logical_dtype=logical_dtype,
        names=("segment", "prompt_layer", "dim"),
        attributes={"layers": numbers, "prompts": prompts},
        finished=finished,
    )


def write_heads(
    path: Path,
    blocks: Iterable[NDArray[Any]],
    *,
    segments: int,
    head_dim: int,
    logical_dtype: str,
    heads: Sequence[Pair] = (),
    whole: Pair | None = None,
    prompts: int = 1,
    finished: Callable[[Path], None] | None = None,
) -> None:
    """Write attention heads into the new folder `path`: the pairs `heads`, or all of a model.

    `heads` are increasing (layer, head) pairs and blocks [rows, prompts, len(heads), head_dim];
    `whole` is (layers, heads per layer) and blocks [rows, prompts, layers, heads * head_dim], where
    the numbers of one head lie together. Rows, dtypes and errors are those of `write_states`.
    """
    if (whole is None) == (not heads):
        raise ValueError("give either the pairs of `heads` or the size of the `whole`, not both")
    pairs = [(int(layer), int(head)) for layer, head in heads] if whole is None else _all(*whole)
    _require_names("heads", pairs, prompts)
    said: dict[str, Any] = {"prompts": prompts}
    if whole is None:
        said["heads"] = [list(pair) for pair in pairs]
        inner = (prompts, len(pairs), head_dim)
    else:
        said |= {"heads": "all", "layers": whole[0], "heads_per_layer": whole[1]}
        inner = (prompts, whole[0], whole[1] * head_dim)
    write_shards(
        path,
        blocks,
        segments=segments,
        inner=inner,
        logical_dtype=logical_dtype,
        names=("segment", "prompt_head" if whole is None else "prompt_layer", "dim"),
        attributes=said,
        finished=finished,
    )


@dataclass(frozen=True, repr=False)
class States:
    """Hidden states of one video on disk; made by `States.open`. Every read is checked."""

    array: ShardedArray
    layers: tuple[int, ...]
    """The numbers of the layers that are kept, increasing: 0 is the embedding output, l >= 1 the
    output of decoder layer l."""
    prompts: int
    """How many questions were asked about every segment."""

    @classmethod
    def open(cls, path: Path) -> States:
        """Open what `write_states` wrote; raises DamagedArtifact if it is not whole."""
        array = ShardedArray.open(path)
        try:
            layers = [int(number) for number in array.attributes["layers"]]
            prompts = int(array.attributes["prompts"])
            _require_names("layers", layers, prompts)
            _require_slots(array, prompts * len(layers))
        except (KeyError, TypeError, ValueError) as error:
            raise _no_array(path, "hidden states", error) from error
        return cls(array, tuple(layers), prompts)

    @property
    def segments(self) -> int:
        """Number of segments."""
        return self.array.shape[0]

    @property
    def dim(self) -> int:
        """Width of a hidden state."""
        return self.array.shape[2]

    @property
    def logical_dtype(self) -> str:
        """float32, float16 or bfloat16: the precision of the stored numbers."""
        return self.array.logical_dtype

    def layer(self, number: int, prompt: int = 0) -> NDArray[np.float32]:
        """One layer of all segments, float32 [segments, dim].

        Raises IndexError that names what is there, DamagedArtifact.
        """
        return self.array.slot(self._slot(number, prompt))

    def rows(
        self, number: int, segments: NDArray[np.int64], prompt: int = 0
    ) -> NDArray[np.float32]:
        """Some increasing segments of one layer, float32 [segments, dim]; raises as `layer` does."""
        return self.array.rows_of(self._slot(number, prompt), segments)

    def stored(
        self,
        shard: int,
        groups: Iterable[Sequence[int]],
        buffer: NDArray[np.uint8],
        prompt: int = 0,
    ) -> Iterator[NDArray[Any]]:
        """Group after group of layers (places in `layers`), one shard's numbers as they are stored.

        Each is [layers, rows, dim], float32, float16 or the bits of bfloat16: a view of `buffer`
        (`array.form.buffer(largest group)`), good until the next. Raises IndexError for a prompt
        that is not there, DamagedArtifact.
        """
        _require_prompt(prompt, self.prompts)
        first = prompt * len(self.layers)
        return self.array.stored(
            shard, ([first + place for place in group] for group in groups), buffer
        )

    def _slot(self, number: int, prompt: int) -> int:
        """Where a layer lies; raises IndexError that names what is there."""
        _require_prompt(prompt, self.prompts)
        if number not in self.layers:
            raise IndexError(f"layer {number} asked for, there are {ranges_of(self.layers)}")
        return prompt * len(self.layers) + self.layers.index(number)

    def __repr__(self) -> str:
        """Sizes and dtype, never data."""
        return (
            f"States({self.array.path.name}, segments={self.segments}, prompts={self.prompts}, "
            f"layers=[{ranges_of(self.layers)}], dim={self.dim}, dtype={self.logical_dtype})"
        )


@dataclass(frozen=True, repr=False)
class Heads:
    """Attention heads of one video on disk; made by `Heads.open`. Every read is checked."""

    array: ShardedArray
    heads: tuple[Pair, ...]
    """The (layer, head) pairs that are kept, increasing and counted from 0: heads of layer l act
    within the decoder layer whose output is hidden state l + 1."""
    prompts: int
    """How many questions were asked about every segment."""
    per_slot: int
    """Heads that lie in one slot: all of a layer, or 1."""

    @classmethod
    def open(cls, path: Path) -> Heads:
        """Open what `write_heads` wrote; raises DamagedArtifact if it is not whole."""
        array = ShardedArray.open(path)
        said = array.attributes
        try:
            prompts = int(said["prompts"])
            if said["heads"] == "all":
                per_slot = int(said["heads_per_layer"])
                pairs = _all(int(said["layers"]), per_slot)
            else:
                per_slot = 1
                pairs = [(int(layer), int(head)) for layer, head in said["heads"]]
            _require_names("heads", pairs, prompts)
            _require_slots(array, prompts * len(pairs) // per_slot)
            if array.shape[2] % per_slot:
                raise ValueError(f"{per_slot} heads do not fit in a width of {array.shape[2]}")
        except (KeyError, TypeError, ValueError) as error:
            raise _no_array(path, "attention heads", error) from error
        return cls(array, tuple(pairs), prompts, per_slot)

    @property
    def segments(self) -> int:
        """Number of segments."""
        return self.array.shape[0]

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.array.shape[2] // self.per_slot

    @property
    def logical_dtype(self) -> str:
        """float32, float16 or bfloat16: the precision of the stored numbers."""
        return self.array.logical_dtype

    def head(self, layer: int, head: int, prompt: int = 0) -> NDArray[np.float32]:
        """One head of all segments, float32 [segments, head_dim].

        Raises IndexError that names what is there, DamagedArtifact.
        """
        _require_prompt(prompt, self.prompts)
        if (layer, head) not in self.heads:
            raise IndexError(f"head {[layer, head]} asked for, there are {_kept(self.heads)}")
        per_prompt = len(self.heads) // self.per_slot
        slot, place = divmod(self.heads.index((layer, head)), self.per_slot)
        values = self.array.slot(prompt * per_prompt + slot)
        # A copy: a view would keep the other heads of the layer in memory with it.
        return values[:, place * self.head_dim : (place + 1) * self.head_dim].copy()

    def of_layer(self, layer: int, prompt: int = 0) -> NDArray[np.float32]:
        """The kept heads of one layer, in order: float32 [segments, heads, head_dim].

        Raises IndexError that names what is there, DamagedArtifact.
        """
        _require_prompt(prompt, self.prompts)
        places = [place for place, pair in enumerate(self.heads) if pair[0] == layer]
        if not places:
            raise IndexError(f"heads of layer {layer} asked for, there are {_kept(self.heads)}")
        first = prompt * (len(self.heads) // self.per_slot)
        shape = (self.segments, self.per_slot, self.head_dim)
        slots = sorted({place // self.per_slot for place in places})
        parts = [self.array.slot(first + slot).reshape(shape) for slot in slots]
        return np.concatenate(parts, axis=1)

    def __repr__(self) -> str:
        """Sizes and dtype, never data."""
        return (
            f"Heads({self.array.path.name}, segments={self.segments}, prompts={self.prompts}, "
            f"heads={len(self.heads)}, head_dim={self.head_dim}, dtype={self.logical_dtype})"
        )


def _all(layers: int, heads_per_layer: int) -> list[Pair]:
    return [(layer, head) for layer in range(layers) for head in range(heads_per_layer)]


def _kept(heads: Sequence[Pair]) -> str:
    """Some pairs as text; of many only the first and the last."""
    if len(heads) > 8:
        return f"{len(heads)} from {list(heads[0])} to {list(heads[-1])}"
    return ", ".join(str(list(pair)) for pair in heads)


def _require_names(what: str, found: Sequence[Any], prompts: int) -> None:
    """Raise ValueError unless there are some, each more than the one before, and a prompt."""
    follow = all(one < two for one, two in pairwise(found))
    if not found or np.min(found) < 0 or not follow:
        raise ValueError(f"{what} {list(found)} given, expected numbers from 0 on, increasing")
    if prompts < 1:
        raise ValueError(f"{prompts} prompts given, expected at least 1")


def _require_slots(stored: ShardedArray, expected: int) -> None:
    if stored.shape[1] != expected:
        raise ValueError(f"{stored.shape[1]} slots found, {expected} described")


def _require_prompt(prompt: int, prompts: int) -> None:
    if not 0 <= prompt < prompts:
        raise IndexError(f"prompt {prompt} asked for, there are {ranges_of(range(prompts))}")


def _no_array(path: Path, what: str, error: Exception) -> DamagedArtifact:
    return DamagedArtifact(
        f"{path.name}: zarr.json does not describe {what} ({error}); this artifact must be "
        "computed again"
    )
