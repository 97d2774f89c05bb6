"""A bit that flips: a full verify finds it, no reader believes it, and just that item is redone."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.catalog import load_catalog
from cache.digest import read_json
from cache.store import Store
from manifests.datasets.sources import DigestMemory
from manifests.schema import RUN_SCORES
from manifests.table import read_table
from pipeline.gather import _remembered
from tests.cache.stores import flip
from tests.conftest import Called, Demo, copy_of
from tests.faults.flips import flip_many, targets
from tests.faults.test_interruptions import digests

Hiprobe = Callable[..., Called]


@pytest.fixture(scope="module")
def copy(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A copy whose bits may flip, if they flip back."""
    return copy_of(demo, tmp_path_factory.mktemp("flips") / "runs" / "demo")


def test_a_thousand_flips_are_a_thousand_findings_and_no_wrong_number(copy: Demo) -> None:
    found = targets(copy.folder / "store", copy.folder)
    tally, outcomes, wrong = flip_many(random.Random(1000), found, 1000)
    assert not wrong, wrong[:5]
    assert (tally.tried, tally.survived) == (1000, 1000)
    # Each kind of file had its part, and what is not a memory was refused by its reader.
    for kind in ("payload", "table", "record", "root", "result"):
        assert set(outcomes) & {f"{kind} refused", f"{kind} same"} == {f"{kind} refused"}
        assert outcomes[f"{kind} refused"] >= 1000 // 8 - 1
    assert outcomes["manifest absent"] >= 1000 // 8 - 1


def test_a_flip_in_a_catalog_changes_nothing_that_is_read_of_it(copy: Demo) -> None:
    store, chance = Store(copy.folder / "store"), random.Random(9)
    tables = sorted((store.root / "catalog").glob("*.txt"))
    before = {stage: found.digests for stage, found in load_catalog(store, store.stages()).items()}
    for _ in range(60):
        path = chance.choice(tables)
        whole, bit = path.read_bytes(), chance.randrange(path.stat().st_size * 8)
        flip(path, bit)
        after = load_catalog(store, store.stages())
        assert {stage: found.digests for stage, found in after.items()} == before, (path, bit)
        path.write_bytes(whole)


def test_a_flip_in_what_is_remembered_of_files_is_no_other_digest(copy: Demo) -> None:
    """Of the weights of the backbone, and of the videos: they are read again instead."""
    catalog, chance = copy.folder / "store" / "catalog", random.Random(10)
    (sources,) = catalog.glob("sources-*.jsonl")
    weights = catalog / "backbones.json"

    def entries(path: Path) -> dict[str, Any]:
        return _remembered(path) if path == weights else DigestMemory(path)._entries

    for path in (weights, sources, catalog / "SHA256SUMS"):
        whole = path.read_bytes()
        before = {path: entries(path) for path in (weights, sources)}
        for _ in range(60):
            flip(path, chance.randrange(len(whole) * 8))
            for read in (weights, sources):
                assert entries(read) in ({}, before[read]), path
            path.write_bytes(whole)


def scores(demo: Demo) -> Any:
    return read_table(demo.folder / "scores.parquet", RUN_SCORES)


def chunk_of(states: Path, layer: int) -> int:
    """A bit within the numbers of a layer of the first shard, from the layout alone."""
    content = (states / "c/0/0/0").read_bytes()
    layers = read_json(states / "zarr.json")["attributes"]["layers"]
    index = np.frombuffer(content[-16 * len(layers) - 4 : -4], dtype="<u8").reshape(-1, 2)
    return 8 * int(index[layers.index(layer), 0]) + 37


def artifacts(demo: Demo, stage: str) -> list[Path]:
    return sorted((demo.folder / "store" / stage).glob("*/*"))


def set_aside(demo: Demo) -> list[str]:
    return sorted(p.name.rsplit("~", 1)[0] for p in (demo.folder / "store/quarantine").iterdir())


def test_a_run_sets_aside_what_it_finds_damaged_redoes_just_that_and_scores_the_same(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    """What follows is gone, and so made anew from what is damaged: as a changed setting does it."""
    expected, scored = digests(own_demo.folder / "store"), scores(own_demo)
    for stage in ("moments", "statistics", "fit", "score", "localize"):
        shutil.rmtree(own_demo.folder / "store" / stage)
    (own_demo.folder / "scores.parquet").unlink()
    layer = read_json(own_demo.folder / "selection.json")["layer"]
    forward = random.Random(4).sample(artifacts(own_demo, "forward"), 2)
    for path in forward:
        flip(path / "states.zarr/c/0/0/0", chunk_of(path / "states.zarr", layer))
    plan = random.Random(5).choice(artifacts(own_demo, "sample"))
    flip(plan / "segments.parquet", 999)
    harmed = [*forward, plan]
    before = {path: path.stat().st_ino for stage in ("forward", "sample", "decode", "index")
              for path in artifacts(own_demo, stage)}  # fmt: skip
    done = hiprobe("run", own_demo.config, "--quiet")
    assert done.code == 0, done.out
    assert set_aside(own_demo) == sorted(f"{p.parent.parent.name}~{p.name}" for p in harmed)
    remade = [path for path, inode in before.items() if path.stat().st_ino != inode]
    assert sorted(remade) == sorted(harmed)
    assert digests(own_demo.folder / "store") == expected
    assert scores(own_demo).equals(scored)
    assert hiprobe("cache", "verify", own_demo.config, "--full").code == 0


@pytest.mark.parametrize("stage", ["index", "evaluate", "explain", "report"])
@pytest.mark.parametrize("name", ["", "commit.json"], ids=["payload", "record"])
def test_a_run_mends_what_only_planning_or_the_results_read(
    own_demo: Demo, hiprobe: Hiprobe, stage: str, name: str
) -> None:
    results = [p for p in sorted(own_demo.folder.glob("*.*")) if p.suffix in (".parquet", ".json")]
    expected = {path: path.read_bytes() for path in results}
    stored = digests(own_demo.folder / "store")
    for path in results:
        if path.name != "run.toml":
            path.unlink()
    harmed = random.Random(stage).choice(artifacts(own_demo, stage))
    files = [p for p in sorted(harmed.iterdir()) if p.is_file() and p.name != "commit.json"]
    flip(harmed / name if name else random.Random(stage).choice(files), 77)
    done = hiprobe("run", own_demo.config, "--quiet")
    assert done.code == 0, done.out
    assert set_aside(own_demo) == [f"{stage}~{harmed.name}"]
    assert digests(own_demo.folder / "store") == stored
    assert {path: path.read_bytes() for path in expected} == expected


def test_repair_and_run_make_exactly_the_item_and_what_follows_stays(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    before = digests(own_demo.folder / "store")
    path = random.Random(6).choice(artifacts(own_demo, "forward"))
    flip(path / "heads.zarr/c/0/0/0", 4321)
    assert hiprobe("cache", "verify", own_demo.config).code == 0  # the size is the same
    found = hiprobe("cache", "verify", own_demo.config, "--full")
    assert found.code == 5
    assert f"forward/{path.name}: heads.zarr/c/0/0/0 does not have the digest" in found.out
    said = hiprobe("cache", "repair", own_demo.config, "--full", "--json").value()
    assert [(f["stage"], f["key"]) for f in said["findings"]] == [("forward", path.name)]
    assert set_aside(own_demo) == [f"forward~{path.name}"]
    assert hiprobe("cache", "verify", own_demo.config, "--full").code == 0
    planned = hiprobe("plan", own_demo.config, "--json").value()
    assert {s["stage"]: s["todo"] for s in planned["stages"] if s["todo"]} == {"forward": 1}
    made = hiprobe("run", own_demo.config, "--json", "--quiet").value()
    assert {stage: count for stage, count in made["built"].items() if count} == {"forward": 1}
    assert digests(own_demo.folder / "store") == before


def test_results_that_are_not_as_written_are_refused_named_and_written_anew(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    harmed = ["metrics.json", "scores.parquet", "manifests/forward.parquet", "SHA256SUMS",
              "scorer/scorer.safetensors", "outputs.json", "manifests/SHA256SUMS"]  # fmt: skip
    whole = {name: (own_demo.folder / name).read_bytes() for name in harmed}
    for name in harmed:
        flip(own_demo.folder / name, 1603)
    refused = hiprobe("show", own_demo.config)
    assert refused.code == 5
    assert "metrics.json" in refused.out
    assert "SHA256SUMS" in refused.out
    found = hiprobe("cache", "verify", own_demo.config)
    assert found.code == 5
    for name in harmed[:-1]:
        assert name in found.out
    # A digit of a check sum: the manifest that it is of is told.
    assert found.out.count("/manifests/") >= 2
    # The scorer may be used by others: another run does not take it.
    other = ("--set", 'run.scorer="scorer"', "--set", 'run.name="other"')
    assert hiprobe("plan", own_demo.config, *other).code == 5
    assert hiprobe("cache", "repair", own_demo.config).code == 0
    assert hiprobe("cache", "verify", own_demo.config).code == 0
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    for name, content in whole.items():
        # A manifest has forgotten how often each item was tried.
        if not name.startswith("manifests/"):
            assert (own_demo.folder / name).read_bytes() == content, name
    assert hiprobe("cache", "verify", own_demo.config).code == 0
    assert hiprobe("plan", own_demo.config, *other).code == 0


def test_a_run_alone_writes_a_damaged_result_anew(own_demo: Demo, hiprobe: Hiprobe) -> None:
    whole = (own_demo.folder / "metrics.json").read_bytes()
    flip(own_demo.folder / "metrics.json", 1603)
    (own_demo.folder / "scores.parquet").write_bytes(b"")
    (own_demo.folder / "manifests" / "score.parquet").unlink()
    shutil.rmtree(own_demo.folder / "threshold")
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert (own_demo.folder / "metrics.json").read_bytes() == whole
    assert hiprobe("cache", "verify", own_demo.config).code == 0
    assert hiprobe("show", own_demo.config).code == 0
