"""How often a layer is chosen: the bars and what the page says of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cache.digest import read_json, write_json
from stages.reporting.stability import draw_wins
from tests.report_run import Run, make_run, put_probe


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def set_stability(run: Run, **changed: object) -> None:
    path = run.inputs["choice"].path / "selection.json"
    record = read_json(path)
    write_json(path, {**record, "stability": {**record["stability"], **changed}})


def test_the_page_says_how_often_the_layer_is_chosen(run: Run) -> None:
    page = run.page()
    assert (
        "in 16 replicates that draw the probing videos again, dlsp chooses layer 2 in 87.5 %, and "
        "no layer in 1 of them, where its figures are not defined."
    ) in page.text
    assert "it could well be another" not in page.text
    assert "Chosen are layer 2 in 87.5 %, layer 1 in 6.2 %." in page.text
    assert re.search(r"2 \(chosen\)( \S+)* 87\.50", page.text)


def test_a_choice_that_does_not_hold_is_an_alarm(run: Run) -> None:
    set_stability(run, wins=0.4375, undecided=0)
    page = run.page()
    assert "in 43.8 %. With other probing videos it could well be another." in page.text
    assert "not defined." not in page.text


def test_a_layer_that_was_named_has_no_bars(run: Run) -> None:
    put_probe(run, "last")
    page = run.page()
    assert "The layer was named in advance" in page.text
    assert "How stable the choice is" not in page.text


def test_without_replicates_nothing_is_said(run: Run) -> None:
    path = run.inputs["choice"].path / "selection.json"
    write_json(path, {**read_json(path), "stability": None})
    page = run.page()
    assert "How stable the choice is" not in page.text
    assert "named in advance" not in page.text


@pytest.mark.parametrize("layers", [[3], [0, 1], [0, 8, 31], range(33)])
def test_any_layers_can_be_drawn(layers: list[int]) -> None:
    wins = [0.0] * len(layers)
    assert "No layer is chosen in any replicate." in draw_wins("w", layers, wins, layers[0])
    wins[-1] = 1.0
    text = draw_wins("w", layers, wins, layers[-1])
    assert f"Chosen are layer {layers[-1]} in 100.0 %." in text
    assert text.count("var(--truth)") == 1
    assert "nan" not in text


def test_many_winners_are_not_all_named() -> None:
    text = draw_wins("w", range(8), [0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0], 0)
    assert (
        "layer 0 in 30.0 %, layer 1 in 20.0 %, layer 2 in 10.0 %, layer 3 in 10.0 %, layer 4 in "
        "10.0 %, 2 more layers in the others." in text
    )
