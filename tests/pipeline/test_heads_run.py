"""Attention heads in the place of a layer, through the whole pipeline."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.arrays import Heads
from cache.digest import read_json
from manifests.schema import HEAD_SELECTION, PROBING_SCORES, RUN_SCORES, STAGE_MANIFEST, VIDEOS
from manifests.table import read_table
from stages.probes.scorers import load_scorer
from tests.conftest import Called, Demo, call, copy_of

Hiprobe = Callable[..., Called]
PROMPTS = 'forward.prompts=["What happens?", "Is anything wrong?"]'
KEPT = ("--set", "forward.heads=all", "--set", PROMPTS, "--set", "forward.layers=[1, 2]")
RHI = (*KEPT, "--set", "select.method=rhi", "--set", "select.heads_top=3")
TWO = ("--set", "forward.test_layers=selected")
PROBED, REST = 8, 12


def made(called: Called) -> dict[str, int]:
    assert called.code == 0, called.out
    return {name: count for name, count in called.value()["built"].items() if count}


def until(demo: Demo, stage: str, *words: object) -> dict[str, int]:
    """What a run up to a stage makes."""
    return made(call("run", demo.config, "--quiet", "--json", "--until", stage, *words))


def scores(folder: Path) -> dict[tuple[str, int], float]:
    rows = read_table(folder / "scores.parquet", RUN_SCORES).to_pylist()
    return {(row["video_id"], row["segment"]): row["score"] for row in rows}


def table_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(folder / "heads.parquet", HEAD_SELECTION).to_pylist()
    return rows


def heads_of(folder: Path) -> list[list[int]]:
    heads: list[list[int]] = read_json(folder / "scorer" / "scorer.json")["heads"]
    return heads


def made_by(folder: Path, stage: str) -> dict[str, Path]:
    """The artifacts of a stage in the last run, by item: a store may hold those of others too."""
    table = read_table(folder / "manifests" / f"{stage}.parquet", STAGE_MANIFEST).to_pylist()
    store = folder / "store" / stage
    return {row["video_id"]: store / row["key"][:2] / row["key"] for row in table}


def probing_of(folder: Path) -> list[str]:
    rows = read_table(folder / "videos.parquet", VIDEOS).to_pylist()
    return sorted(row["video_id"] for row in rows if row["subset"] == "probing")


@pytest.fixture(scope="module")
def ran(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demonstration, run again with heads up to the evaluation; nobody may change it."""
    copy = copy_of(demo, tmp_path_factory.mktemp("heads") / "runs" / "demo")
    built = until(copy, "evaluate", *RHI)
    assert built == {
        "forward": 20, "heads": 1, "select": 1, "fit": 1, "score": 20, "threshold": 1, "localize": 20, "evaluate": 1
    }  # fmt: skip
    return copy


@pytest.fixture
def own(ran: Demo, tmp_path: Path) -> Demo:
    """A copy of it that a test may change."""
    shutil.copytree(ran.folder, tmp_path / "runs" / "demo")
    return Demo(tmp_path / "runs" / "demo", ran.printed)


def test_the_chosen_heads_are_those_of_the_highest_rss(ran: Demo) -> None:
    table = table_of(ran.folder)
    rss = {(row["layer"], row["head"]): row["rss"] for row in table}
    assert {row["prompt"] for row in table} == {0, 1}
    assert len(table) == 2 * len(rss)
    best = sorted(sorted(rss, key=lambda pair: (-rss[pair], pair))[:3])
    assert heads_of(ran.folder) == [list(pair) for pair in best]
    chosen = {(row["layer"], row["head"]) for row in table if row["chosen"]}
    assert chosen == set(best)
    assert not (ran.folder / "layers.parquet").exists()
    assert (ran.folder / "outdated" / "layers.parquet").exists()


def test_the_table_rests_on_the_probing_videos_alone(ran: Demo) -> None:
    probing, kept = probing_of(ran.folder), made_by(ran.folder, "forward")
    assert len(probing) == PROBED
    segments = sum(Heads.open(kept[video] / "heads.zarr").segments for video in probing)
    row = table_of(ran.folder)[0]
    assert row["n_normal"] + row["n_anomalous"] == segments
    (compared,) = made_by(ran.folder, "heads").values()
    members = read_json(compared / "commit.json")["members"]
    assert {role: sorted(videos) for role, videos in members.items()} == {
        "states": probing, "plan": probing,
    }  # fmt: skip
    (fitted,) = made_by(ran.folder, "fit").values()
    scored = read_table(fitted / "probing_scores.parquet", PROBING_SCORES)["video_id"]
    assert sorted(set(scored.to_pylist())) == probing
    assert len(scored) == segments


def test_a_score_is_that_of_the_heads_side_by_side(ran: Demo) -> None:
    scorer, found = load_scorer(ran.folder / "scorer"), scores(ran.folder)
    kept = made_by(ran.folder, "forward")
    assert len(kept) == PROBED + REST
    for video, path in kept.items():
        heads = Heads.open(path / "heads.zarr")
        rows = [heads.head(layer, head, 0) for layer, head in heads_of(ran.folder)]
        expected = scorer.score(np.concatenate(rows, axis=1))
        mine = [found[video, segment] for segment in range(len(expected))]
        np.testing.assert_array_equal(mine, expected)


def test_the_report_and_the_commands_know_of_heads(own: Demo, hiprobe: Hiprobe) -> None:
    assert made(hiprobe("run", own.config, "--quiet", "--json", *RHI))["report"] == 1
    page = (own.folder / "report.html").read_text()
    assert "<code>rhi</code> chose <strong>3 of 24 heads</strong>" in page
    assert "RSS by layer and head" in page
    assert "nothing to do" in hiprobe("plan", own.config, *RHI).out
    status = hiprobe("status", own.config, "--json", *RHI).value()["stages"]
    state = {stage["stage"]: stage for stage in status}
    assert state["heads"]["fresh"] == 1
    assert "chooses heads" in state["moments"]["off"]
    assert "chooses heads" in state["statistics"]["off"]
    assert hiprobe("show", own.folder / "config.toml").code == 0


def test_another_method_reads_the_same_table(own: Demo) -> None:
    method = (*RHI, "--set", "select.method=separability")
    built = until(own, "fit", *method)
    assert set(built) <= {"select", "fit"}
    assert built["select"] == 1
    table = table_of(own.folder)
    assert [r["score"] for r in table if r["prompt"] == 0] == [
        r["separability"] for r in table if r["prompt"] == 0
    ]
    # And back to a layer: its table comes back, that of the heads goes.
    until(own, "select", *KEPT, "--set", "select.method=last")
    assert (own.folder / "layers.parquet").exists()
    assert not (own.folder / "heads.parquet").exists()


def test_a_second_pass_keeps_the_chosen_heads_only(own: Demo) -> None:
    before, whole = scores(own.folder), made_by(own.folder, "forward")
    built = until(own, "localize", *RHI, *TWO)
    assert built["forward_selected"] == built["score"] == REST
    assert not set(built) & {"forward", "heads", "select", "fit"}
    found = scores(own.folder)
    assert found.keys() == before.keys()
    assert max(abs(found[at] - before[at]) for at in found) <= 1e-4
    kept = made_by(own.folder, "forward_selected")
    assert len(kept) == REST
    for video, path in kept.items():
        some = Heads.open(path / "heads.zarr")
        every = Heads.open(whole[video] / "heads.zarr")
        assert [list(pair) for pair in some.heads] == heads_of(own.folder)
        assert not (path / "states.zarr").exists()
        for pair in some.heads:
            np.testing.assert_allclose(some.head(*pair), every.head(*pair, 0), rtol=0, atol=1e-5)


def test_a_scorer_of_heads_is_used_in_another_run(own: Demo) -> None:
    expected = scores(own.folder)
    shutil.copytree(own.folder / "scorer", own.folder / "given")
    outside = ("--set", f"run.scorer={own.folder / 'given'}", "--set", "run.name=outside")
    prompt = ("--set", 'forward.prompts=["What happens?"]')
    built = until(own, "localize", *outside, *prompt, *TWO)
    assert built["forward_selected"] == PROBED + REST
    assert not set(built) & {"forward", "heads", "select", "fit"}
    found = scores(own.folder.parent / "outside")
    assert found.keys() == expected.keys()
    assert max(abs(found[at] - expected[at]) for at in found) <= 1e-4


def test_a_scorer_whose_heads_are_not_kept_says_what_to_set(own: Demo, hiprobe: Hiprobe) -> None:
    shutil.copytree(own.folder / "scorer", own.folder / "given")
    prompt = ("--set", 'forward.prompts=["What happens?"]', "--set", "forward.heads=none")
    outside = ("--set", f"run.scorer={own.folder / 'given'}", "--set", "run.name=outside")
    called = hiprobe("run", own.config, "--quiet", "--limit", 1, *outside, *prompt)
    assert called.code != 0
    assert "attention heads are needed and none are kept; set forward.heads" in called.out


def test_without_heads_the_method_is_refused_before_any_work(demo: Demo, hiprobe: Hiprobe) -> None:
    none = ("--set", "forward.heads=none")
    called = hiprobe("plan", demo.config, "--set", "select.method=rhi", *none)
    assert called.code == 2
    assert "no attention heads are kept; set forward.heads" in called.out
