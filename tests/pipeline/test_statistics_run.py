"""Statistics of layers through the whole pipeline: what is added is computed, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from cache.arrays import States
from manifests.schema import LAYER_REPLICATES, LAYERS, STAGE_MANIFEST, VIDEOS
from manifests.table import read_table
from tests.conftest import Demo, call


def run(demo: Demo, *changes: str) -> dict[str, int]:
    """Run up to the statistics; how many items of each stage were made."""
    sets = [word for change in changes for word in ("--set", change)]
    called = call("run", demo.config, "--quiet", "--json", "--until", "statistics", *sets)
    assert called.code == 0, called.out
    return {name: count for name, count in called.value()["built"].items() if count}


def manifest(folder: Path, stage: str) -> dict[str, dict[str, Any]]:
    """Rows of a stage's manifest by video id, each with the folder of its artifact."""
    table = read_table(folder / "manifests" / f"{stage}.parquet", STAGE_MANIFEST)
    store = folder / "store" / stage
    return {
        row["video_id"]: {**row, "at": store / row["key"][:2] / row["key"]}
        for row in table.to_pylist()
    }


def probing(folder: Path) -> dict[str, int]:
    """Label by id of the probing videos."""
    rows = read_table(folder / "videos.parquet", VIDEOS).to_pylist()
    return {row["video_id"]: row["label"] for row in rows if row["subset"] == "probing"}


def test_added_videos_are_the_only_ones_whose_moments_are_made(own_demo: Demo) -> None:
    videos = sorted(probing(own_demo.folder))
    first = [video for video in videos if video not in videos[1::3]]
    added = set(videos) - set(first)
    assert len(videos) == 8
    assert 1 < len(added) < len(first)
    shutil.rmtree(own_demo.folder / "store" / "moments")
    some = f"data.probing_videos={first}".replace("'", '"')
    assert run(own_demo, some) == {"index": 1, "moments": len(first), "statistics": 1}
    before = manifest(own_demo.folder, "moments")
    assert sorted(before) == first
    # All of them again: the artifact of the index and that of the statistics are there already.
    shutil.rmtree(own_demo.folder / "store" / "statistics")
    assert run(own_demo) == {"moments": len(added), "statistics": 1}
    after = manifest(own_demo.folder, "moments")
    assert {video for video, row in after.items() if row["status"] != "hit"} >= added
    assert {video: after[video]["key"] for video in first} == {
        video: row["key"] for video, row in before.items()
    }
    assert run(own_demo) == {}


def test_workers_change_no_byte_of_a_run_and_replicates_make_the_statistics_alone(
    own_demo: Demo,
) -> None:
    found = {}
    for workers in (1, 3):
        for stage in ("moments", "statistics"):
            shutil.rmtree(own_demo.folder / "store" / stage)
        assert run(own_demo, f"statistics.workers={workers}") == {"moments": 8, "statistics": 1}
        found[workers] = [
            row["digest"]
            for stage in ("moments", "statistics")
            for row in manifest(own_demo.folder, stage).values()
        ]
    assert found[1] == found[3]
    assert run(own_demo, "statistics.replicates=7") == {"statistics": 1}


def test_the_tables_are_what_numpy_says_of_the_hidden_states(demo: Demo) -> None:
    labels = probing(demo.folder)
    at = manifest(demo.folder, "forward")
    opened = {video: States.open(at[video]["at"] / "states.zarr") for video in sorted(labels)}
    statistics = next(iter(manifest(demo.folder, "statistics").values()))["at"]
    table = read_table(statistics / "layers.parquet", LAYERS).to_pylist()
    replicates = read_table(statistics / "replicates.parquet", LAYER_REPLICATES).to_pylist()
    assert len(replicates) == 200 * len(table)
    for row in table:
        parts = {video: states.layer(row["layer"]) for video, states in opened.items()}
        rows = np.concatenate(list(parts.values())).astype(np.float64)
        anomalous = np.concatenate([np.full(len(p), labels[v]) for v, p in parts.items()]) == 1
        normal, other = rows[~anomalous], rows[anomalous]
        gap = (normal.mean(axis=0) - other.mean(axis=0)) ** 2
        s2n, s2a = np.maximum(normal.var(axis=0), 1e-6), np.maximum(other.var(axis=0), 1e-6)
        kl = 0.5 * (np.log(s2a / s2n) + (s2n + gap) / s2a - 1)
        ldr = gap / (normal.var(axis=0) + other.var(axis=0) + 1e-6)
        assert (row["n_normal"], row["n_anomalous"]) == (len(normal), len(other))
        np.testing.assert_allclose([row["kl"], row["ldr"]], [kl.mean(), ldr.mean()], rtol=1e-9)
        entropy = []
        for x in rows.T:
            counts, _ = np.histogram(x, bins=64)
            shares = counts[counts > 0] / len(x)
            entropy.append(-(shares * np.log2(shares)).sum() if x.min() < x.max() else 0.0)
        # numpy.histogram has a value on an edge in either bin, as its product rounds.
        np.testing.assert_allclose(row["entropy"], np.mean(entropy), rtol=2e-3, atol=1e-12)
        assert row["silhouette_se"] == 0
        mine = [r for r in replicates if r["layer"] == row["layer"]]
        assert [r["replicate"] for r in mine] == list(range(200))
        if row["layer"]:
            low, high = np.quantile([r["ldr"] for r in mine], [0.005, 0.995])
            assert low < row["ldr"] * 1.5
            assert high > row["ldr"]
