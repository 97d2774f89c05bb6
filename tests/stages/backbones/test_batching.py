"""The size of a batch: found once, halved for all, and never larger than what pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from stages.backbones import batching
from stages.backbones.batching import Pace, Runner, pace_of
from stages.backbones.contract import Captured, Prepared, Wanted

WANTED = Wanted((0,))
ITEM = Prepared(np.zeros((2, 4, 4, 3), np.uint8), (0.0, 0.1), (np.arange(5),), ("text",))


@dataclass(eq=False)
class Timed:
    """A backbone whose passes take as long as `cost` says, on a clock of its own."""

    cost: Any
    room: int = 1000
    clock: float = 0.0
    sizes: list[int] = field(default_factory=list)
    layers: int = 1
    dim: int = 2
    dtype: str = "float32"
    full_batches: bool = False

    def forward(self, batch: Sequence[Prepared], wanted: Wanted) -> Captured:
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("no room")
        self.clock += self.cost(len(batch))
        return Captured(torch.zeros(len(batch), 1, 1, 2))


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(cost: Any, room: int = 1000) -> Any:
        backbone = Timed(cost, room)
        monkeypatch.setattr(batching.time, "perf_counter", lambda: backbone.clock)
        return backbone

    return made


def test_a_larger_batch_is_taken_while_it_pays(make: Any) -> None:
    # Ten units of overhead per pass: 1 -> 11, 2 -> 12, 4 -> 14 ... pays until the work dominates.
    backbone = make(lambda size: 10 + size)
    # 64 takes 74, and 32 twice takes 84: more than 5 % better; the limit ends it.
    assert Pace().size(backbone, ITEM, WANTED) == batching.LARGEST


def test_a_batch_that_gains_nothing_is_not_taken(make: Any) -> None:
    backbone = make(lambda size: size)
    assert Pace().size(backbone, ITEM, WANTED) == 1
    assert backbone.sizes == [1, 1, 2]


def test_the_probe_stops_before_memory_runs_out(make: Any) -> None:
    assert Pace().size(make(lambda size: 10 + size, room=5), ITEM, WANTED) == 4


def test_a_probe_is_made_once_per_shape_of_pictures(make: Any) -> None:
    backbone, pace = make(lambda size: size), Pace()
    pace.size(backbone, ITEM, WANTED)
    longer = Prepared(ITEM.pictures, ITEM.seconds, (np.arange(6),), ITEM.texts)
    pace.size(backbone, longer, WANTED)
    assert len(backbone.sizes) == 3
    larger = Prepared(np.zeros((2, 8, 4, 3), np.uint8), ITEM.seconds, ITEM.token_ids, ITEM.texts)
    pace.size(backbone, larger, WANTED)
    assert len(backbone.sizes) == 6


def test_what_did_not_fit_is_remembered_for_the_next_video(make: Any) -> None:
    backbone = make(lambda size: 10 + size)
    runner: Any = Runner(backbone, WANTED, 0, "model")
    assert runner.size(ITEM) == batching.LARGEST
    backbone.room = 16
    found = [*runner.run([ITEM] * 40, range(40)), *runner.finish()]
    assert [number for numbers, _ in found for number in numbers] == list(range(40))
    assert all(each["states"].shape == (len(numbers), 1, 1, 2) for numbers, each in found)
    assert runner.halved
    assert Runner(backbone, WANTED, 0, "model").size(ITEM) == 16


def test_a_backbone_has_one_pace(make: Any) -> None:
    first, second = make(lambda size: size), make(lambda size: size)
    assert pace_of(first) is pace_of(first)
    assert pace_of(first) is not pace_of(second)


def test_a_batch_is_fetched_when_the_next_one_is_launched(make: Any) -> None:
    backbone = make(lambda size: size)
    runner: Any = Runner(backbone, WANTED, 2, "model")
    assert runner.run([ITEM] * 2, [0, 1]) == []
    ((numbers, _),) = runner.run([ITEM], [2])
    assert numbers == [0, 1]
    assert backbone.sizes == [2, 1]
    ((numbers, _),) = runner.finish()
    assert numbers == [2]
    assert runner.finish() == []


def test_every_shape_is_filled_up_to_its_own_size(make: Any) -> None:
    backbone = make(lambda size: size)
    backbone.full_batches = True
    runner: Any = Runner(backbone, WANTED, 0, "model")
    assert runner.size(ITEM) == 1
    backbone.cost = lambda size: 1.0
    larger = Prepared(np.zeros((2, 8, 4, 3), np.uint8), ITEM.seconds, ITEM.token_ids, ITEM.texts)
    assert runner.size(larger) == batching.LARGEST
    backbone.sizes.clear()
    runner.run([ITEM], [0])
    runner.run([larger], [1])
    assert backbone.sizes == [1, batching.LARGEST]
