"""A family over two data sets: what is run, what is shared, what each cell of the table says."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.digest import read_json
from manifests.comparisons import SWEEP
from manifests.table import read_table
from pipeline.experiments import Column, Family, Row
from pipeline.sweep import Cell
from pipeline.sweep_table import sweep_text
from tests.conftest import Called, Demo, call, copy_of

Hiprobe = Callable[..., Called]

COLUMNS = """
title = "A synthetic ablation"
note = "Random weights: no figure means anything."
[columns.one]
title = "Set one"
base = "one.toml"
metric = "auc"
[columns.two]
title = "Set two"
base = "two.toml"
metric = "ap"
"""
ROWS = """
[[row]]
name = "dlsp"
text = "the chosen layer"
published = { one = 86.72, two = 82.15 }
[[row]]
name = "thresholded"
text = "the same, thresholded"
metric = { one = "auc_thresholded" }
[[row]]
name = "last"
text = "the last layer"
set = { "select.method" = "last" }
published = { one = 83.21 }
[[row]]
name = "from-two"
text = "fitted on set two"
set = { "select.method" = "last" }
scorer = "two"
[[row]]
name = "no-layer"
text = "a layer that is not there"
set = { "select.method" = "fixed:99" }
[[row]]
name = "kappa"
text = "a higher threshold"
set = { "localize.kappa" = 0.45 }
[[row]]
name = "theirs"
text = "somebody else's"
only_published = true
published = { one = 80.28 }
"""
NAMES = ("dlsp", "thresholded", "last", "from-two", "no-layer", "kappa", "theirs")


def write_bases(folder: Path) -> None:
    """Two data sets of the same videos, each with a probing subset of its own."""
    text = (folder / "run.toml").read_text()
    text = text.replace('runs = ".."', 'runs = "../results"', 1)
    for name, share in (("one", "1.0"), ("two", "0.5")):
        changed = text.replace('name = "demo"', f'name = "{name}"', 1)
        changed = changed.replace("probing_share = 1.0", f"probing_share = {share}", 1)
        (folder / f"{name}.toml").write_text(changed)


@pytest.fixture(scope="module")
def place(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs and the store of the small run, two bases and a family over them."""
    folder = copy_of(demo, tmp_path_factory.mktemp("sweep") / "runs" / "demo").folder
    write_bases(folder)
    (folder / "family.toml").write_text(COLUMNS + ROWS)
    return folder


@pytest.fixture(scope="module")
def swept(place: Path) -> dict[str, Any]:
    """The value that the first sweep prints; it is told how much was to be made before."""
    foreseen = call("sweep", place / "family.toml", "--dry-run", "--json").value()
    before = sorted(path.name for path in (place / "store").rglob("commit.json"))
    assert not (place.parent / "results").exists()
    done = call("sweep", place / "family.toml", "--quiet", "--json")
    assert done.code == 3
    assert before == sorted(p.name for p in (place / "store").rglob("commit.json"))[: len(before)]
    return {"foreseen": foreseen, **done.value()}


def cell(value: dict[str, Any], row: str, column: str) -> dict[str, Any]:
    (found,) = [c for c in value["cells"] if (c["row"], c["column"]) == (row, column)]
    return dict(found)


def metrics(place: Path, *parts: str) -> dict[str, Any]:
    return dict(read_json(place.parent.joinpath("results", *parts, "metrics.json")))


def test_every_cell_is_the_figure_of_its_own_run(place: Path, swept: dict[str, Any]) -> None:
    last = ("variants", "family", "last")
    for row, column, results, name in (
        ("dlsp", "one", ("one",), "auc"),
        ("dlsp", "two", ("two",), "ap"),
        ("thresholded", "one", ("one",), "auc_thresholded"),
        ("thresholded", "two", ("two",), "ap"),
        ("last", "one", ("one", *last), "auc"),
        ("last", "two", ("two", *last), "ap"),
        ("from-two", "one", ("one", "variants", "family", "from-two"), "auc"),
        ("kappa", "two", ("two", "variants", "family", "kappa"), "ap"),
    ):
        found, said = cell(swept, row, column), metrics(place, *results)
        assert found["ours"] == pytest.approx(100 * said[name]), (row, column)
        assert found["metric"] == name
        assert found["videos"] == said["counts"]["videos"] == 12
        band = said["bootstrap"].get(name)
        low = None if band is None else pytest.approx(100 * band["low"])
        assert found["low"] == low
        assert found["problem"] == ""


def test_the_difference_is_to_what_was_published(swept: dict[str, Any]) -> None:
    found = cell(swept, "last", "one")
    assert found["difference"] == pytest.approx(found["ours"] - 83.21)
    assert cell(swept, "last", "two")["published"] is None
    assert cell(swept, "last", "two")["difference"] is None
    theirs = cell(swept, "theirs", "one")
    assert (theirs["published"], theirs["ours"], theirs["problem"]) == (80.28, None, "")
    assert cell(swept, "theirs", "two")["published"] is None


def test_a_scorer_of_the_other_column_is_used_as_it_was_fitted_there(
    place: Path, swept: dict[str, Any]
) -> None:
    results = place.parent / "results"
    mine = results / "one" / "variants" / "family" / "from-two"
    assert not (mine / "scorer").exists()
    # In its own column the row is a plain run, and here the same as the row before.
    theirs = read_json(results / "two" / "variants" / "family" / "last" / "scorer/scorer.json")
    assert not (results / "two" / "variants" / "family" / "from-two").exists()
    assert theirs["n_normal"] + theirs["n_anomalous"] > 0
    threshold = read_json(mine / "metrics.json")["threshold"]
    assert threshold["threshold"] == pytest.approx(theirs["mu"] + 0.2 * theirs["sigma"])
    assert cell(swept, "from-two", "two")["ours"] == cell(swept, "last", "two")["ours"]
    assert cell(swept, "from-two", "one")["ours"] != cell(swept, "last", "one")["ours"]
    assert cell(swept, "from-two", "one")["layer"] == theirs["layer"]


def test_a_row_that_fails_leaves_its_cells_empty_and_the_next_one_goes_on(
    swept: dict[str, Any],
) -> None:
    for column in ("one", "two"):
        failed = cell(swept, "no-layer", column)
        assert failed["ours"] is None
        assert "99" in failed["problem"]
        assert cell(swept, "kappa", column)["ours"] is not None


def test_a_dry_run_counts_what_the_sweep_then_makes(swept: dict[str, Any]) -> None:
    foreseen = {(w["row"], w["column"]): w for w in swept["foreseen"]}
    assert ("theirs", "one") not in foreseen
    assert foreseen["dlsp", "one"]["todo"] == {}
    # 20 curves and their evaluation wait for the threshold.
    assert foreseen["kappa", "one"]["todo"] == {"threshold": 1}
    assert (foreseen["kappa", "one"]["first"], foreseen["kappa", "one"]["waiting"]) == (1, 21)
    assert cell(swept, "kappa", "one")["built"] == 22
    assert "column two is to fit" in foreseen["from-two", "one"]["problem"]
    assert foreseen["last", "two"]["first"] == 0  # the first row makes the index of set two
    # Rows that share a run, or whose every artifact is there, make nothing.
    assert [cell(swept, name, "one")["built"] for name in ("dlsp", "thresholded")] == [0, 0]
    assert cell(swept, "from-two", "two")["built"] == 0


def test_a_second_sweep_makes_nothing_and_says_the_same(
    place: Path, swept: dict[str, Any], hiprobe: Hiprobe
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (place / "store").rglob("commit.json")}
    again = hiprobe("sweep", place / "family.toml", "--quiet", "--json")
    assert again.code == 3
    value = again.value()
    assert not any(found.pop("built") for found in value["cells"])
    assert value["cells"] == [
        {name: said for name, said in found.items() if name != "built"} for found in swept["cells"]
    ]
    assert before == {
        path: path.stat().st_mtime_ns for path in (place / "store").rglob("commit.json")
    }
    foreseen = hiprobe("sweep", place / "family.toml", "--dry-run", "--json").value()
    assert {w["row"] for w in foreseen if w["todo"]} == {"no-layer"}


def test_separate_runs_in_separate_stores_give_the_same_figures(
    place: Path, swept: dict[str, Any], demo: Demo, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    for row, column in (("last", "one"), ("last", "two")):
        folder = copy_of(demo, tmp_path / column / "demo").folder  # with a store of its own
        write_bases(folder)
        words = ("--set", "select.method=last", "--until", "evaluate", "--quiet")
        assert hiprobe("run", folder / f"{column}.toml", *words).code == 0
        alone = read_json(folder.parent / "results" / column / "metrics.json")
        assert alone == metrics(place, column, "variants", "family", row)


def test_the_table_lies_beside_the_results(
    place: Path, swept: dict[str, Any], tmp_path: Path, hiprobe: Hiprobe
) -> None:
    expected = [{k: v for k, v in found.items() if k != "built"} for found in swept["cells"]]
    for column in ("one", "two"):
        folder = place.parent / "results" / column / "variants" / "family"
        assert read_table(folder / "sweep.parquet", SWEEP).to_pylist() == expected
        with (folder / "sweep.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["row"] for row in rows] == [name for name in NAMES for _ in range(2)]
        assert [row["ours"] for row in rows] == [
            "" if found["ours"] is None else str(found["ours"]) for found in expected
        ]
    part = tmp_path / "part.csv"
    words = ("--row", "the*", "--row", "kap*", "--column", "two", "--out", part, "--quiet")
    assert hiprobe("sweep", place / "family.toml", *words).code == 0
    with part.open(newline="") as file:
        assert [(r["row"], r["column"]) for r in csv.DictReader(file)] == [
            ("kappa", "two"), ("theirs", "two"),
        ]  # fmt: skip
    # A part does not take the place of the whole table.
    whole = read_table(folder / "sweep.parquet", SWEEP)
    assert len(whole) == len(expected)


def test_the_table_as_a_person_reads_it(
    place: Path, swept: dict[str, Any], hiprobe: Hiprobe
) -> None:
    said = hiprobe("sweep", place / "family.toml", "--quiet").out
    lines = said.splitlines()
    assert lines[0] == "A synthetic ablation"
    one, two = cell(swept, "dlsp", "one"), cell(swept, "dlsp", "two")
    (line,) = [line for line in lines if line.startswith("dlsp")]
    assert line.split("|")[0].split() == [
        "dlsp", "86.72", f"{one['ours']:.2f}", f"{one['low']:.2f}", "to", f"{one['high']:.2f}",
        f"{one['ours'] - 86.72:+.2f}", "82.15", f"{two['ours']:.2f}", f"{two['low']:.2f}", "to",
        f"{two['high']:.2f}", f"{two['ours'] - 82.15:+.2f}",
    ]  # fmt: skip
    assert line.endswith("the chosen layer")
    (line,) = [line for line in lines if line.startswith("no-layer")]
    assert line.split() == ["no-layer", "|", "a", "layer", "that", "is", "not", "there"]
    assert "' one: ROC AUC, thresholded: thresholded" in lines
    assert any(line.startswith("EMPTY one, no-layer: ") for line in lines)
    assert "Random weights: no figure means anything." in lines


def test_a_base_that_cannot_run_here_leaves_its_column_empty(
    place: Path, swept: dict[str, Any], hiprobe: Hiprobe
) -> None:
    away = (place / "two.toml").read_text().replace("data/videos", "data/elsewhere")
    (place / "away.toml").write_text(away.replace('name = "two"', 'name = "away"'))
    text = (COLUMNS + ROWS).replace('"two.toml"', '"away.toml"')
    (place / "half.toml").write_text(text)
    done = hiprobe("sweep", place / "half.toml", "--row", "[dlf]*", "--quiet", "--json")
    assert done.code == 3
    value = done.value()
    assert cell(value, "dlsp", "one")["ours"] == cell(swept, "dlsp", "one")["ours"]
    for name in ("dlsp", "last"):
        assert cell(value, name, "two")["ours"] is None
        assert "elsewhere" in cell(value, name, "two")["problem"]
    borrowed = cell(value, "from-two", "one")
    assert borrowed["ours"] is None
    assert borrowed["problem"].startswith("no scorer of column two: ")
    said = hiprobe("sweep", place / "half.toml", "--row", "[dl]*", "--quiet").out
    assert "EMPTY two, every row: " in said
    assert not (place.parent / "results" / "away").exists()


def test_a_test_set_that_is_not_complete_is_told(
    demo: Demo, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    folder = copy_of(demo, tmp_path / "runs" / "demo").folder
    (folder / "data/videos/test/bad.mp4").write_bytes(b"this is no video\n" * 100)
    with (folder / "data" / "labels.csv").open("a") as labels:
        labels.write("test/bad.mp4,test,0,Normal,,\n")
    write_bases(folder)
    (folder / "family.toml").write_text(
        COLUMNS.split("[columns.two]")[0] + ROWS.split("published")[0]
    )
    done = hiprobe("sweep", folder / "family.toml", "--quiet")
    assert done.code == 3
    assert "NOT the whole test set: column one: 12 videos; 1 failed" in done.out
    assert "FAILED one, dlsp: decode of test/bad" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--row", "nothing*"), "no row matches"),
        (("--column", "three"), "the columns of family are one, two"),
        (("--out", "table.xlsx"), "must end in .parquet or .csv"),
        (("--set", "fit.sea=1"), "unknown field fit.sea"),
        (("--vary", "fit.c=1"), "--vary is for run configurations"),
    ],
)
def test_wrong_options_are_told_before_any_work(
    place: Path, words: tuple[str, ...], said: str, hiprobe: Hiprobe
) -> None:
    done = hiprobe("sweep", place / "family.toml", *words)
    assert done.code == 2
    assert said in done.out


# A run beside itself


def test_every_combination_of_values_is_run_beside_the_base(place: Path, hiprobe: Hiprobe) -> None:
    words = ("--vary", "localize.kappa=0.1,0.45", "--vary", "select.method=last", "--quiet")
    done = hiprobe("sweep", place / "one.toml", *words, "--json")
    assert done.code == 0
    rows = [row for row in done.value() if row["kind"] != "baseline"]
    assert [row["name"] for row in rows] == [
        "base",
        "kappa=0.1,method=last",
        "kappa=0.45,method=last",
    ]
    assert [json.loads(row["overrides"]) for row in rows[1:]] == [
        {"localize.kappa": kappa, "select.method": "last"} for kappa in (0.1, 0.45)
    ]
    folder = place.parent / "results" / "one" / "variants" / "vary"
    for row in rows[1:]:
        assert (
            row["auc_thresholded"]
            == read_json(folder / row["name"] / "metrics.json")["auc_thresholded"]
        )
    assert (folder / "variants.parquet").exists()
    assert not (place.parent / "results" / "one" / "variants.parquet").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give --vary"),
        (("--vary", "kappa"), "expected section.field=value,value"),
        (("--vary", "localize.kappa=1", "--vary", "localize.kappa=2"), "each field once"),
        (("--vary", "fit.scorer=svn"), "must be one of"),
        (("--vary", "fit.c=1", "--dry-run"), "neither"),
    ],
)
def test_what_cannot_be_varied_is_told(
    place: Path, words: tuple[str, ...], said: str, hiprobe: Hiprobe
) -> None:
    done = hiprobe("sweep", place / "one.toml", *words)
    assert done.code == 2
    assert said in done.out


def test_columns_of_what_was_published_are_there_where_something_was() -> None:
    columns = [Column(name, name, Path("base.toml"), "auc") for name in ("one", "two")]
    row = Row("last", "the last layer")
    family = Family("mine", "Mine", "", tuple(columns), (row,))
    cells = [
        Cell(row, columns[0], "auc", 90.0, ours=91.5),
        Cell(row, columns[1], "auc", None, 80.0),
    ]
    lines = sweep_text(family, cells).splitlines()
    assert lines[2].split() == [
        "row", "one", "published", "ours", "95", "%", "difference", "two", "ours", "95", "%", "|",
    ]  # fmt: skip
    assert lines[3].split()[:6] == ["last", "90.00", "91.50", "+1.50", "80.00", "|"]
    (unpublished,) = [
        line for line in sweep_text(family, cells[1:]).splitlines() if "95 %:" in line
    ]
    assert "published" not in unpublished
