"""NaN and infinity from the model: refused before anything is published, with layer and segment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from cache.digest import write_json
from cache.store import Store
from pipeline.task import SourceVideo, Task, execute
from stages.backbones import load as loading
from stages.backbones.contract import Captured, Prepared, Wanted
from stages.backbones.pass_settings import Settings
from stages.backbones.reference import BackboneReference
from tests.plans import SEGMENTS, draw_frames, write_plan
from tests.stages.backbones.test_passes import Drawn

PROMPTS = ("Describe it.", "Is anything odd?")
Spoil = Callable[[Captured, int], None]
"""Puts a value into what was captured of the segment at this place of a batch."""


@dataclass(eq=False)
class Spoiled(Drawn):
    """A backbone whose numbers of one segment are not finite somewhere."""

    layers: int = 4
    spoiled: int = 3
    """Number of the segment."""
    how: Spoil = lambda captured, at: None

    def forward(self, batch: Sequence[Prepared], wanted: Wanted) -> Captured:
        first = self.seen
        mean = torch.tensor([float(item.pictures.mean()) for item in batch])[:, None, None, None]
        prompts, layers = len(batch[0].texts), len(wanted.layers)
        pairs = self.layers if wanted.whole_heads else len(wanted.heads)
        width = self.heads * self.head_dim if wanted.whole_heads else self.head_dim
        found = Captured(
            mean + torch.zeros(len(batch), prompts, layers, self.dim),
            mean + torch.zeros(len(batch), prompts, pairs, width),
            torch.full((len(batch), prompts, 2), 0.25),
        )
        self.seen += len(batch)
        if first <= self.spoiled < self.seen:
            self.how(found, self.spoiled - first)
        return found


def at_states(place: int, value: float, prompt: int = 0) -> Spoil:
    def put(captured: Captured, at: int) -> None:
        captured.states[at, prompt, place, 1] = value

    return put


def at_heads(place: int, value: float) -> Spoil:
    def put(captured: Captured, at: int) -> None:
        captured.heads[at, 0, place, 2] = value

    return put


def at_answer(value: float, prompt: int) -> Spoil:
    def put(captured: Captured, at: int) -> None:
        captured.yes_no[at, prompt, 1] = value

    return put


def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: Spoiled, stage: str, **more: Any
) -> str:
    """What is said of one item of a pass; nothing is left of it."""
    choice = more.pop("choice", None)
    draw_frames(monkeypatch)
    monkeypatch.setattr(loading, "load", lambda reference: backbone)
    store = Store.open(tmp_path / "store")
    given: dict[str, Any] = {"plan": lambda folder: (folder.rmdir(), write_plan(folder))}
    if choice is not None:
        given["choice"] = lambda folder: write_json(folder / "choice.json", choice)
    single, inputs = {}, {}
    for role, write in given.items():
        with store.draft("sample", 1, {}, {"role": role}) as draft:
            write(draft.path)
            made = store.publish(draft, rows=1)
        single[role], inputs[role] = ("sample", made.key), made.digest
    video = tmp_path / "video.mp4"
    video.write_bytes(b"a video")
    task = Task(
        stage=stage, version=1, item="v", settings=Settings(prompts=PROMPTS, batch=2, **more),
        recipe={}, inputs=inputs, members={}, store=store.root, single=single, many={},
        values={"question": PROMPTS[0]},
        source=SourceVideo(video, hashlib.sha256(b"a video").hexdigest()),
        backbone=BackboneReference("none", "", "auto", "sdpa", "cpu", ""),
    )  # fmt: skip
    sound = backbone.how
    outcome = execute(task)
    assert (outcome.status, outcome.error_class) == ("failed", "ItemError"), outcome
    assert store.keys(stage) == []
    assert [p.name for p in (store.root / "staging").iterdir()] == ["parts"]
    # The same pass without that value is published: it was refused for nothing else.
    backbone.how, backbone.seen = (lambda captured, at: None), 0
    assert execute(task).status == "built", sound
    return outcome.message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_state_of_the_first_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, dtype: str
) -> None:
    backbone = Spoiled(how=at_states(2, value, prompt=1), spoiled=SEGMENTS - 1)
    message = refused(tmp_path, monkeypatch, backbone, "forward", store_dtype=dtype) if (
        dtype != "bfloat16"
    ) else refused(tmp_path, monkeypatch, _bfloat16(backbone), "forward")  # fmt: skip
    assert f"segment {SEGMENTS - 1}: layer 2 has a value that is not finite" in message


def _bfloat16(backbone: Spoiled) -> Spoiled:
    """The same numbers in the precision that most models have."""
    real = backbone.forward

    def forward(batch: Sequence[Prepared], wanted: Wanted) -> Captured:
        found = real(batch, wanted)
        half = found.states.to(torch.bfloat16), found.heads.to(torch.bfloat16)
        return Captured(*half, found.yes_no)

    backbone.dtype = "bfloat16"
    backbone.forward = forward  # type: ignore[method-assign]
    return backbone


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_head_of_the_first_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    backbone = Spoiled(how=at_heads(1, value))
    message = refused(tmp_path, monkeypatch, backbone, "forward", heads="all")
    assert "segment 3: a head of layer 1 has a value that is not finite" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_yes_or_no_which_only_the_first_pass_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    backbone = Spoiled(how=at_answer(value, prompt=1))
    message = refused(tmp_path, monkeypatch, backbone, "forward", yes_no=True)
    assert "segment 3: the first word of the answer to prompt 1 has a probability" in message


@pytest.mark.parametrize(
    ("choice", "how", "place"),
    [
        ({"layer": 3}, at_states(0, float("nan")), "layer 3"),
        ({"heads": [[1, 1], [3, 0]]}, at_heads(1, float("inf")), "head [3, 0]"),
        ({"heads": [[1, 1]], "context": 4}, at_states(0, float("inf")), "layer 4"),
        ({"heads": [[1, 1]], "context": 4}, at_heads(0, float("nan")), "head [1, 1]"),
    ],
)
def test_a_number_of_the_second_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: Any, how: Spoil, place: str
) -> None:
    message = refused(tmp_path, monkeypatch, Spoiled(how=how), "forward_selected", choice=choice)
    assert f"segment 3: {place} has a value that is not finite" in message
