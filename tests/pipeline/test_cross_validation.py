"""A layer chosen by cross-validated probes, from the command line to the report."""

from __future__ import annotations

import re

from cache.digest import read_json
from manifests.schema import PROJECTIONS, SELECTION
from manifests.table import read_table
from tests.conftest import Demo
from tests.pipeline.test_choice import Hiprobe, chosen, layers_of, run

CV = ("--set", "select.method=cv")


def test_probes_are_cross_validated_where_it_is_asked_for_and_nowhere_else(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    before = chosen(own_demo)
    assert not (own_demo.folder / "store" / "crossvalidate").exists()
    assert layers_of(own_demo)["cv"] == [None] * len(layers_of(own_demo)["layer"])
    planned = hiprobe("plan", own_demo.config, *CV)
    assert "crossvalidate" in planned.out
    built = run(hiprobe, own_demo, *CV, "--set", "crossvalidate.replicates=40")
    same = chosen(own_demo) == before
    following = set() if same else {
        "fit", "score", "threshold", "localize", "evaluate", "explain", "projection"
    }  # fmt: skip
    assert set(built) == {"crossvalidate", "select", "report", *following}
    assert built["crossvalidate"] == built["select"] == 1
    table = layers_of(own_demo)
    able = [value for layer, value in zip(table["layer"], table["cv"], strict=True) if layer]
    assert table["cv"][table["layer"].index(chosen(own_demo))] == max(able)
    assert table["score"][1:] == table["cv"][1:]
    stability = read_json(own_demo.folder / "selection.json")["stability"]
    assert stability["replicates"] == 40
    page = (own_demo.folder / "report.html").read_text()
    assert "AUC of cross-validated probes" in page
    assert f"<code>cv</code> chooses layer {chosen(own_demo)} in" in page
    shown = hiprobe("show", own_demo.config)
    assert f"chosen by cv: layer {chosen(own_demo)}, as in " in shown.out
    # Another number of folds is another choice, and nothing before it.
    again = run(
        hiprobe, own_demo, *CV, "--set", "crossvalidate.folds=2", "--until", "select",
        "--set", "crossvalidate.replicates=40",
    )  # fmt: skip
    assert again == {"crossvalidate": 1, "select": 1}
    # And back to the default: everything is in the store.
    assert run(hiprobe, own_demo) == {}
    status = hiprobe("status", own_demo.config).out
    assert re.search(r"crossvalidate( +0){6} +0 B +off", status)


def test_too_few_videos_of_a_class_stop_the_run_with_what_to_do(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    few = 'data.probing_videos=["train/fight_01", "train/street_01", "train/street_02"]'
    done = hiprobe("run", own_demo.config, "--quiet", *CV, "--set", few)
    assert done.code != 0
    assert "2 normal and 1 anomalous videos, cross-validation needs 2 of each" in done.out


def test_a_run_says_where_the_choice_is_not_stable(own_demo: Demo, hiprobe: Hiprobe) -> None:
    done = hiprobe("run", own_demo.config, "--set", "select.method=entropy", "--until", "select")
    assert done.code == 0
    found = own_demo.folder / "layers.parquet"
    table = read_table(found, SELECTION).to_pydict()
    wins = table["wins"][table["chosen"].index(True)]
    told = "replicates that draw the probing videos again: with other probing" in done.out
    assert told == (wins < 0.5)


def test_pictures_are_not_made_before_the_report_is(own_demo: Demo, hiprobe: Hiprobe) -> None:
    words = ("--set", "projection.samples=30")
    assert "projection" not in run(hiprobe, own_demo, *words, "--until", "evaluate")
    assert run(hiprobe, own_demo, *words) == {"projection": 1, "report": 1}
    assert "Probing rows in the plane" in (own_demo.folder / "report.html").read_text()
    points = read_table(own_demo.folder / "projections.parquet", PROJECTIONS)
    assert set(points["method"].to_pylist()) == {"pca", "tsne"}
