"""The demonstration as a person runs it: its figures mean something, and fall where a stage breaks.

Bounds say what the demonstration must reach. RECORDED says what it does reach, up to the rounding of
another processor: a stage that goes wrong a little (pictures of other frames, states of another
position, scores or intervals one segment off) moves these.
"""

from __future__ import annotations

import csv
import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.digest import read_json
from demo.breakdown import breakdown
from demo.language import event_of
from manifests.schema import ANNOTATIONS, RUN_EXPLANATIONS, RUN_INTERVALS, SELECTION, VIDEOS
from manifests.table import read_table
from pipeline.comparison import comparison_text, read_comparison
from pipeline.demonstration import acts_seen, demo_variants
from tests.conftest import Called, Demo
from tests.test_tutorial import REST, bash

Hiprobe = Callable[..., Called]

pytestmark = pytest.mark.timeout(900)
"""The first of these tests waits for the whole demonstration."""

RECORDED = {"auc": 0.9332, "ap": 0.8443, "macro_within_video_auc": 0.9541}
RECORDED_F1 = {"0.3": 0.7222, "0.5": 0.6667}
RECORDED_LAYERS = (-3.171, -0.415, -3.525, -1.414, 0.122, 1.743, 3.050, 3.610)
"""Score of the selection, from layer 1 on."""
RECORDED_KL = (1.835, 2.011, 1.659, 2.000, 2.220, 2.573, 2.863, 3.009)


@pytest.fixture(scope="module")
def metrics(demonstration: Demo) -> Any:
    return read_json(demonstration.folder / "metrics.json")


def test_it_has_forty_real_videos_half_of_them_with_an_anomaly(demonstration: Demo) -> None:
    videos = read_table(demonstration.folder / "videos.parquet", VIDEOS).to_pylist()
    assert [sum(v["split"] == split for v in videos) for split in ("train", "test")] == [8, 32]
    assert sum(v["label"] for v in videos) == 20
    assert all(10 <= v["duration"] <= 60 and round(v["fps"], 6) in (25, 30) for v in videos)


def test_it_says_what_its_figures_are_worth(demonstration: Demo) -> None:
    for text in (demonstration.printed, (demonstration.folder / "report.html").read_text()):
        assert "synthetic" in text
        assert "real cameras" in text
    assert "labels or length alone, without a pixel:" in demonstration.printed
    assert "against look-alikes" in demonstration.printed


def test_frames_are_told_apart_and_not_perfectly(metrics: Any) -> None:
    assert 0.85 <= metrics["auc"] <= 0.99
    assert metrics["macro_within_video_auc"] >= 0.85


def test_the_figures_are_the_recorded_ones(demonstration: Demo, metrics: Any) -> None:
    assert {name: metrics[name] for name in RECORDED} == pytest.approx(RECORDED, abs=0.004)
    found = {tiou: metrics["events"][tiou]["f1"] for tiou in RECORDED_F1}
    assert found == pytest.approx(RECORDED_F1, abs=0.04)  # one interval more or less
    layers = read_table(demonstration.folder / "layers.parquet", SELECTION).to_pylist()[1:]
    assert [row["kl"] for row in layers] == pytest.approx(RECORDED_KL, rel=0.01)
    assert [row["score"] for row in layers] == pytest.approx(RECORDED_LAYERS, abs=0.1)
    intervals = read_table(demonstration.folder / "intervals.parquet", RUN_INTERVALS).to_pylist()
    truth = read_table(
        next((demonstration.folder / "store" / "index").glob("*/*")) / "annotations.parquet",
        ANNOTATIONS,
    ).to_pylist()
    # Of the intervals that lie over an event, the borders are those of segments around it.
    off = [
        (one["start_frame"] - event["start_frame"], one["end_frame"] - event["end_frame"])
        for event in truth
        for one in intervals
        if one["video_id"] == event["video_id"]
        and one["start_frame"] < event["end_frame"]
        and event["start_frame"] < one["end_frame"]
    ]
    assert np.abs(np.median(off, axis=0)).max() <= 12


def test_it_is_better_than_labels_alone_without_a_pixel(metrics: Any) -> None:
    assert metrics["ap"] > max(b["ap"] for b in metrics["baselines"].values())


def test_intervals_lie_where_the_events_are(metrics: Any) -> None:
    assert metrics["events"]["0.3"]["f1"] > 0.5


def test_explanations_name_the_events_that_they_explain(demonstration: Demo) -> None:
    """Of the test intervals that lie mostly in one anomalous act."""
    with (demonstration.folder / "data" / "acts.csv").open(encoding="utf-8") as file:
        acts = [row for row in csv.DictReader(file) if row["split"] == "test"]
    videos = read_table(demonstration.folder / "videos.parquet", VIDEOS).to_pylist()
    paths = {video["video_id"]: video["path"] for video in videos}
    right = []
    for row in read_table(
        demonstration.folder / "explanations.parquet", RUN_EXPLANATIONS
    ).to_pylist():
        middle = (row["start_frame"] + row["end_frame"]) / 2
        for act in acts:
            inside = int(act["start_frame"]) <= middle < int(act["end_frame"])
            if act["video"] == paths[row["video_id"]] and inside and act["group"] == "anomalous":
                right.append(event_of(row["text"]) == act["kind"])
    assert len(right) >= 10
    assert sum(right) / len(right) > 0.6


def test_look_alikes_are_harder_than_ordinary_acts(demonstration: Demo) -> None:
    found = breakdown(acts_seen(demonstration.folder, demonstration.folder / "data" / "acts.csv"))
    assert not any(math.isnan(value) for value in found.values())
    assert found["against ordinary acts"] > 0.85
    assert found["against look-alikes"] > 0.8


def test_the_method_chose_the_layer_of_the_highest_score(demonstration: Demo) -> None:
    layers = read_table(demonstration.folder / "layers.parquet", SELECTION).to_pylist()
    assert [row["layer"] for row in layers] == list(range(9))
    scored = [row for row in layers if row["score"] is not None]
    (chosen,) = (row for row in layers if row["chosen"])
    assert chosen["score"] == max(row["score"] for row in scored)


def test_made_again_it_is_the_same_bit_for_bit(
    demonstration: Demo, hiprobe: Hiprobe, tmp_path: Path
) -> None:
    """The backbone over two videos, and everything that follows from the hidden states of all."""
    copy = tmp_path / "demo"
    again = ("fit", "score", "select", "statistics", "moments", "localize", "evaluate")
    shutil.copytree(
        demonstration.folder, copy, ignore=shutil.ignore_patterns("variants*", "explain", *again)
    )
    first = digests(demonstration.folder / "store")
    words = ("--quiet", "--json", "--until")
    done = hiprobe(
        "run", copy / "run.toml", *words, "forward", "--limit", 2, "--set", "run.store=new"
    )
    assert done.value()["built"]["forward"] == 2
    assert digests(copy / "new").items() <= first.items()
    done = hiprobe("run", copy / "run.toml", *words, "evaluate")
    assert {name for name, count in done.value()["built"].items() if count} == set(again)
    assert digests(copy / "store").items() <= first.items()


def digests(store: Path) -> dict[str, str]:
    """Content digest of every artifact by its key."""
    return {p.parent.name: read_json(p)["digest"] for p in store.glob("*/*/*/commit.json")}


def test_it_prints_and_keeps_the_comparison(demonstration: Demo) -> None:
    rows = read_comparison(demonstration.folder)
    layers = max(row.layer for row in rows if row.name == "last" and row.layer is not None)
    variants = demo_variants(layers)
    assert [row.name for row in rows if row.kind != "baseline"] == [v.name for v in variants]
    assert not [row.problem for row in rows if row.problem]
    assert comparison_text(rows) in demonstration.printed
    by_name = {row.name: row for row in rows}
    assert by_name[f"fixed-{layers // 2}"].layer == layers // 2
    base = by_name["dlsp"]
    for value in (0.25, 0.5, 0.75):
        fixed = by_name[f"threshold-{value}"]
        assert (fixed.auc, fixed.ap, fixed.layer) == (base.auc, base.ap, base.layer)
    folder = demonstration.folder / "variants"
    for name in ("svm", "distance", "mahalanobis"):
        assert by_name[name].layer == base.layer
        assert read_json(folder / name / "scorer/scorer.json")["kind"] == name
    scorer = read_json(folder / "heads" / "scorer/scorer.json")
    heads = by_name["heads"]
    assert [[int(n) for n in pair.split(".")] for pair in heads.heads.split()] == scorer["heads"]
    assert (len(scorer["heads"]), heads.layer) == (5, None)


@pytest.mark.slow
def test_all_the_rest_of_the_tutorial_runs(demonstration: Demo, tmp_path: Path) -> None:
    shutil.copytree(
        demonstration.folder, tmp_path / "runs" / "demo", ignore=shutil.ignore_patterns("store")
    )
    told = bash("".join(REST), tmp_path, str(Path(sys.executable).parent))
    own = tmp_path / "runs" / "run"
    assert (own / "report.html").is_file()
    assert read_json(own / "metrics.json")["auc"] > 0.8
    # With another scorer nothing before it ran, and on the way back nothing at all.
    made = re.findall(r"^made in [\d: .]+(?:s: )?(.*)|^(nothing to do)", told, re.MULTILINE)
    first, whole, checked, scorer, back, colleague, other = ["".join(found) for found in made]
    assert "forward 2" in first
    assert "forward 38" in whole
    assert re.match(
        r"fit 1, score 40, threshold 1, localize 40, evaluate 1, explain \d+, report 1$", scorer
    )
    assert checked == back == "nothing to do"
    assert re.match(r"fit 1, score 40, threshold 1, localize 40, evaluate 1, report 1$", colleague)
    assert "blocked" in told
    assert other == "index 1, score 3, threshold 1"  # equal scores give the curves that are there
    assert (tmp_path / "runs" / "other" / "scores.parquet").is_file()
