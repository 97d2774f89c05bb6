"""All passes of a video with a backbone that is drawn: checks, memory, interruptions, shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import shards
from cache.arrays import Heads, States
from cache.errors import ItemError
from manifests import schema
from manifests.table import read_table
from stages import forward
from stages.backbones import load as loading
from stages.backbones.contract import Captured, Explanation, Picture, Prepared, Prompt, Wanted
from stages.backbones.reference import BackboneReference
from stages.contract import Job, Result
from stages.forward import Settings
from tests.plans import SEGMENTS, content, draw_frames, make_job, shown


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames that were read from the video, which is drawn and not decoded here."""
    return draw_frames(monkeypatch)


@dataclass(eq=False)
class Drawn:
    """A backbone without a network: state = mean of the pixels + layer; can be made to fail."""

    model_type: str = "drawn"
    layers: int = 2
    dim: int = 4
    heads: int = 2
    head_dim: int = 3
    dtype: str = "float32"
    full_batches: bool = False
    spoil: dict[int, float] = field(default_factory=dict)
    """Value to put at layer 1, by number of the segment."""
    room: int = 100
    """Segments that fit into memory at once."""
    fail_at: int = 10**9
    """Number of segments after which it is interrupted."""
    sizes: list[int] = field(default_factory=list)
    seen: int = 0

    def prepare(
        self, keyframes: Sequence[Picture], seconds: Sequence[float], prompts: Sequence[Prompt]
    ) -> Prepared:
        ids = np.arange(3 + len(seconds))
        return Prepared(
            np.stack(keyframes),
            tuple(seconds),
            tuple(ids for _ in prompts),
            tuple(prompt.question for prompt in prompts),
        )

    def forward(self, batch: Sequence[Prepared], wanted: Wanted) -> Captured:
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("no room")
        if self.seen >= self.fail_at:
            raise KeyboardInterrupt
        self.sizes.append(len(batch))
        mean = torch.tensor([float(item.pictures.mean()) for item in batch])
        prompts = len(batch[0].texts)
        states = mean[:, None, None, None] + torch.tensor(wanted.layers)[None, None, :, None]
        states = states + torch.zeros(1, prompts, len(wanted.layers), self.dim)
        for index in range(len(batch)):
            if self.seen + index in self.spoil:
                states[index, 0, 1, 2] = self.spoil[self.seen + index]
        self.seen += len(batch)
        heads = mean[:, None, None, None] * torch.ones(1, prompts, 1, self.head_dim)
        return Captured(
            states.to(getattr(torch, self.dtype)),
            heads if wanted.heads else None,
            torch.full((len(batch), prompts, 2), 0.25) if wanted.yes_no else None,
        )

    def explain(self, *arguments: Any) -> list[Explanation]:
        raise NotImplementedError


def drawn_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: Drawn, name: str, **settings: Any
) -> Job[Settings]:
    monkeypatch.setattr(loading, "load", lambda reference: backbone)
    absent = BackboneReference("none", "", "auto", "sdpa", "cpu", "")
    return make_job(tmp_path, name, absent, **{"batch": 4, **settings})


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_state_that_is_not_finite_names_segment_and_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    job = drawn_job(tmp_path, monkeypatch, Drawn(spoil={5: value}), "a")
    with pytest.raises(ItemError, match="segment 5: layer 1 has a value that is not finite"):
        forward.compute(job)


@pytest.mark.usefixtures("asked")
def test_a_state_beyond_float16_names_layer_and_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = drawn_job(tmp_path, monkeypatch, Drawn(spoil={2: 70_000}), "a", store_dtype="float16")
    with pytest.raises(ItemError, match="segment 2, layer 1: the value 70000 is beyond float16"):
        forward.compute(job)


@pytest.mark.usefixtures("asked")
def test_the_batch_halves_when_memory_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(), "whole"))
    small = Drawn(room=1)
    job = drawn_job(tmp_path, monkeypatch, small, "halved", batch=5)
    result = forward.compute(job)
    assert small.sizes == [1] * SEGMENTS
    assert result.notes == ("GPU memory ran out: batches of 1 used",)
    assert content(job.out) == content(tmp_path / "whole")


@pytest.mark.usefixtures("asked")
def test_a_segment_that_does_not_fit_alone_is_an_item_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ItemError, match="segment 0 alone does not fit"):
        forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(room=0), "a"))


def interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str = "float32"
) -> dict[str, bytes]:
    """Interrupt a video of 7 segments in shards of 2 after the second; the whole one's files."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    whole = drawn_job(tmp_path, monkeypatch, Drawn(dtype=dtype), "whole")
    forward.compute(Job(**{**vars(whole), "partial": None}))
    job = drawn_job(tmp_path, monkeypatch, Drawn(dtype=dtype, fail_at=4), "cut")
    with pytest.raises(KeyboardInterrupt):
        forward.compute(job)
    return content(whole.out)


def resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str = "float32"
) -> tuple[Drawn, dict[str, bytes], Result]:
    backbone = Drawn(dtype=dtype)
    job = drawn_job(tmp_path, monkeypatch, backbone, "again")
    result = forward.compute(job)
    return backbone, content(job.out), result


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_interruption_costs_one_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[int], dtype: str
) -> None:
    expected = interrupted(tmp_path, monkeypatch, dtype)
    assert len(list((tmp_path / "partial").iterdir())) == 2
    asked.clear()
    backbone, found, result = resume(tmp_path, monkeypatch, dtype)
    assert backbone.sizes == [2, 1]
    assert found == expected
    assert result.rows == SEGMENTS
    # Segment 0 is read again too: the record shows its prompt.
    assert sorted(set(asked) - set(shown(0))) == sorted(n for s in (4, 5, 6) for n in shown(s))


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("harm", ["flip", "shorten"])
def test_a_damaged_part_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    expected = interrupted(tmp_path, monkeypatch)
    part = next((tmp_path / "partial").glob("00000000-*.part"))
    data = bytearray(part.read_bytes())
    data[10] ^= 1
    part.write_bytes(data if harm == "flip" else data[:-1])
    backbone, found, _ = resume(tmp_path, monkeypatch)
    assert backbone.sizes == [2, 2, 1]
    assert found == expected


@pytest.mark.usefixtures("asked")
def test_a_video_of_one_shard_keeps_no_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(), "a"))
    assert not (tmp_path / "partial").exists()


@pytest.mark.usefixtures("asked")
def test_heads_and_answers_lie_beside_the_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"heads": ((1, 1),), "yes_no": True, "prompts": ("a", "b"), "layers": (0, 2)}
    job = drawn_job(tmp_path, monkeypatch, Drawn(), "a", **settings)
    forward.compute(job)
    states = States.open(job.out / "states.zarr")
    heads = Heads.open(job.out / "heads.zarr")
    assert (states.layers, states.prompts, heads.prompts) == ((0, 2), 2, 2)
    mean = states.layer(0, prompt=1)[:, :1]
    np.testing.assert_array_equal(states.layer(2, prompt=1), mean + 2 + np.zeros((1, 4)))
    np.testing.assert_array_equal(heads.head(1, 1, prompt=1), np.repeat(mean, 3, axis=1))
    rows = read_table(job.out / "yes_no.parquet", schema.YES_NO).to_pydict()
    assert rows["segment"] == [n for n in range(SEGMENTS) for _ in range(2)]
    assert rows["prompt"] == [0, 1] * SEGMENTS
    assert set(rows["yes"]) == set(rows["no"]) == {0.25}


@pytest.mark.usefixtures("asked")
def test_heads_and_answers_survive_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    settings = {"heads": ((0, 1),), "yes_no": True}
    whole = drawn_job(tmp_path, monkeypatch, Drawn(), "whole", **settings)
    forward.compute(Job(**{**vars(whole), "partial": None}))
    with pytest.raises(KeyboardInterrupt):
        forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(fail_at=4), "cut", **settings))
    again = Drawn()
    job = drawn_job(tmp_path, monkeypatch, again, "again", **settings)
    forward.compute(job)
    assert again.sizes == [2, 1]
    assert content(job.out) == content(whole.out)


@pytest.mark.usefixtures("asked")
def test_where_rounding_depends_on_the_batch_every_batch_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(), "as they come"))
    full = Drawn(full_batches=True)
    job = drawn_job(tmp_path, monkeypatch, full, "full")
    forward.compute(job)
    assert full.sizes == [4, 4]
    assert content(job.out) == content(tmp_path / "as they come")


@pytest.mark.usefixtures("asked")
def test_segments_of_another_shape_wait_for_a_batch_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(Drawn):
        def prepare(
            self, keyframes: Sequence[Picture], seconds: Sequence[float], prompts: Sequence[Prompt]
        ) -> Prepared:
            item = super().prepare(keyframes, seconds, prompts)
            even = round(seconds[0] * 10) // 8 % 2 == 0
            return item if even else replace(item, pictures=np.repeat(item.pictures, 2, axis=1))

    odd = Odd()
    job = drawn_job(tmp_path, monkeypatch, odd, "a", batch=2)
    forward.compute(job)
    assert sorted(odd.sizes) == [1, 2, 2, 2]
    forward.compute(drawn_job(tmp_path, monkeypatch, Drawn(), "b", batch=2))
    # The mean of a picture does not change when its rows are repeated.
    assert content(job.out) == content(tmp_path / "b")
