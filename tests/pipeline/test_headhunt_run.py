"""HeadHunt-VAD and SteerVAD as the shipped configurations have them, over a small run."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from cache.digest import read_json
from manifests.schema import HEAD_SELECTION, RUN_SCORES
from manifests.table import read_table
from pipeline.experiments import load_family
from pipeline.toml import literal
from tests.conftest import Called, Demo, call, copy_of

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SECTIONS = ("sample", "forward", "heads", "select", "fit", "localize")
"""What the method is made of; the rest says which videos and which model."""
# The small run's videos are some seconds long: each segment is a sample, and its labels are those of
# frames, which the threshold of the highest F1 is meant for.
SMALL = {"data.probing_labels": "frame", "sample.unit": "segment"}


def shipped() -> dict[str, Any]:
    """The fields of HeadHunt-VAD's base, by their full names."""
    given = tomllib.loads((EXPERIMENTS / "headhunt_ucf_crime.toml").read_text(encoding="utf-8"))
    found = {f"{s}.{name}": value for s in SECTIONS for name, value in given[s].items()}
    return {**found, **SMALL}


def words(fields: dict[str, Any]) -> list[str]:
    return [
        word for name, value in fields.items() for word in ("--set", f"{name}={literal(value)}")
    ]


def row_of(family: str, name: str) -> dict[str, Any]:
    """What a row of a shipped family changes."""
    rows = load_family(EXPERIMENTS / f"{family}.toml").rows
    (row,) = (row for row in rows if row.name == name)
    return dict(row.overrides)


@pytest.fixture(scope="module")
def headhunt(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The small run again with HeadHunt-VAD's settings, to its report; nobody may change it."""
    copy = copy_of(demo, tmp_path_factory.mktemp("headhunt") / "runs" / "demo")
    called = call("run", copy.config, "--quiet", "--json", *words(shipped()))
    assert called.code == 0, called.out
    return copy


def scores_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in read_table(folder / "scores.parquet", RUN_SCORES).to_pylist():
        found.setdefault(row["video_id"], []).append(row)
    return found


def test_segments_are_those_of_the_paper(headhunt: Demo) -> None:
    for rows in scores_of(headhunt.folder).values():
        lengths = [row["end_frame"] - row["start_frame"] for row in rows]
        assert set(lengths[:-1]) <= {48}
        assert 0 < lengths[-1] <= 48


def test_five_heads_are_chosen_by_rss_over_the_five_prompts(headhunt: Demo) -> None:
    table = read_table(headhunt.folder / "heads.parquet", HEAD_SELECTION).to_pylist()
    assert {row["prompt"] for row in table} == set(range(5))
    saliency: dict[tuple[int, int], list[float]] = {}
    for row in table:
        saliency.setdefault((row["layer"], row["head"]), []).append(row["saliency"])
    rss = {pair: np.mean(s) - 0.5 * np.std(s) for pair, s in saliency.items()}
    best = sorted(sorted(rss, key=lambda pair: -rss[pair])[:5])
    assert sorted({(r["layer"], r["head"]) for r in table if r["chosen"]}) == best
    scorer = read_json(headhunt.folder / "scorer" / "scorer.json")
    assert scorer["heads"] == [list(pair) for pair in best]
    assert scorer["kind"] == "logistic"


def test_curves_are_smoothed_by_one_and_a_half_segments(headhunt: Demo) -> None:
    for rows in scores_of(headhunt.folder).values():
        raw, smoothed = (np.asarray([row[n] for row in rows]) for n in ("score", "smoothed"))
        np.testing.assert_allclose(smoothed, gaussian_filter1d(raw, 1.5), rtol=1e-9)


def test_the_threshold_is_the_one_of_the_highest_f1_and_the_figures_stand(headhunt: Demo) -> None:
    metrics = read_json(headhunt.folder / "metrics.json")
    assert metrics["threshold"]["rule"] == "f1"
    assert 0 < metrics["threshold"]["threshold"] < 1
    assert 0 <= metrics["auc"] <= 1
    page = (headhunt.folder / "report.html").read_text(encoding="utf-8")
    assert "<code>rhi</code> chose <strong>5 of 24 heads</strong>" in page


@pytest.mark.parametrize(
    ("family", "name", "built"),
    [
        ("headhunt", "random", "select"),
        ("headhunt", "lambda-0", "select"),
        ("headhunt", "nmi", "select"),
        ("headhunt", "mlp", "fit"),
        ("headhunt", "no-smoothing", "threshold"),
        ("steervad", "steer", "fit"),
        ("steervad", "static", "fit"),
        ("steervad", "linear", "select"),
    ],
)
def test_a_row_of_the_paper_s_ablations_needs_no_other_features(
    headhunt: Demo,
    tmp_path: Path,
    hiprobe: Callable[..., Called],
    family: str,
    name: str,
    built: str,
) -> None:
    own = copy_of(headhunt, tmp_path / "runs" / "demo")
    fields = {**shipped(), **row_of(family, name), "fit.steer_epochs": 20}
    called = hiprobe("run", own.config, "--quiet", "--json", "--until", "localize", *words(fields))
    assert called.code == 0, called.out
    made = {stage for stage, count in called.value()["built"].items() if count}
    assert built in made
    assert not made & {"decode", "sample", "forward", "heads"}
