"""What follows from the choice of a layer: the choice alone, not how it came about."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.digest import read_json
from manifests.schema import RUN_SCORES, SELECTION
from manifests.table import read_table
from tests.conftest import Called, Demo

Hiprobe = Callable[..., Called]


def run(hiprobe: Hiprobe, demo: Demo, *words: str) -> dict[str, int]:
    """Run with more words on the command line; gives what was built, by stage."""
    done = hiprobe("run", demo.config, "--quiet", "--json", *words)
    assert done.code == 0, done.out
    return {name: count for name, count in done.value()["built"].items() if count}


def layers_of(demo: Demo) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = read_table(demo.folder / "layers.parquet", SELECTION).to_pydict()
    return found


def chosen(demo: Demo) -> int:
    table = layers_of(demo)
    layer: int = table["layer"][table["chosen"].index(True)]
    return layer


def scores_of(demo: Demo) -> np.ndarray[Any, Any]:
    return np.asarray(read_table(demo.folder / "scores.parquet", RUN_SCORES)["score"])


def test_another_method_that_chooses_the_same_layer_leaves_fit_and_scores_fresh(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    layer = chosen(own_demo)
    other = ("--set", f"select.method=fixed:{layer}")
    assert any(score is not None for score in layers_of(own_demo)["score"])
    assert run(hiprobe, own_demo, *other) == {"select": 1, "report": 1}
    page = (own_demo.folder / "report.html").read_text()
    assert f"<code>fixed:{layer}</code> chose <strong>layer {layer}</strong>" in page
    # The table in the results folder is that of the new method, though the choice is the same.
    assert layers_of(own_demo)["score"] == [None] * len(layers_of(own_demo)["layer"])
    assert chosen(own_demo) == layer
    assert run(hiprobe, own_demo, *other) == {}
    # And back: everything is in the store.
    assert run(hiprobe, own_demo) == {}
    assert any(score is not None for score in layers_of(own_demo)["score"])
    assert "<code>dlsp</code> chose" in (own_demo.folder / "report.html").read_text()


def test_another_layer_is_fitted_and_scored_again(own_demo: Demo, hiprobe: Hiprobe) -> None:
    other = 1 if chosen(own_demo) != 1 else 2
    words = ("--set", f"select.method=fixed:{other}", "--until", "score")
    built = run(hiprobe, own_demo, *words)
    assert set(built) == {"select", "fit", "score"}
    assert built["score"] == 20


def test_a_pass_that_keeps_only_the_chosen_layer_gives_the_same_scores(
    own_demo: Demo, hiprobe: Hiprobe, tmp_path: Path
) -> None:
    before, layer = scores_of(own_demo), chosen(own_demo)
    built = run(hiprobe, own_demo, "--set", f"forward.layers=[{layer}]", "--until", "localize")
    assert set(built) >= {"forward", "moments", "statistics", "select", "fit", "score"}
    assert layers_of(own_demo)["layer"] == [layer]
    assert layers_of(own_demo)["score"] == [0.0]  # of one layer, every z-score is 0
    np.testing.assert_allclose(scores_of(own_demo), before, atol=1e-4)


@pytest.mark.slow
def test_the_second_of_two_questions_is_probed_as_if_it_were_the_only_one(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    question = read_config(own_demo)["forward"]["prompts"][0]
    before, layer = scores_of(own_demo), chosen(own_demo)
    fixed = ("--set", f"select.method=fixed:{layer}", "--until", "localize")
    asked = f'forward.prompts=["Is it dark?", "{question}"]'
    second = (*fixed, "--set", asked, "--set", "select.prompt=1")
    run(hiprobe, own_demo, *second)
    np.testing.assert_allclose(scores_of(own_demo), before, atol=1e-4)
    # A second pass holds this question alone: its states are found by the question's text.
    built = run(hiprobe, own_demo, *second, "--set", "forward.test_layers=selected")
    assert set(built) >= {"forward_selected", "score"}
    assert not set(built) & {"forward", "fit"}
    np.testing.assert_allclose(scores_of(own_demo), before, atol=1e-4)
    # The other question of the same pass: no pass is made again, but everything after it.
    built = run(hiprobe, own_demo, *fixed, "--set", asked)
    made = {"moments", "statistics", "select", "fit", "score", "threshold", "localize"}
    assert set(built) == made
    assert np.abs(scores_of(own_demo) - before).max() > 1e-3


def read_config(demo: Demo) -> dict[str, Any]:
    import tomllib

    return tomllib.loads((demo.folder / "config.toml").read_text())


@pytest.mark.parametrize("override", ["select.prompt=1", "select.prompt=-1"])
def test_a_question_that_is_not_asked_is_refused_before_any_work(
    demo: Demo, hiprobe: Hiprobe, override: str
) -> None:
    called = hiprobe("plan", demo.config, "--set", override)
    assert called.code == 2
    assert "select.prompt = " in called.out


def test_a_layer_that_is_not_kept_is_refused_before_any_work(demo: Demo, hiprobe: Hiprobe) -> None:
    both = ("--set", "select.method=fixed:3", "--set", "forward.layers=[1, 2]")
    called = hiprobe("plan", demo.config, *both)
    assert called.code == 2
    assert "forward.layers keeps 1, 2, not 3" in called.out


def test_a_scorer_whose_layer_is_not_kept_is_an_error_that_names_what_is(
    own_demo: Demo, hiprobe: Hiprobe, tmp_path: Path
) -> None:
    scorer = tmp_path / "scorer"
    shutil.copytree(own_demo.folder / "scorer", scorer)
    layer = read_json(scorer / "scorer.json")["layer"]
    other = 1 if layer != 1 else 2
    words = ("--set", f"run.scorer={scorer}", "--set", f"forward.layers=[{other}]")
    called = hiprobe("run", own_demo.config, "--quiet", "--limit", 1, *words)
    assert called.code != 0
    assert f"layer {layer} is needed, its hidden states have layers {other}; keep" in called.out
