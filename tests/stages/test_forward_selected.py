"""The second pass: of one prompt, what was chosen, and the numbers of the first pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.arrays import Heads, States
from cache.digest import write_json
from cache.errors import ConfigError, DamagedArtifact
from stages import forward, forward_selected
from stages.backbones.identity import identify
from stages.backbones.pass_settings import Settings
from stages.backbones.reference import BackboneReference
from stages.contract import Job
from stages.video import pixels
from tests.payload import Folder
from tests.plans import SEGMENTS, picture, shown, write_plan
from tests.small_backbone import LAYERS, build_backbone

PROMPTS = ("Describe it.", "Is anything odd?", "Why?")
HEADS = [[1, 3], [2, 0]]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> BackboneReference:
    folder = tmp_path_factory.mktemp("backbone") / "small"
    build_backbone(folder)
    identity = identify(str(folder), "", "auto", "sdpa", {})
    return BackboneReference(str(folder), "", "auto", "sdpa", "cpu", identity)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A plan that holds its pixels, so that no video is needed."""
    made = write_plan(tmp_path_factory.mktemp("video") / "plan")
    numbers = sorted({frame for segment in range(SEGMENTS) for frame in shown(segment)})
    pixels.write_pixels(made.path / "pixels.parquet", ((n, picture(n)) for n in numbers), "webp")
    return made


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory, plan: Folder, reference: BackboneReference
) -> Path:
    """What the first pass keeps: every layer and every head, of every prompt."""
    out = tmp_path_factory.mktemp("first")
    settings = Settings(prompts=PROMPTS, system="Be brief.", heads="all")
    inputs = {"plan": plan}
    forward.compute(Job("v", settings, out, inputs=inputs, backbone=reference))
    return out


def run(
    tmp_path: Path, plan: Folder, reference: BackboneReference, record: str, choice: Any
) -> Path:
    """The second pass, with the choice in a file of this name."""
    chosen, out = tmp_path / "chosen", tmp_path / "out"
    chosen.mkdir()
    out.mkdir()
    write_json(chosen / record, choice)
    job = Job(
        item="v",
        settings=Settings(prompts=PROMPTS, system="Be brief.", heads="all", yes_no=True),
        out=out,
        inputs={"plan": plan, "choice": Folder(chosen)},
        values={"question": PROMPTS[1]},
        backbone=reference,
    )
    assert forward_selected.compute(job).rows == SEGMENTS
    return out


@pytest.mark.parametrize("layer", [0, 1, 4, LAYERS])
def test_it_keeps_the_chosen_layer_with_the_numbers_of_the_first_pass(
    tmp_path: Path, plan: Folder, first: Path, reference: BackboneReference, layer: int
) -> None:
    out = run(tmp_path, plan, reference, "choice.json", {"layer": layer})
    expected = States.open(first / "states.zarr").layer(layer, 1)
    found = States.open(out / "states.zarr")
    assert (found.segments, found.layers, found.prompts) == (SEGMENTS, (layer,), 1)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found.layer(layer), expected, rtol=0, atol=1e-5)
    other = States.open(first / "states.zarr").layer(layer, 0)
    # At the last position stands the same token after every prompt: its embedding is the same.
    assert layer == 0 or np.abs(other - expected).max() > 1e-3
    assert sorted(path.name for path in out.iterdir()) == [
        "passes.json", "states.json", "states.zarr"
    ]  # fmt: skip


def test_it_keeps_chosen_heads(
    tmp_path: Path, plan: Folder, first: Path, reference: BackboneReference
) -> None:
    out = run(tmp_path, plan, reference, "choice.json", {"heads": HEADS[::-1]})
    assert not (out / "states.zarr").exists()
    expected, found = Heads.open(first / "heads.zarr"), Heads.open(out / "heads.zarr")
    for layer, head in HEADS:
        kept = found.head(layer, head)
        assert np.abs(kept).max() > 1e-3
        np.testing.assert_allclose(kept, expected.head(layer, head, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("context", [1, LAYERS])
def test_it_keeps_the_layer_that_steers_the_heads_too(
    tmp_path: Path, plan: Folder, first: Path, reference: BackboneReference, context: int
) -> None:
    """Whether it lies before the last head that is needed or behind it."""
    record = {"kind": "steer", "heads": HEADS, "context": context}
    out = run(tmp_path, plan, reference, "scorer.json", record)
    states = States.open(out / "states.zarr")
    assert states.layers == (context,)
    expected = States.open(first / "states.zarr").layer(context, 1)
    np.testing.assert_allclose(states.layer(context), expected, rtol=0, atol=1e-5)
    heads, all_heads = Heads.open(out / "heads.zarr"), Heads.open(first / "heads.zarr")
    for layer, head in HEADS:
        kept = all_heads.head(layer, head, 1)
        np.testing.assert_allclose(heads.head(layer, head), kept, rtol=0, atol=1e-5)


def test_the_record_of_a_scorer_holds_the_choice_too(
    tmp_path: Path, plan: Folder, first: Path, reference: BackboneReference
) -> None:
    out = run(tmp_path, plan, reference, "scorer.json", {"kind": "logistic", "layer": 2, "mu": 0.5})
    expected = States.open(first / "states.zarr").layer(2, 1)
    found = States.open(out / "states.zarr").layer(2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_record_shows_the_probed_prompt(
    tmp_path: Path, plan: Folder, first: Path, reference: BackboneReference
) -> None:
    out = run(tmp_path, plan, reference, "choice.json", {"layer": 2})
    whole = json.loads((first / "states.json").read_text())
    found = json.loads((out / "states.json").read_text())
    assert found == {**whole, "layers": [2], "heads": [], "prompts": [whole["prompts"][1]]}


@pytest.mark.parametrize("choice", [{}, {"heads": []}, {"method": "dlsp"}])
def test_a_choice_that_names_nothing_is_refused(
    tmp_path: Path, plan: Folder, reference: BackboneReference, choice: Any
) -> None:
    with pytest.raises(ConfigError, match="expected a layer or heads"):
        run(tmp_path, plan, reference, "choice.json", choice)


def test_a_layer_that_the_backbone_does_not_have_is_refused(
    tmp_path: Path, plan: Folder, reference: BackboneReference
) -> None:
    with pytest.raises(ConfigError, match=str(LAYERS + 3)):
        run(tmp_path, plan, reference, "scorer.json", {"layer": LAYERS + 3})


def test_without_a_choice_the_artifact_is_damaged(
    tmp_path: Path, plan: Folder, reference: BackboneReference
) -> None:
    with pytest.raises(DamagedArtifact):
        run(tmp_path, plan, reference, "other.json", {"layer": 2})
