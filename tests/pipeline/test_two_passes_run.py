"""Two passes on the demonstration: the same scores, less to compute and to keep."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache.arrays import States
from cache.digest import read_json
from manifests.schema import RUN_SCORES
from manifests.table import read_table
from tests.conftest import Called, Demo, call, copy_of

Hiprobe = Callable[..., Called]
TWO = ("--set", "forward.test_layers=selected")
PROBED, REST = 8, 12


def scores(folder: Path) -> dict[tuple[str, int], float]:
    rows = read_table(folder / "scores.parquet", RUN_SCORES).to_pylist()
    return {(row["video_id"], row["segment"]): row["score"] for row in rows}


def artifacts(folder: Path, stage: str) -> dict[str, int]:
    """The artifacts of a stage: when the record of each was written, by key."""
    records = (folder / "store" / stage).glob("*/*/commit.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in records}


def chosen(folder: Path) -> int:
    layer: int = read_json(folder / "scorer" / "scorer.json")["layer"]
    return layer


def made(called: Called) -> dict[str, int]:
    assert called.code == 0, called.out
    return {name: count for name, count in called.value()["built"].items() if count}


def until(hiprobe: Hiprobe, demo: Demo, stage: str, *words: object) -> dict[str, int]:
    """What a run up to a stage makes."""
    return made(hiprobe("run", demo.config, "--quiet", "--json", "--until", stage, *words))


@pytest.fixture(scope="module")
def turned(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A demonstration whose switch was turned after it was finished; nobody may change it."""
    folder = tmp_path_factory.mktemp("turned") / "runs" / "demo"
    copy = copy_of(demo, folder)
    before = artifacts(folder, "forward")
    built = until(call, copy, "localize", *TWO)
    assert built.pop("forward_selected") == built.pop("score") == REST
    assert set(built) <= {
        "threshold",
        "localize",
    }  # none where the scores are the same to the last bit
    assert artifacts(folder, "forward") == before
    return copy


@pytest.fixture
def two(turned: Demo, tmp_path: Path) -> Demo:
    """A copy of it that a test may change."""
    shutil.copytree(turned.folder, tmp_path / "runs" / "demo")
    return Demo(tmp_path / "runs" / "demo", turned.printed)


def test_scores_are_those_of_one_pass(demo: Demo, turned: Demo) -> None:
    expected, found = scores(demo.folder), scores(turned.folder)
    assert found.keys() == expected.keys()
    assert len({video for video, _ in found}) == PROBED + REST
    for segment, score in expected.items():
        assert found[segment] == pytest.approx(score, abs=1e-5)


def test_one_layer_is_kept_of_what_is_not_probed(turned: Demo) -> None:
    store, layer = turned.folder / "store", chosen(turned.folder)
    whole = {
        read_json(path / "commit.json")["inputs"]["source"]: path
        for path in (store / "forward").glob("*/*")
    }
    second = list((store / "forward_selected").glob("*/*"))
    assert len(second) == REST
    for path in second:
        first = whole[read_json(path / "commit.json")["inputs"]["source"]]
        kept, every = States.open(path / "states.zarr"), States.open(first / "states.zarr")
        assert kept.layers == (layer,)
        assert kept.segments == every.segments
        np.testing.assert_allclose(kept.layer(layer), every.layer(layer), rtol=0, atol=1e-5)
        # The index and the checksums of a shard are 20 bytes an array of one layer.
        assert shard_bytes(path) * len(every.layers) == pytest.approx(shard_bytes(first), rel=0.02)


def shard_bytes(artifact: Path) -> int:
    """Bytes of the hidden states themselves."""
    files = (artifact / "states.zarr" / "c").rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


def test_another_scorer_on_the_same_layer_leaves_the_second_pass(
    two: Demo, hiprobe: Hiprobe
) -> None:
    built = until(hiprobe, two, "score", *TWO, "--set", "fit.c=0.01")
    assert built == {"fit": 1, "score": PROBED + REST}
    method = f"select.method=fixed:{chosen(two.folder)}"
    assert until(hiprobe, two, "score", *TWO, "--set", method) == {"select": 1}


def test_another_layer_runs_the_second_pass_only(two: Demo, hiprobe: Hiprobe) -> None:
    layer = chosen(two.folder) % 3 + 1
    assert layer != chosen(two.folder)
    other = (*TWO, "--set", f"select.method=fixed:{layer}")
    built = until(hiprobe, two, "score", *other)
    assert built == {"select": 1, "fit": 1, "forward_selected": REST, "score": PROBED + REST}
    told = hiprobe("why", two.config, "forward_selected", "test/fight_02", *other)
    assert "is fresh" in told.out
    assert until(hiprobe, two, "score", *other) == {}


def test_a_scorer_of_one_mode_is_used_in_the_other(demo: Demo, two: Demo, hiprobe: Hiprobe) -> None:
    """The scorer brings its layer: then every video is in the second pass."""
    shutil.copytree(demo.folder / "scorer", two.folder / "given")
    outside = ("--set", f"run.scorer={two.folder / 'given'}", "--set", "run.name=outside")
    plan = hiprobe("plan", two.config, "--json", *TWO, *outside).value()["stages"]
    told = {stage["stage"]: stage for stage in plan}
    assert told["forward"]["off"]
    # The choice is the one of the run itself: what is there is found.
    assert (told["forward_selected"]["fresh"], told["forward_selected"]["todo"]) == (REST, PROBED)
    built = until(hiprobe, two, "localize", *TWO, *outside)
    assert built["forward_selected"] == PROBED
    found, expected = scores(two.folder.parent / "outside"), scores(demo.folder)
    assert found.keys() == expected.keys()
    assert max(abs(found[at] - expected[at]) for at in found) <= 1e-5


def test_the_second_pass_alone_asks_for_the_selection(own_demo: Demo, hiprobe: Hiprobe) -> None:
    fresh = (*TWO, "--set", "run.store=fresh", "--set", "run.name=fresh")
    called = hiprobe("run", own_demo.config, "--quiet", "--only", "forward_selected", *fresh)
    assert called.code == 2
    assert "hiprobe run --until" in called.out
    built = until(hiprobe, own_demo, "forward_selected", *fresh)
    assert built["forward"] == PROBED
    assert built["forward_selected"] == REST
    assert built["select"] == built["fit"] == 1
    assert "score" not in built


def test_the_report_tells_of_two_passes(two: Demo, hiprobe: Hiprobe) -> None:
    assert hiprobe("run", two.config, "--quiet", *TWO).code == 0
    assert "forward_selected" in (two.folder / "report.html").read_text()


def test_what_the_store_holds_already_is_told_before_the_second_pass(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    told = hiprobe("why", own_demo.config, "forward_selected", *TWO).out
    assert 'forward.test_layers = "all" uses them' in told
    assert "forward_selected is not part of this run" in hiprobe(
        "why", own_demo.config, "forward_selected"
    ).out  # fmt: skip
