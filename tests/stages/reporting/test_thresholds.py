"""What a page says of the threshold and of others."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cache.digest import write_json
from manifests.schema import SENSITIVITY
from manifests.table import write_table
from stages.reporting.thresholds import draw_sensitivity, rule_of
from tests.report_run import THRESHOLD, Page, Run, make_run

KAPPAS = [-1.0, 0.0, 1.0, 2.0, 3.0]
COLUMNS: dict[str, list[Any]] = {
    "kappa": KAPPAS,
    "threshold": [0.5 + 0.25 * kappa for kappa in KAPPAS],
    "precision": [0.5, 0.75, 1.0, None, None],
    "recall": [1.0, 0.75, 0.25, 0.0, 0.0],
    "f1": [0.6667, 0.75, 0.4, 0.0, 0.0],
    "normal_above": [1.0, 0.25, 0.0, 0.0, 0.0],
    "alarms_per_hour": [1.0, 2.5, 0.0, 0.0, None],
}
RECORD = {"threshold": 0.75, "rule": "fixed:0.75", "mu": 0.5, "sigma": 0.25, "kappa": 1.0}


def lines_in(text: str) -> list[list[tuple[float, float]]]:
    """The curves of a picture as points."""
    paths = re.findall(r'<path d="(M [^"]*)" clip-path', text)
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]
        for path in paths
    ]


def test_the_chosen_kappa_is_marked_where_it_lies() -> None:
    text = draw_sensitivity("p", COLUMNS, RECORD)
    assert ">dashed: T = 0.750, κ = 1</text>" in text
    curves = {len(points): points for points in lines_in(text) if len(points) != len(KAPPAS)}
    (marked,) = [points for points in curves.values() if points[0][0] == points[1][0]]
    f1 = [points for points in lines_in(text) if len(points) == len(KAPPAS)][-1]
    assert marked[0][0] == pytest.approx(f1[2][0], abs=0.02)
    # Above the picture stands T: 0.5 where kappa is 0.
    assert ">threshold T</text>" in text


def test_a_threshold_outside_the_picture_is_named_and_not_marked() -> None:
    far = {**RECORD, "threshold": 2.0, "kappa": 6.0}
    text = draw_sensitivity("p", COLUMNS, far)
    assert ">outside the picture: T = 2.000, κ = 6</text>" in text
    low = {**RECORD, "threshold": 0.1234, "kappa": -1.5064}
    assert "outside the picture: T = 0.123, κ = −1.51" in draw_sensitivity("p", COLUMNS, low)


def test_where_all_scores_are_the_same_there_is_no_deviation_to_show() -> None:
    flat = {**RECORD, "sigma": 0.0, "kappa": None}
    text = draw_sensitivity("p", {**COLUMNS, "threshold": [0.5] * 5}, flat)
    assert ">T = 0.750</text>" in text
    assert "threshold T" not in text


def test_the_words_of_the_picture_say_where_f1_is_highest() -> None:
    text = draw_sensitivity("p", COLUMNS, RECORD)
    assert (
        "Kappa from -1 to 3. F1 is highest, 75.00 %, at kappa 0, T = 0.500; it is 66.67 % at -1 and "
        "0.00 % at 3. The threshold of this run is 0.750, kappa 1." in text
    )


def test_precision_is_a_gap_where_nothing_lies_above() -> None:
    lengths = sorted(len(points) for points in lines_in(draw_sensitivity("p", COLUMNS, RECORD)))
    assert lengths.count(5) == 2  # F1 and recall
    assert 3 in lengths  # precision


def test_every_rule_is_said_in_words() -> None:
    search = {"tried": 99, "step": 0.01, "from": 0.35, "to": 0.44, "equally_good": 10}
    f1 = {"rule": "f1", "search": search}
    assert rule_of({"rule": "kappa", "kappa": 0.25}).startswith(
        "= μA + κ σA, with κ = 0.25: no test"
    )
    assert "99 thresholds in steps of 0.01 (0.35 to 0.44 do equally well): no test" in rule_of(f1)
    alone = {**f1, "search": {**search, "to": 0.35}}
    assert "99 thresholds in steps of 0.01: no test video" in rule_of(alone)
    assert "set by hand (fixed:0.5): what it was chosen on is not recorded" in rule_of(
        {"rule": "fixed:0.5"}
    )


@pytest.fixture
def run(tmp_path: Any) -> Run:
    return make_run(tmp_path)


def with_threshold(run: Run, out: str = "out", **changed: Any) -> Page:
    """The page of a run whose videos say something else of the threshold."""
    for folder in run.many["intervals"].values():
        write_json(folder.path / "threshold.json", {**THRESHOLD, **changed})
    return run.page(out=out)


def test_the_page_says_what_the_threshold_does_on_training_rows(run: Run) -> None:
    page = run.page()
    assert "Threshold T = 0.5000 = μA + κ σA, with κ = 0.2: no test video takes part" in page.text
    assert "On 2 training videos with 96 frames, 48 of them anomalous; held-out scores" in page.text
    assert "the labels are those of whole videos" in page.text
    assert (
        "At the threshold of this run: F1 of frames 0.00 %; precision –; recall 0.00 %;"
        in page.text
    )
    assert "0.2 0.5000 77.40 80.00 75.00 10.00 4.0" in page.text  # a row of the table


def test_the_page_says_which_scores_and_labels_they_are_of(run: Run) -> None:
    rows = {**THRESHOLD["training_rows"], "scores": "fitted"}  # type: ignore[dict-item]
    page = with_threshold(run, training_rows=rows, labels="frame")
    assert (
        "the scores of the very rows that the scorer was fitted on, which flatter it" in page.text
    )
    assert "the labels are those of frames" in page.text
    page = with_threshold(run, "again", labels=None)
    assert "what the labels are of is not recorded" in page.text
    assert "one sample" not in page.text
    page = with_threshold(run, "whole", unit="video")
    assert "Every training video is one sample here" in page.text


@pytest.mark.parametrize("lacking", ["input", "rows", "record"])
def test_without_a_curve_the_threshold_is_still_there(run: Run, lacking: str) -> None:
    if lacking == "input":
        del run.inputs["threshold"]
        page = run.page()
    elif lacking == "record":  # of an older scorer
        page = with_threshold(run, training_rows=None)
    else:
        path = run.inputs["threshold"].path / "sensitivity.parquet"
        write_table(path, SENSITIVITY, {name: [] for name in SENSITIVITY.names})
        page = run.page()
    assert "Threshold T = 0.5000" in page.text
    assert "What other thresholds would do" not in page.text
