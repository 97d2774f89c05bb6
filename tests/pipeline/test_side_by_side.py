"""`hiprobe compare`: figures side by side, and when their difference gets a p-value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.schema import REPLICATES
from manifests.table import write_table
from stages.probes.evaluation import evaluation_of
from stages.probes.paired import paired_p_value
from stages.probes.spans import Floats
from tests.conftest import Called, Demo
from tests.stages.probes.test_paired import RUNS, VIDEOS, evaluated, labels_of

Hiprobe = Callable[..., Called]
CENTRE = np.asarray([labels_of(video) for video in range(VIDEOS)])[:, 3::6]


def write_run(folder: Path, noise: int, lift: float, **changes: Any) -> dict[str, Floats]:
    """The results of a run whose scores are noise and `lift` where the anomaly is."""
    folder.mkdir(parents=True)
    scores = np.random.default_rng(noise).random((VIDEOS, RUNS)) + lift * CENTRE
    videos = [evaluated(video, row) for video, row in enumerate(scores)]
    settings = {"bootstrap": 99, "seed": 0, **changes}
    found = evaluation_of(videos, tiou=(0.5,), **settings)
    metrics = {
        **found.metrics,
        "labels": "exact",
        "missing": {"count": 0, "videos": []},
        "absent": {},
        "threshold": {"threshold": 0.123},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    columns = found.replicate_columns()
    write_table(folder / "replicates.parquet", REPLICATES, columns)
    return found.replicates


def change(folder: Path, **values: Any) -> None:
    """Change what metrics.json says."""
    path = folder / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def figure(value: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [row for row in value["figures"] if row["name"] == name]
    return dict(found)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs on the same videos."""
    return tmp_path / "first", tmp_path / "second"


def test_figures_differences_and_p_values(runs: tuple[Path, Path], hiprobe: Hiprobe) -> None:
    first, second = runs
    one, two = write_run(first, 0, 0.2), write_run(second, 1, 0.6)
    value = hiprobe("compare", first, second, "--json").value()
    metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
    assert [run["name"] for run in value["runs"]] == ["first", "second"]
    for name in ("auc", "ap", "macro_within_video_auc"):
        found = figure(value, name)
        assert found["values"] == [m[name] for m in metrics]
        assert found["differences"] == [pytest.approx(metrics[1][name] - metrics[0][name])]
        assert found["p"] == [pytest.approx(paired_p_value(one[name], two[name]))]
    assert figure(value, "ap_trapezoid")["p"] == [None]
    nested = figure(value, "anomalous_only.auc")["values"]
    assert nested == [m["anomalous_only"]["auc"] for m in metrics]
    names = [row["name"] for row in value["figures"]]
    assert names[:2] == ["auc", "ap"]
    beside = ("baselines", "bootstrap", "counts", "threshold")
    assert not [name for name in names if name.startswith(beside)]
    assert value["unpaired"] == {}
    assert value["replicates"] == 99


def test_the_table_as_a_person_reads_it(runs: tuple[Path, Path], hiprobe: Hiprobe) -> None:
    first, second = runs
    write_run(first, 0, 0.2)
    write_run(second, 1, 0.6)
    value = hiprobe("compare", first, second, "--json").value()
    lines = hiprobe("compare", first, second).out.splitlines()
    assert lines[0].split() == ["first", "second", "difference", "p"]
    found = figure(value, "auc")
    one, two = found["values"]
    assert lines[1].split() == [
        "auc", f"{100 * one:.2f}", f"{100 * two:.2f}", f"{100 * (two - one):+.2f}",
        f"{found['p'][0]:.3g}",
    ]  # fmt: skip
    assert not [line for line in lines if line.startswith("per_class")]
    assert "99 replicates: no less than 0.02" in "\n".join(lines)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "another seed (evaluate.seed): 0 and 1"),
        ({"bootstrap": 50}, "another number of replicates (evaluate.bootstrap): 99 and 50"),
    ],
)
def test_other_draws_are_not_paired(
    runs: tuple[Path, Path], changes: dict[str, int], said: str, hiprobe: Hiprobe
) -> None:
    write_run(runs[0], 0, 0.2)
    write_run(runs[1], 1, 0.6, **changes)
    value = hiprobe("compare", *runs, "--json").value()
    assert value["unpaired"] == {"second": said}
    assert all(row["p"] == [None] for row in value["figures"])
    assert figure(value, "auc")["differences"] != [None]
    assert f"no p of second: {said}" in hiprobe("compare", *runs).out


def test_other_videos_or_labels_are_not_paired(runs: tuple[Path, Path], hiprobe: Hiprobe) -> None:
    write_run(runs[0], 0, 0.2)
    write_run(runs[1], 1, 0.6)
    bootstrap = json.loads((runs[1] / "metrics.json").read_text())["bootstrap"]
    change(runs[1], bootstrap={**bootstrap, "sample": "0" * 64})
    assert "no p of second: other test videos" in hiprobe("compare", *runs).out
    change(runs[1], labels="inclusive")
    assert "another view of the labels: exact and inclusive" in hiprobe("compare", *runs).out


def test_without_replicates_there_is_no_p(runs: tuple[Path, Path], hiprobe: Hiprobe) -> None:
    write_run(runs[0], 0, 0.2, bootstrap=0)
    write_run(runs[1], 1, 0.6, bootstrap=0)
    said = hiprobe("compare", *runs).out
    assert "no p of second: no replicates were asked for" in said
    assert "no less than" not in said


def test_runs_without_their_replicates_are_told(runs: tuple[Path, Path], hiprobe: Hiprobe) -> None:
    write_run(runs[0], 0, 0.2)
    write_run(runs[1], 1, 0.6)
    (runs[1] / "replicates.parquet").unlink()
    assert "no p of second: second has no replicates.parquet" in hiprobe("compare", *runs).out


def test_a_test_set_that_is_not_complete_is_told(runs: tuple[Path, Path], hiprobe: Hiprobe) -> None:
    write_run(runs[0], 0, 0.2)
    write_run(runs[1], 1, 0.6)
    change(
        runs[1],
        missing={"count": 2, "videos": ["a", "b"]},
        absent={
            "test": {"count": 3, "videos": ["c", "d", "e"]},
            "train": {"count": 7, "videos": []},
        },
    )
    said = hiprobe("compare", *runs).out
    assert "NOT the whole test set: second: 14 videos; 2 failed, 3 that the lists name" in said
    assert "NOT the whole test set: first" not in said


def test_runs_of_one_name_are_called_by_their_paths(tmp_path: Path, hiprobe: Hiprobe) -> None:
    paths = [tmp_path / side / "run" for side in ("a", "b")]
    for number, path in enumerate(paths):
        write_run(path, number, 0.4)
    value = hiprobe("compare", *paths, "--json").value()
    assert [run["name"] for run in value["runs"]] == [str(path) for path in paths]


def test_a_configuration_file_stands_for_its_results(own_demo: Demo, hiprobe: Hiprobe) -> None:
    value = hiprobe("compare", own_demo.config, own_demo.folder, "--json").value()
    assert [run["videos"] for run in value["runs"]] == [12, 12]
    found = figure(value, "auc")
    assert found["values"][0] == found["values"][1]
    assert (found["differences"], found["p"]) == ([0.0], [1.0])


@pytest.mark.parametrize(
    ("words", "said"), [(("first",), "two runs or more"), (("first", "empty"), "no metrics.json")]
)
def test_what_cannot_be_compared_is_told(
    tmp_path: Path, words: tuple[str, ...], said: str, hiprobe: Hiprobe
) -> None:
    write_run(tmp_path / "first", 0, 0.2)
    (tmp_path / "empty").mkdir()
    done = hiprobe("compare", *(tmp_path / word for word in words))
    assert done.code == 2
    assert said in done.out


def test_what_is_no_share_is_not_shown_as_one(runs: tuple[Path, Path], hiprobe: Hiprobe) -> None:
    for run, ece in zip(runs, (0.125, 0.25), strict=True):
        write_run(run, 0, 0.2)
        change(run, calibration={"ece": ece}, false_alarms_per_hour=10 * ece)
    lines = {
        line.split()[0]: line.split()[1:]
        for line in hiprobe("compare", *runs).out.splitlines()
        if line
    }
    assert lines["calibration.ece"] == ["0.1250", "0.2500", "+0.1250"]
    assert lines["false_alarms_per_hour"] == ["1.2", "2.5", "+1.2"]
