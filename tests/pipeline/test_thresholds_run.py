"""The threshold in a whole run: what the results hold, and scorers of other runs."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from scipy.ndimage import gaussian_filter1d

from cache.digest import read_json, write_json
from manifests.schema import PROBING_SCORES, RUN_INTERVALS, SENSITIVITY
from manifests.table import read_table, write_table
from stages.probes.training import fitted_files
from tests.conftest import Called, Demo
from tests.training import as_written_before, copy_scorer

Hiprobe = Callable[..., Called]


def given(demo: Demo, folder: Path, *, held_out: bool) -> Path:
    """The scorer of a finished run as a colleague hands it on, with held-out scores or without."""
    copy_scorer(demo.folder / "scorer", folder)
    path = folder / "probing_scores.parquet"
    columns = read_table(path, PROBING_SCORES).to_pydict()
    scores = (
        [0.155 + 0.69 * label for label in columns["label"]]
        if held_out
        else [None] * len(columns["label"])
    )
    write_table(path, PROBING_SCORES, {**columns, "held_out": scores})
    write_json(
        folder / "scorer.json", {**read_json(folder / "scorer.json"), "files": fitted_files(folder)}
    )
    return folder


def sets(**values: Any) -> list[str]:
    return [
        word
        for name, value in values.items()
        for word in ("--set", f"{name.replace('__', '.')}={value}")
    ]


def test_the_results_hold_the_threshold_and_what_others_would_do(demo: Demo) -> None:
    record = read_json(demo.folder / "threshold" / "threshold.json")
    assert record == read_json(demo.folder / "metrics.json")["threshold"]
    table = read_table(demo.folder / "threshold" / "sensitivity.parquet", SENSITIVITY).to_pydict()
    at = table["kappa"].index(record["kappa"])
    assert table["threshold"][at] == record["threshold"]
    assert table["f1"][at] == record["training_rows"]["f1"]
    page = (demo.folder / "report.html").read_text()
    assert "F1, precision and recall of training frames over kappa" in page


def test_what_only_intervals_rest_on_leaves_the_threshold_as_it_is(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    longer = sets(localize__merge_s=2, localize__least_s=1.5)
    before = read_table(own_demo.folder / "intervals.parquet", RUN_INTERVALS).to_pylist()
    why = hiprobe("why", own_demo.config, "localize", *longer).out
    assert "localize.merge_s: 0.0 -> 2.0" in why
    assert "localize.least_s: 0.0 -> 1.5" in why
    done = hiprobe("run", own_demo.config, "--quiet", "--json", "--until", "evaluate", *longer)
    assert done.code == 0
    assert "threshold" not in {name for name, n in done.value()["built"].items() if n}
    found = read_table(own_demo.folder / "intervals.parquet", RUN_INTERVALS).to_pylist()
    assert len(found) < len(before)
    assert all(row["end_s"] - row["start_s"] >= 1.5 - 1e-6 for row in found)


def test_the_plan_names_the_rule_that_is_another_one(own_demo: Demo, hiprobe: Hiprobe) -> None:
    called = hiprobe("why", own_demo.config, "threshold", *sets(localize__threshold="f1"))
    assert 'localize.threshold: "kappa" -> "f1"' in called.out
    status = hiprobe("status", own_demo.config, "--json").value()
    stages = {row["stage"]: row for row in status["stages"]}
    assert stages["threshold"]["fresh"] == 1


def best_by_hand(folder: Path) -> set[float]:
    """Every hundredth of the highest F1 on the held-out scores of a scorer, frame by frame."""
    rows = read_table(folder / "probing_scores.parquet", PROBING_SCORES).to_pylist()
    frames: list[tuple[float, int]] = []
    for name in {row["video_id"] for row in rows}:
        of_video = [row for row in rows if row["video_id"] == name]
        curve = gaussian_filter1d([row["held_out"] for row in of_video], 0.4)
        for row, value in zip(of_video, curve, strict=True):
            frames += [(float(value), row["label"])] * (row["end_frame"] - row["start_frame"])
    f1 = {}
    for threshold in [n / 100 for n in range(1, 100)]:
        hits = [label for value, label in frames if value > threshold]
        f1[threshold] = Fraction(2 * sum(hits), len(hits) + sum(label for _, label in frames))
    return {threshold for threshold, value in f1.items() if value == max(f1.values())}


def test_f1_of_a_run_is_the_best_on_its_held_out_scores(own_demo: Demo, hiprobe: Hiprobe) -> None:
    words = ("--quiet", "--until", "evaluate", *sets(localize__threshold="f1"))
    assert hiprobe("run", own_demo.config, *words).code == 0
    record = read_json(own_demo.folder / "metrics.json")["threshold"]
    assert record["training_rows"]["scores"] == "held_out"
    best = best_by_hand(own_demo.folder / "scorer")
    assert record["threshold"] in best
    assert record["search"]["equally_good"] == len(best)
    shown = hiprobe("show", own_demo.config).out
    assert f"threshold: {record['threshold']:.4f}, the best F1 of held-out frames" in shown


def test_f1_without_folds_is_refused_with_what_to_do(own_demo: Demo, hiprobe: Hiprobe) -> None:
    words = ("--quiet", "--until", "threshold", *sets(localize__threshold="f1", fit__folds=0))
    done = hiprobe("run", own_demo.config, *words)
    assert done.code == 2
    assert "fit.folds = 2 or more" in done.out
    assert hiprobe("run", own_demo.config, *words, *sets(localize__threshold="kappa")).code == 0


@pytest.mark.parametrize("rule", ["kappa", "fixed:0.5", "f1"])
def test_the_scorer_of_another_run_works_with_every_rule(
    own_demo: Demo, hiprobe: Hiprobe, rule: str
) -> None:
    scorer = given(own_demo, own_demo.folder.parent / "given", held_out=True)
    words = sets(run__scorer=scorer, run__name="outside", localize__threshold=rule)
    done = hiprobe("run", own_demo.config, "--quiet", "--until", "evaluate", *words)
    assert done.code == 0
    record = read_json(own_demo.folder.parent / "outside" / "metrics.json")["threshold"]
    assert record["rule"] == rule
    assert record["training_rows"]["scores"] == "held_out"
    if rule == "f1":
        assert (record["threshold"], record["training_rows"]["f1"]) == (0.5, 1.0)


@pytest.mark.parametrize("before", [False, True])
def test_a_scorer_without_held_out_scores_works_with_every_rule_but_f1(
    own_demo: Demo, hiprobe: Hiprobe, before: bool
) -> None:
    scorer = given(own_demo, own_demo.folder.parent / "given", held_out=False)
    if before:
        as_written_before(scorer)
    outside = sets(run__scorer=scorer, run__name="outside")
    for rule in ("kappa", "fixed:0.5"):
        words = (*outside, *sets(localize__threshold=rule))
        done = hiprobe("run", own_demo.config, "--quiet", "--until", "evaluate", *words)
        assert done.code == 0
        record = read_json(own_demo.folder.parent / "outside" / "metrics.json")["threshold"]
        assert record["rule"] == rule
        assert (record["training_rows"] is None) == before
    words = (*outside, *sets(localize__threshold="f1"))
    done = hiprobe("run", own_demo.config, "--quiet", "--until", "evaluate", *words)
    assert done.code == 2
    assert "fit it again" in done.out if before else "fit.folds = 2 or more" in done.out
    assert 'or set localize.threshold = "kappa" or "fixed:T"' in done.out
