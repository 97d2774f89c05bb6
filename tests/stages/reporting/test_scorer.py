"""What the page says of the scorer: what it reads, and how it does on rows that it has not seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.digest import read_json, write_json
from tests.report_run import Run, make_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def set_record(run: Run, **changed: object) -> None:
    path = run.inputs["scorer"].path / "scorer.json"
    write_json(path, {**read_json(path), **changed})


def test_the_auc_of_held_out_rows_stands_beside_that_of_the_fitted_ones(run: Run) -> None:
    set_record(run, train_auc=0.98765, held_out_auc=0.8766, folds=4)
    page = run.page()
    assert "Their AUC is 98.8 %; by scorers that were fitted without the video of a row, in 4 folds, it is 87.7 %." in page.text  # fmt: skip
    assert "did not converge" not in page.text


@pytest.mark.parametrize("record", [{}, {"train_auc": 1.0, "held_out_auc": None, "folds": 0}])
def test_without_held_out_rows_nothing_is_said_of_them(run: Run, record: dict[str, object]) -> None:
    set_record(run, **record)
    assert "fitted without the video of a row" not in run.page().text


def test_a_fit_that_did_not_converge_is_an_alarm(run: Run) -> None:
    set_record(run, converged=False)
    assert "The fit did not converge." in run.page().text


def test_the_layer_that_steers_the_heads_is_named(run: Run) -> None:
    """Of a scorer of another run, whose choice no stage of this one has made."""
    del run.inputs["choice"], run.inputs["table"]
    set_record(run, heads=[[18, 4], [23, 24]], context=28)
    assert "on heads [18, 4], [23, 24], steered by layer 28." in run.page().text
