"""What the promises of the store cost: durable publishing, digesting, and opening many artifacts.

    python -m benchmarks.store [--artifacts 10000] [--shards 48] [--videos 1900] [--delay-ms 1]

1. Publishing so many small artifacts (a table of 2 kB and a record), each durable before the next,
   against the same bytes written by hand with the same calls: a folder, each file written and forced
   to the disk, the folder too, renamed into place, its new parent forced to the disk.
2. An artifact of so many shards of 16 MiB, each digested while the next is written, against the same
   shards digested after all are written; and each of the two parts alone.
3. One layer of so many videos, opened and read as the stage fit does it, against the same one after
   the other, where every opening of a file and every look at one waits: a network file system
   stands this way to a local disk. (The waiting is made with sleep: it costs no processor.)

Pairs alternate, so that a disk that slows down slows both; ratios are of the medians.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cache import ahead as reading_ahead
from cache.arrays import write_states
from cache.atomic import sync_file, sync_folder
from cache.digest import file_digest, write_json
from cache.drafts import Draft
from cache.store import Store
from manifests.schema import SEGMENTS
from manifests.table import write_table
from stages.probes.choice import Choice
from stages.probes.probing_rows import probing_rows

RECIPE = {"rule": "midpoints", "segment": 24}
TABLE = bytes(range(250)) * 8
BATCH = 250
SHARD = 16 << 20
QUESTION = "What happens?"
SEGMENT_COUNT, DIM = 24, 64


def inputs(number: int) -> dict[str, str]:
    return {"plan": f"{number:064x}", "states": f"{number + 1:064x}"}


def publish(store: Store, number: int) -> None:
    with store.draft("score", 1, RECIPE, inputs(number)) as draft:
        (draft.path / "scores.parquet").write_bytes(TABLE)
        store.publish(draft, rows=24, seconds={"all": 0.01}, environment={"python": "3.11"})


def by_hand(root: Path, number: int, record: bytes) -> None:
    """The same files and the same forcing, by somebody who needs no key, digest or check."""
    key = f"{number * 2654435761 % (1 << 64):016x}" * 4
    draft = root / "staging" / key
    draft.mkdir()
    for name, content in (("scores.parquet", TABLE), ("commit.json", record)):
        (draft / name).write_bytes(content)
        sync_file(draft / name)
    sync_folder(draft)
    parent = root / "score" / key[:2]
    made = not parent.exists()
    parent.mkdir(parents=True, exist_ok=True)
    draft.rename(parent / key)
    for folder in (parent, *((parent.parent, root) if made else ())):
        sync_folder(folder)


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def publishing(root: Path, count: int) -> None:
    store = Store.open(root / "store")
    publish(store, count + 1)
    (record,) = (p.read_bytes() for p in (root / "store" / "score").glob("*/*/commit.json"))
    hand = root / "hand"
    (hand / "staging").mkdir(parents=True)
    ours, theirs = [], []
    for first in range(0, count, BATCH):
        batch = range(first, min(first + BATCH, count))
        ours.append(timed(lambda b=batch: [publish(store, n) for n in b]) / len(batch))
        theirs.append(timed(lambda b=batch: [by_hand(hand, n, record) for n in b]) / len(batch))
    middle = [statistics.median(times) * 1000 for times in (ours, theirs)]
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    print(
        f"publish {count:,} small artifacts: {middle[0]:.2f} ms each, by hand {middle[1]:.2f} ms: "
        f"ratio {middle[0] / middle[1]:.2f}, of all together {sum(ours) / sum(theirs):.2f} "
        f"(pairs of {BATCH}: {ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def write_shard(path: Path, block: np.ndarray[Any, Any]) -> None:
    with path.open("wb") as file:
        file.write(block.data)


def digesting(root: Path, shards: int) -> None:
    store = Store.open(root / "large")
    block = np.frombuffer(np.random.default_rng(0).bytes(SHARD), np.uint8)
    number = 0

    def make(early: bool) -> None:
        nonlocal number
        number += 1
        with store.draft("forward", 1, RECIPE, inputs(number)) as draft:
            fill(draft, early)
            store.publish(draft, rows=shards)
        shutil.rmtree(store.root / "forward")

    def fill(draft: Draft, early: bool) -> None:
        for shard in range(shards):
            path = draft.path / f"{shard}"
            write_shard(path, block)
            if early:
                draft.finished(path)

    def write_only() -> None:
        folder = root / "alone"
        folder.mkdir()
        for shard in range(shards):
            write_shard(folder / f"{shard}", block)
        for shard in range(shards):
            sync_file(folder / f"{shard}")

    def digest_only() -> None:
        for shard in range(shards):
            file_digest(root / "alone" / f"{shard}")

    times: dict[str, list[float]] = {name: [] for name in ("early", "after", "write", "digest")}
    for _ in range(5):
        times["early"].append(timed(lambda: make(True)))
        times["after"].append(timed(lambda: make(False)))
        times["write"].append(timed(write_only))
        times["digest"].append(timed(digest_only))
        shutil.rmtree(root / "alone")
    early, after, write, digest = (statistics.median(found) for found in times.values())
    print(
        f"publish {shards} shards of 16 MiB: digested while written {early:.2f} s, after "
        f"{after:.2f} s: ratio {early / after:.2f}; writing alone {write:.2f} s, digesting alone "
        f"{digest:.2f} s: {early / max(write, digest):.2f} x the longer of the two"
    )


def make_videos(root: Path, count: int) -> Store:
    """Hidden states and plans of many short videos."""
    store = Store.open(root / "many")
    rows = np.random.default_rng(1).standard_normal((SEGMENT_COUNT, 1, 2, DIM), dtype=np.float32)
    numbers = list(range(SEGMENT_COUNT))
    columns: dict[str, Any] = dict.fromkeys(SEGMENTS.names, numbers)
    columns |= {
        "start_frame": [24 * n for n in numbers],
        "end_frame": [24 * n + 24 for n in numbers],
    }
    columns |= {"start_s": [float(n) for n in numbers], "end_s": [n + 1.0 for n in numbers]}
    for number in range(count):
        with store.draft("forward", 1, RECIPE, inputs(number)) as draft:
            write_states(
                draft.path / "states.zarr", [rows], segments=SEGMENT_COUNT, layers=[19, 20], dim=DIM,
                logical_dtype="float32",
            )  # fmt: skip
            write_json(draft.path / "states.json", {"prompts": [{"question": QUESTION}]})
            store.publish(draft, rows=SEGMENT_COUNT)
        with store.draft("sample", 1, RECIPE, inputs(number)) as draft:
            write_table(draft.path / "segments.parquet", SEGMENTS, columns)
            store.publish(draft, rows=SEGMENT_COUNT)
    return store


def opening(root: Path, count: int, delay_s: float) -> None:
    store = make_videos(root, count)
    keys = {stage: sorted(store.keys(stage)) for stage in ("forward", "sample")}
    labels = {
        f"v{n:05}": {"split": "train", "label": n % 2, "intervals": None} for n in range(count)
    }

    def read(videos: int) -> None:
        names = list(labels)[:videos]
        found: dict[str, dict[str, Any]] = {}
        for stage in keys:
            opened = reading_ahead.ahead(
                lambda k, s=stage: store.artifact(s, k), keys[stage][:videos]
            )
            found[stage] = dict(zip(names, opened, strict=True))
        choice = Choice(layer=20)
        rows = probing_rows(found["forward"], found["sample"], labels, QUESTION, choice)
        assert rows.all(1).shape == (videos * SEGMENT_COUNT, DIM)

    def one_by_one(videos: int) -> float:
        with one_after_the_other():
            return timed(lambda: read(videos))

    read(min(count, 50))
    few = max(1, count // 10)
    with waiting(delay_s):
        ours, theirs = timed(lambda: read(count)), one_by_one(few) * count / few
    local = timed(lambda: read(count)), one_by_one(count)
    print(
        f"one layer of {count:,} videos, {delay_s * 1000:g} ms for each look at a file: {ours:.1f} s, "
        f"one after the other {theirs:.1f} s ({few} videos, scaled): ratio {ours / theirs:.2f}; "
        f"without the delay {local[0]:.2f} and {local[1]:.2f} s: ratio {local[0] / local[1]:.2f}"
    )


@contextlib.contextmanager
def one_after_the_other() -> Iterator[None]:
    """Within this block nothing is read ahead."""
    before = reading_ahead.TRIED
    reading_ahead.TRIED = sys.maxsize
    try:
        yield
    finally:
        reading_ahead.TRIED = before


@contextlib.contextmanager
def waiting(delay_s: float) -> Iterator[None]:
    """Within this block each of Python's ways to open a file or to look at one waits first."""
    places = [(os, "open"), (os, "stat"), (os, "lstat"), (os, "scandir"), (io, "open")]
    plain = [getattr(module, name) for module, name in places]

    def slowed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            time.sleep(delay_s)
            return function(*words, **named)

        return call

    for (module, name), function in zip(places, plain, strict=True):
        setattr(module, name, slowed(function))
    try:
        yield
    finally:
        for (module, name), function in zip(places, plain, strict=True):
            setattr(module, name, function)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--artifacts", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=48)
    parser.add_argument("--videos", type=int, default=1_900)
    parser.add_argument("--delay-ms", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        publishing(Path(folder), options.artifacts)
        digesting(Path(folder), options.shards)
        opening(Path(folder), options.videos, options.delay_ms / 1000)


if __name__ == "__main__":
    main()
