"""Attention heads that a layer steers (SteerVAD), through the whole pipeline."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.arrays import Heads, States
from cache.digest import read_json
from manifests.schema import PROBING_SCORES, RUN_SCORES, STAGE_MANIFEST
from manifests.table import read_table
from stages.probes.scorers import SteerScorer, load_scorer
from tests.conftest import Called, Demo, call, copy_of

Hiprobe = Callable[..., Called]
SETTINGS = (
    "forward.heads=all",
    "select.method=separability",
    "select.heads_top=4",
    "select.context=last",
    "fit.scorer=steer",
    "fit.steer_epochs=60",
    "fit.steer_gate=16",
)
STEER = tuple(word for setting in SETTINGS for word in ("--set", setting))
TWO = ("--set", "forward.test_layers=selected")
LAYERS, PROBED, REST = 6, 8, 12


def until(demo: Demo, stage: str, *words: object) -> dict[str, int]:
    """What a run up to a stage makes."""
    called = call("run", demo.config, "--quiet", "--json", "--until", stage, *words)
    assert called.code == 0, called.out
    return {name: count for name, count in called.value()["built"].items() if count}


def scores(folder: Path) -> dict[tuple[str, int], float]:
    rows = read_table(folder / "scores.parquet", RUN_SCORES).to_pylist()
    return {(row["video_id"], row["segment"]): row["score"] for row in rows}


def record_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(folder / "scorer" / "scorer.json")
    return found


def made_by(folder: Path, stage: str) -> dict[str, Path]:
    table = read_table(folder / "manifests" / f"{stage}.parquet", STAGE_MANIFEST).to_pylist()
    store = folder / "store" / stage
    return {row["video_id"]: store / row["key"][:2] / row["key"] for row in table}


@pytest.fixture(scope="module")
def ran(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The small run, with steered heads up to the evaluation; nobody may change it."""
    copy = copy_of(demo, tmp_path_factory.mktemp("steered") / "runs" / "demo")
    built = until(copy, "evaluate", *STEER)
    assert {name: built[name] for name in ("heads", "select", "fit", "score")} == {
        "heads": 1, "select": 1, "fit": 1, "score": PROBED + REST,
    }  # fmt: skip
    return copy


@pytest.fixture
def own(ran: Demo, tmp_path: Path) -> Demo:
    shutil.copytree(ran.folder, tmp_path / "runs" / "demo")
    return Demo(tmp_path / "runs" / "demo", ran.printed)


def test_a_score_is_that_of_the_heads_and_the_layer_that_steers_them(ran: Demo) -> None:
    record, found = record_of(ran.folder), scores(ran.folder)
    scorer = load_scorer(ran.folder / "scorer")
    assert isinstance(scorer, SteerScorer)
    assert (record["kind"], record["context"], len(record["heads"])) == ("steer", LAYERS, 4)
    for video, path in made_by(ran.folder, "forward").items():
        heads, states = Heads.open(path / "heads.zarr"), States.open(path / "states.zarr")
        assert states.layers[-1] == LAYERS
        parts = [heads.head(*pair) for pair in record["heads"]]
        rows = np.concatenate([*parts, states.layer(LAYERS)], axis=1)
        assert rows.shape[1] == record["dim"]
        mine = [found[video, segment] for segment in range(len(rows))]
        np.testing.assert_array_equal(mine, scorer.score(rows))


def test_its_probing_rows_have_held_out_scores(ran: Demo) -> None:
    table = read_table(ran.folder / "scorer" / "probing_scores.parquet", PROBING_SCORES)
    held, record = table["held_out"].to_numpy(), record_of(ran.folder)
    assert record["folds"] >= 2
    assert np.isfinite(held).all()
    assert not np.array_equal(held, table["score"].to_numpy())


def test_a_second_pass_keeps_the_heads_and_the_layer_and_nothing_else(own: Demo) -> None:
    before = scores(own.folder)
    built = until(own, "localize", *STEER, *TWO)
    assert built["forward_selected"] == built["score"] == REST
    assert not set(built) & {"forward", "heads", "select", "fit"}
    found, record = scores(own.folder), record_of(own.folder)
    assert max(abs(found[at] - before[at]) for at in found) <= 1e-4
    for path in made_by(own.folder, "forward_selected").values():
        assert States.open(path / "states.zarr").layers == (LAYERS,)
        assert [list(pair) for pair in Heads.open(path / "heads.zarr").heads] == record["heads"]


def test_in_another_run_the_scorer_brings_the_same_choice(own: Demo) -> None:
    """What the second pass made of the run's own choice is found again: the key is the same."""
    until(own, "localize", *STEER, *TWO)
    expected = scores(own.folder)
    shutil.copytree(own.folder / "scorer", own.folder / "given")
    outside = ("--set", f"run.scorer={own.folder / 'given'}", "--set", "run.name=outside")
    plain = ("--set", "forward.heads=none", *TWO)
    built = until(own, "localize", *outside, *plain)
    assert built["forward_selected"] == PROBED
    assert not set(built) & {"forward", "heads", "select", "fit"}
    found = scores(own.folder.parent / "outside")
    assert found.keys() == expected.keys()
    assert max(abs(found[at] - expected[at]) for at in found) <= 1e-4


def test_without_that_layer_the_features_are_refused(own: Demo, hiprobe: Hiprobe) -> None:
    shutil.copytree(own.folder / "scorer", own.folder / "given")
    outside = ("--set", f"run.scorer={own.folder / 'given'}", "--set", "run.name=outside")
    kept = ("--set", "forward.heads=all", "--set", "forward.layers=[1, 2]")
    called = hiprobe("run", own.config, "--quiet", "--limit", 1, *outside, *kept)
    assert called.code != 0
    assert f"layer {LAYERS} is needed, its hidden states have layers 1, 2" in called.out


def test_the_report_knows_of_it(own: Demo, hiprobe: Hiprobe) -> None:
    called = hiprobe("run", own.config, "--quiet", "--json", *STEER)
    assert called.code == 0
    page = (own.folder / "report.html").read_text()
    assert "<code>separability</code> chose <strong>4 of " in page
    assert "nothing to do" in hiprobe("plan", own.config, *STEER).out
    assert hiprobe("show", own.folder / "config.toml").code == 0
    other = hiprobe(
        "plan", own.config, "--json", *STEER, "--set", "fit.c=3", "--set", "fit.mlp_hidden=3"
    )
    assert (
        other.value()["work"] == 0 if "work" in other.value() else "nothing" in str(other.value())
    )
