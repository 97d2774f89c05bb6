"""A bundle of the small run, and what it was made of."""

from __future__ import annotations

from pathlib import Path

from cache.arrays import States
from cache.digest import read_json
from cache.store import Store
from tests.conftest import Demo, call

RESULTS = (
    "scores.parquet", "metrics.json", "intervals.parquet", "selection.json", "report.html",
    "explanations.parquet",
)  # fmt: skip


def exported(demo: Demo, out: Path, *words: object) -> Path:
    called = call("cache", "export", demo.config, "--out", out, "--quiet", *words)
    assert called.code == 0, called.out
    return out


def states_of(demo: Demo) -> dict[str, States]:
    """Hidden states by video id, as the run that was exported has them."""
    rows = manifest(demo.folder, "forward")
    store = Store(demo.folder / "store")
    found = {}
    for video, (key, _) in rows.items():
        found[video] = States.open(store.folder("forward", key) / "states.zarr")
    return found


def manifest(results: Path, stage: str) -> dict[str, tuple[str, str]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(results / "manifests" / f"{stage}.parquet").to_pylist()
    return {row["video_id"]: (row["key"], row["digest"]) for row in rows}


def chosen(demo: Demo) -> int:
    layer: int = read_json(demo.folder / "scorer" / "scorer.json")["layer"]
    return layer
