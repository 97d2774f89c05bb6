"""How long the statistics of layers take, beside reading the same bytes and beside plain dask.

    python -m benchmarks.statistics [--segments 20000 --layers 33 --dim 1024] [--keep DIR]

Makes a store of synthetic hidden states (videos of lengths as uneven as UCF-Crime's, every second one
anomalous, in the layout that stage forward writes), then takes each row of the table in a process of
its own, --repeats times, and prints the median seconds, the ratio to reading the same bytes once, and
the peak of the process's memory:

* limit: the bytes of the store read as any user of it would (Zarr, its check sums on), and by the
  project's own reader, which checks the same sums; nothing is done with them. Two workers of the first
  are processes, since Zarr does not read faster in threads
* moments: count, mean and squared deviations by class, lowest and highest value
* all: the same, KL and LDR, and the histograms and entropy in a second pass over the bytes
* stages: `moments` for every video and then `statistics`, as tasks of `hiprobe run` that write into the
  store; with the silhouette, and with 200 replicates of all figures
* naive: dask.array over the same Zarr arrays, mean and variance by class, minimum and maximum in one
  dask.compute; and numpy.histogram of each dimension, on --share of the dimensions, scaled up

Everything is read once before it is timed, so that it lies in the page cache. The seconds are those of
the work: starting Python, its imports, and the workers of a cluster, are outside of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hidden_states import QUESTION, Made, make
from cache.arrays import States
from cache.store import Store

BINS, EPS = 64, 1e-6


def shares_of(made: Made, workers: int) -> list[list[Path]]:
    """The arrays, parted evenly by bytes."""
    parts: list[list[Path]] = [[] for _ in range(workers)]
    sizes = [0] * workers
    found = [(States.open(made.path(video)).segments, made.path(video)) for video in made.videos]
    for size, path in sorted(found, reverse=True):
        least = sizes.index(min(sizes))
        parts[least].append(path)
        sizes[least] += size
    return parts


def read_by_zarr(paths: list[Path]) -> None:
    import zarr

    for path in paths:
        array = zarr.open_array(path, mode="r")
        for start in range(0, array.shape[0], array.shards[0]):
            array[start : start + array.shards[0]]


def read_by_ourselves(paths: list[Path]) -> None:
    from stages.probes.kernels import grouped

    for path in paths:
        array = States.open(path).array
        for shard in range(array.shards):
            groups = grouped(array.shape[1], array.rows, array.shape[2])
            for _ in array.stored(shard, groups, array.form.buffer(len(groups[0]))):
                pass


def peak_mb() -> float:
    """Most memory that this process has had, MB; what it was forked from does not count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000


Measured = tuple[float, float]
"""Seconds, and the peak of memory in MB of the process, or of the largest of its workers."""


def limit(read: Callable[[list[Path]], None], made: Made, workers: int, pool: Any) -> Measured:
    with pool(workers) as ready:
        list(ready.map(read, [[]] * workers))  # every worker has started, and imported
        parts = shares_of(made, workers)
        began = time.perf_counter()
        list(ready.map(read, parts))
        seconds = time.perf_counter() - began
        return seconds, max(peak_mb(), *(ready.submit(peak_mb).result() for _ in range(workers)))


def moments(made: Made, workers: int, scheduler: Any) -> None:
    from stages.probes.layer_figures import moments_of_videos

    moments_of_videos(*made.probed(), workers=workers, scheduler=scheduler)


def figures(made: Made, workers: int, scheduler: Any) -> None:
    from stages.probes.layer_figures import layer_figures

    layer_figures(*made.probed(), bins=BINS, eps=EPS, workers=workers, scheduler=scheduler)


def scheduled(work: Callable[..., None], made: Made, workers: int, kind: str) -> Measured:
    """Seconds of a work in this thread, in threads, or on the worker processes of a cluster."""
    import stages.probes.layer_figures  # noqa: F401  imports are not what is timed

    if kind != "processes":
        began = time.perf_counter()
        work(made, workers, "threads" if workers > 1 else "synchronous")
        return time.perf_counter() - began, peak_mb()
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=None, memory_limit=0
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        client.run(lambda: __import__("stages.probes.layer_figures"))
        began = time.perf_counter()
        work(made, workers, client)
        seconds = time.perf_counter() - began
        return seconds, max(peak_mb(), *client.run(peak_mb).values())


def by_stages(made: Made, workers: int, replicates: int) -> Measured:
    """Seconds of the stages moments and statistics as tasks of the engine in one process."""
    import stages.probes.layer_figures
    import stages.probes.silhouette  # noqa: F401
    from pipeline.task import Task, execute
    from stages import moments, statistics
    from stages.probes.statistics_settings import Settings

    root = Path(tempfile.mkdtemp(dir=made.root))
    settings = Settings(workers=workers, replicates=replicates)
    store = Store.open(root / "store")
    for stage in ("sample", "forward"):
        (store.root / stage).symlink_to((made.root / "store" / stage).resolve())
    labels = {
        v["name"]: {"split": "train", "label": v["label"], "intervals": None} for v in made.videos
    }
    plans = {v["name"]: tuple(v["sample"]) for v in made.videos}
    states = {v["name"]: tuple(v["forward"]) for v in made.videos}
    shared: dict[str, Any] = {"recipe": {}, "settings": settings, "store": store.root}
    began, parts = time.perf_counter(), {}
    for name, label in labels.items():
        outcome = execute(
            Task(
                stage="moments", version=moments.VERSION, item=name, members={}, many={},
                inputs={"states": states[name][1], "plan": plans[name][1], "label": label},
                single={"states": ("forward", states[name][0]), "plan": ("sample", plans[name][0])},
                values={"label": label, "question": QUESTION}, **shared,
            )
        )  # fmt: skip
        assert outcome.status == "built", outcome
        found = next(p for p in (store.root / "moments").glob("*/*") if p.name not in parts)
        parts[found.name] = name
    keys = {name: key for key, name in parts.items()}
    digests = {name: store.artifact("moments", key).digest for name, key in keys.items()}
    many = {
        "moments": ("moments", keys),
        "states": ("forward", {name: key for name, (key, _) in states.items()}),
        "plan": ("sample", {name: key for name, (key, _) in plans.items()}),
    }
    members = {
        "moments": digests,
        "states": {name: digest for name, (_, digest) in states.items()},
        "plan": {name: digest for name, (_, digest) in plans.items()},
    }
    outcome = execute(
        Task(
            stage="statistics", version=statistics.VERSION, item="all", inputs={}, single={},
            members=members, many=many, values={"labels": labels, "question": QUESTION}, **shared,
        )
    )  # fmt: skip
    seconds = time.perf_counter() - began
    assert outcome.status == "built", outcome
    shutil.rmtree(root)
    return seconds, peak_mb()


def naive_moments(made: Made) -> Measured:
    """What one writes with dask.array: mean and variance of each class, minimum and maximum."""
    import dask
    import dask.array as da

    began = time.perf_counter()
    classes = []
    for label in (0, 1):
        paths = [made.path(video) for video in made.videos if video["label"] == label]
        classes.append(da.concatenate([da.from_zarr(str(path)) for path in paths]))
    results = []
    for rows in classes:
        results += [rows.mean(axis=0, dtype="f8"), rows.var(axis=0, dtype="f8")]
    every = da.concatenate(classes)
    dask.compute(*results, every.min(axis=0), every.max(axis=0))
    return time.perf_counter() - began, peak_mb()


def naive_histograms(made: Made, share: float) -> Measured:
    """numpy.histogram, dimension by dimension of some layers: the seconds that all would take."""
    import zarr

    chosen = max(1, round(share * made.dim))
    seconds = 0.0
    layers = sorted({0, made.layers // 2, made.layers - 1})
    for layer in layers:
        began = time.perf_counter()
        arrays = [zarr.open_array(made.path(video), mode="r") for video in made.videos]
        rows = np.concatenate([array[:, layer] for array in arrays]).astype(np.float64)
        read = time.perf_counter()
        low, high = rows.min(axis=0), rows.max(axis=0)
        for d in range(chosen):
            counts, _ = np.histogram(rows[:, d], bins=BINS, range=(low[d], high[d]))
            shares = counts[counts > 0] / len(rows)
            -(shares * np.log2(shares)).sum()
        seconds += (read - began) + (time.perf_counter() - read) * made.dim / chosen
    return seconds * made.layers / len(layers), peak_mb()


def rows_of(dtype: str) -> list[tuple[str, str]]:
    """What is measured: its name and how it is called in the table."""
    naive = [] if dtype == "bfloat16" else [
        ("naive-moments", "naive: dask.array moments, min and max"),
        ("naive-histograms", "naive: numpy.histogram per dimension, scaled"),
    ]  # fmt: skip
    return [
        ("limit-zarr-1", "limit: read by Zarr, 1"),
        ("limit-zarr-2", "limit: read by Zarr, 2 processes"),
        ("limit-own-1", "limit: read by our own reader, 1"),
        ("limit-own-2", "limit: read by our own reader, 2 threads"),
        ("moments-threads-1", "moments, 1"),
        ("moments-threads-2", "moments, 2 threads"),
        ("moments-processes-2", "moments, 2 processes"),
        ("all-threads-1", "all, 1"),
        ("all-threads-2", "all, 2 threads"),
        ("all-processes-2", "all, 2 processes"),
        ("stages-0-1", "stages with the silhouette, 1"),
        ("stages-0-2", "stages with the silhouette, 2 threads"),
        ("stages-200-2", "stages with the silhouette and 200 replicates, 2 threads"),
        *naive,
    ]


def measured(made: Made, name: str, share: float) -> Measured:
    """One row of the table, in this process."""
    kind, *words = name.split("-")
    if kind == "naive":
        return naive_moments(made) if words == ["moments"] else naive_histograms(made, share)
    workers = int(words[-1])
    if kind == "limit":
        read = read_by_zarr if words[0] == "zarr" else read_by_ourselves
        processes = words[0] == "zarr" and workers > 1
        return limit(read, made, workers, ProcessPoolExecutor if processes else ThreadPoolExecutor)
    if kind == "stages":
        return by_stages(made, workers, int(words[0]))
    return scheduled(moments if kind == "moments" else figures, made, workers, words[0])


def in_its_own_process(root: Path, name: str, share: float) -> Measured:
    """One row, by a process that does nothing else."""
    command = [
        sys.executable, "-m", "benchmarks.statistics", "--keep", str(root), "--measure", name,
        "--share", str(share),
    ]  # fmt: skip
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak = json.loads(out.splitlines()[-1])
    return float(seconds), float(peak)


def report(root: Path, options: argparse.Namespace) -> None:
    made = Made.read(root)
    print(
        f"{made.segments} segments of {len(made.videos)} videos x {made.layers} x {made.dim} "
        f"{made.dtype}, {made.bytes / 1e9:.2f} GB; median of {options.repeats}\n"
    )
    print("| row | seconds | GB/s | / Zarr | / own | peak MB |\n|---|---|---|---|---|---|")
    read_by_ourselves([made.path(video) for video in made.videos])
    limits: dict[str, float] = {}
    for name, title in rows_of(made.dtype):
        if options.rows and not any(name.startswith(start) for start in options.rows):
            continue
        repeats = 1 if name.startswith("naive") else options.repeats
        runs = [in_its_own_process(root, name, options.share) for _ in range(repeats)]
        seconds = statistics.median(run[0] for run in runs)
        if name.startswith("limit"):
            limits[name] = seconds
        workers = name[-1] if name[-1] in "12" else "2"
        ratios = [
            f"{seconds / of:.2f}" if (of := limits.get(f"limit-{how}-{workers}")) else ""
            for how in ("zarr", "own")
        ]
        print(
            f"| {title} | {seconds:.2f} | {made.bytes / seconds / 1e9:.2f} | {ratios[0]} | "
            f"{ratios[1]} | {max(run[1] for run in runs):.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--segments", type=int, default=20000)
    parser.add_argument("--layers", type=int, default=33)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--share", type=float, default=1 / 64, help="of numpy.histogram's dimensions"
    )
    parser.add_argument("--rows", nargs="*", help="only rows whose names begin so, such as moments")
    parser.add_argument(
        "--keep", type=Path, help="make the data here and keep it, or use what is there"
    )
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(Made.read(options.keep), options.measure, options.share)))
        return
    root = options.keep or Path(tempfile.mkdtemp(prefix="hiprobe-bench-"))
    try:
        if not (root / "index.json").exists():
            root.mkdir(exist_ok=True)
            make(root, options.segments, options.layers, options.dim, options.dtype)
        report(root, options)
    finally:
        if not options.keep:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
