"""Batches through the model: how large, in whose turn, checked, and converted to stored bits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from cache.errors import ItemError
from stages.backbones.contract import Backbone, Captured, Prepared, Wanted
from stages.backbones.turns import Turns

LARGEST = 64
"""Segments per pass that a probe tries at most."""
WORTH = 1.05
"""How many times the segments/s of a batch must grow for twice its size to be taken."""


Numbers = dict[str, NDArray[Any]]
"""What a batch left, as it is stored, by name: "states" [segments, prompts, layers, dim] and "heads"
[segments, prompts, slots, width] in float32, float16 or the uint16 bits of bfloat16; "yes_no" float32
[segments, prompts, 2]. What is not wanted is not there."""


Finished = tuple[Sequence[int], Numbers]
"""Numbers of segments, and what is stored of them."""


class Pace:
    """How a loaded backbone is best used: whose turn it is, and batches of which size fit."""

    def __init__(self) -> None:
        self.turns = Turns()
        self._sizes: dict[Any, int] = {}
        self._lock = threading.Lock()

    def size(self, backbone: Backbone, item: Prepared, wanted: Wanted) -> int:
        """Segments per pass for inputs of this shape, found by a short probe the first time.

        Copies of `item` are run in batches of 1, 2, 4, ... as long as more segments per second come
        of it, and as memory lasts.
        """
        kind = _kind(item, wanted)
        with self._lock:
            if kind not in self._sizes:
                self._sizes[kind] = _probe(backbone, item, wanted)
            return self._sizes[kind]

    def halve(self, item: Prepared, wanted: Wanted, size: int) -> None:
        """Remember that `size` segments did not fit."""
        with self._lock:
            kind = _kind(item, wanted)
            self._sizes[kind] = min(self._sizes.get(kind, size), max(1, size // 2))


_PACES: WeakKeyDictionary[Backbone, Pace] = WeakKeyDictionary()
_LOCK = threading.Lock()


def pace_of(backbone: Backbone) -> Pace:
    """The one pace of a backbone, shared by all that use it in this process."""
    with _LOCK:
        return _PACES.setdefault(backbone, Pace())


def _kind(item: Prepared, wanted: Wanted) -> Any:
    # Not the very number of tokens: a timestamp with one digit more is no reason to probe again.
    return item.pictures.shape, len(item.token_ids), wanted


def _probe(backbone: Backbone, item: Prepared, wanted: Wanted) -> int:
    """The size beyond which a larger batch gains less than `WORTH`."""
    _timed(backbone, item, wanted, 1)  # what is done once only (kernels, caches) is no part of it
    best, before = 1, _timed(backbone, item, wanted, 1)
    while before is not None and best < LARGEST:
        now = _timed(backbone, item, wanted, 2 * best)
        # Twice the segments in less than twice the time.
        if now is None or 2 * before < WORTH * now:
            break
        best, before = 2 * best, now
    return best


def _timed(backbone: Backbone, item: Prepared, wanted: Wanted, size: int) -> float | None:
    """Seconds of one pass over `size` copies; None where they do not fit into memory."""
    began = time.perf_counter()
    try:
        captured = backbone.forward([item] * size, wanted)
        _fetched(captured)
    except torch.OutOfMemoryError:
        captured = None
    if captured is None:
        torch.cuda.empty_cache()
        return None
    return time.perf_counter() - began


def _fetched(captured: Captured) -> None:
    """Wait until a pass is done: its numbers are read."""
    for tensor in (captured.states, captured.heads, captured.yes_no):
        if tensor is not None:
            tensor.cpu()


class Runner:
    """Runs batches of one video and keeps the batch size that fits."""

    def __init__(self, backbone: Backbone, wanted: Wanted, batch: int, store_dtype: str) -> None:
        self._backbone, self._wanted = backbone, wanted
        self._pace = pace_of(backbone)
        self._ticket = self._pace.turns.ticket()
        self._given = batch
        self.logical_dtype = backbone.dtype if store_dtype == "model" else store_dtype
        """What the stored numbers are."""
        self.batch = batch
        """Segments per pass, as last used."""
        self.halved = False
        self.seconds = 0.0
        """In which this video had the model; waiting for its turn does not count."""
        self._launched: tuple[Sequence[int], Captured] | None = None

    def size(self, item: Prepared) -> int:
        """Segments per pass for inputs of this shape."""
        if not self._given:
            self.batch = self._pace.size(self._backbone, item, self._wanted)
        return self.batch

    def run(self, items: Sequence[Prepared], numbers: Sequence[int]) -> list[Finished]:
        """Launch items of one shape, of which `numbers` are the segments' numbers.

        Gives what earlier batches left: a batch is fetched when the next one is launched, so that
        the device always has work. Raises ItemError for a value that is not finite, one that float16
        cannot hold, and where a single segment does not fit into memory.
        """
        finished: list[Finished] = []
        done = 0
        self.size(items[0])  # the batch before may have been of another shape
        while done < len(items):
            now = slice(done, done + self.batch)
            # Both in one turn: were it given away while a batch is waited for, two videos would
            # take passes by turns, end together, and leave the device idle while both are written.
            with self._turn():
                captured = self._attempt(items[now])
                finished += self._fetched()
            if captured is None:
                self._halve(items[0], numbers[done])
                continue
            self._launched = (numbers[now], captured)
            done += len(items[now])
        return finished

    def finish(self) -> list[Finished]:
        """What the last batch left."""
        with self._turn():
            return self._fetched()

    def done(self) -> None:
        """No more batches will come: nobody needs to be patient with this video."""
        self._pace.turns.done(self._ticket)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._pace.turns.of(self._ticket):
            began = time.perf_counter()
            try:
                yield
            finally:
                self.seconds += time.perf_counter() - began

    def _attempt(self, items: Sequence[Prepared]) -> Captured | None:
        """One pass; None where memory ran out (the error must be gone before memory is freed)."""
        shown = list(items)
        if self._backbone.full_batches:
            shown += [items[-1]] * (self.batch - len(items))
        try:
            return self._backbone.forward(shown, self._wanted)
        except torch.OutOfMemoryError:
            return None

    def _fetched(self) -> list[Finished]:
        """Wait for the batch that was launched last."""
        if self._launched is None:
            return []
        (numbers, captured), self._launched = self._launched, None
        return [(numbers, self._stored(captured, numbers))]

    def _halve(self, item: Prepared, segment: int) -> None:
        if self.batch == 1:
            raise ItemError(
                f"segment {segment} alone does not fit into the memory of the GPU: use fewer "
                "keyframes, a smaller dtype, or a GPU with more memory"
            )
        self._pace.halve(item, self._wanted, self.batch)
        self.batch = max(1, self.batch // 2)
        self.halved = True
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _stored(self, captured: Captured, numbers: Sequence[int]) -> Numbers:
        wanted, found = self._wanted, {}
        count = len(numbers)  # beyond it there are only the copies that filled the batch
        if wanted.layers:
            slots = [f"layer {layer}" for layer in wanted.layers]
            found["states"] = self._bits(captured.states[:count], numbers, slots)
        if wanted.whole_heads or wanted.heads:
            if wanted.whole_heads:
                slots = [f"a head of layer {layer}" for layer in range(self._backbone.layers)]
            else:
                slots = [f"head {list(pair)}" for pair in wanted.heads]
            found["heads"] = self._bits(captured.heads[:count], numbers, slots)
        if wanted.yes_no:
            found["yes_no"] = self._probabilities(captured.yes_no[:count], numbers)
        return found

    def _probabilities(self, values: torch.Tensor, numbers: Sequence[int]) -> NDArray[Any]:
        """Of yes and no [segments, prompts, 2]; raises ItemError naming segment and prompt."""
        sound = torch.isfinite(values)
        if not bool(sound.all()):
            segment, prompt, _ = (int(n) for n in torch.nonzero(~sound)[0])
            raise ItemError(
                f"segment {numbers[segment]}: the first word of the answer to prompt {prompt} has a "
                f"probability that is not finite: {self._overflow}"
            )
        return values.cpu().numpy()

    @property
    def _overflow(self) -> str:
        return (
            f"the model overflows in {self._backbone.dtype}; use another [backbone] dtype "
            "(bfloat16 or float32)"
        )

    def _bits(
        self, values: torch.Tensor, numbers: Sequence[int], slots: Sequence[str]
    ) -> NDArray[Any]:
        """The values as they are stored; raises ItemError naming segment, slot and value."""
        sound = torch.isfinite(values)
        if not bool(sound.all()):
            segment, _, slot = (int(n) for n in torch.nonzero(~sound)[0][:3])
            raise ItemError(
                f"segment {numbers[segment]}: {slots[slot]} has a value that is not finite: "
                f"{self._overflow}"
            )
        if self.logical_dtype == "bfloat16":
            return values.contiguous().view(torch.int16).cpu().numpy().view(np.uint16)
        stored = values.to(getattr(torch, self.logical_dtype))
        lost = ~torch.isfinite(stored)
        if bool(lost.any()):
            segment, prompt, slot, dim = (int(n) for n in torch.nonzero(lost)[0])
            raise ItemError(
                f"segment {numbers[segment]}, {slots[slot]}: the value "
                f"{float(values[segment, prompt, slot, dim]):g} is beyond float16 (65504); use "
                '[forward] store_dtype = "model" or "float32"'
            )
        return stored.cpu().numpy()
