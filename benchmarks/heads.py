"""How long the stage heads takes over a synthetic store, beside scikit-learn head by head.

    python -m benchmarks.heads [--layers 28] [--heads 28] [--dim 128] [--prompts 5] [--samples 400]
                               [--videos 16] [--workers 1 2] [--naive-heads 56] [--keep DIR]

The store holds Zarr heads of probing videos of uneven lengths, half of them anomalous, in bfloat16;
--samples counts the segments of all of them together. Every row of the table is a process of its own
that reads from the page cache: the stage as `hiprobe run` computes it, once for each number of
--workers; the figures one by one on one core, for --naive-heads heads, scaled to all; and what a user
would write for these same heads, scikit-learn's LedoitWolf, KMeans, normalized_mutual_info_score and
rbf_kernel, scaled as well. The store lies in a temporary folder that is deleted at the end, or in
--keep, where a later call finds it again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SEGMENT, FPS = 48, 30


@dataclass(frozen=True)
class Folder:
    """A payload over a folder."""

    path: Path

    def holds(self, name: str) -> bool:
        return (self.path / name).exists()

    def file(self, name: str) -> Path:
        return self.path / name


def lengths_of(options: argparse.Namespace) -> list[int]:
    """Segments of every video: as uneven as those of real ones, at least two."""
    generator = np.random.default_rng(0)
    shares = generator.lognormal(sigma=0.8, size=options.videos)
    free = options.samples - 2 * options.videos
    counts = (shares / shares.sum() * free).astype(int)
    counts[counts.argmax()] += free - counts.sum()
    return [int(count) + 2 for count in counts]


def write_store(folder: Path, options: argparse.Namespace) -> None:
    """Heads, questions and spans of every video; every head tells the classes apart by another gap."""
    from cache.arrays import write_heads
    from cache.digest import write_json
    from cache.shards import shard_rows, to_bfloat16_bits
    from manifests.schema import SEGMENTS
    from manifests.table import write_table

    inner = (options.prompts, options.layers, options.heads * options.dim)
    gap = np.random.default_rng(1).normal(size=inner).astype(np.float32)
    gap *= np.linspace(0, 0.5, options.layers, dtype=np.float32)[:, None]
    for number, count in enumerate(lengths_of(options)):
        states, plan = (folder / f"v{number:04}" / name for name in ("states", "plan"))
        states.mkdir(parents=True)
        plan.mkdir()
        generator = np.random.default_rng([2, number])
        rows = shard_rows(count)

        def block(start: int, n: int, generator: Any = generator, label: int = number % 2) -> Any:
            values = generator.standard_normal((n, *inner), dtype=np.float32)
            return to_bfloat16_bits(values + label * gap)

        blocks = (block(start, min(rows, count - start)) for start in range(0, count, rows))
        write_heads(
            states / "heads.zarr", blocks, segments=count, head_dim=options.dim,
            logical_dtype="bfloat16", whole=(options.layers, options.heads),
            prompts=options.prompts,
        )  # fmt: skip
        questions = [{"question": f"question {m}"} for m in range(options.prompts)]
        write_json(states / "states.json", {"prompts": questions})
        starts = SEGMENT * np.arange(count)
        columns = {
            "segment": np.arange(count),
            "start_frame": starts,
            "end_frame": starts + SEGMENT,
            "start_s": starts / FPS,
            "end_s": (starts + SEGMENT) / FPS,
        }
        write_table(plan / "segments.parquet", SEGMENTS, columns)


def job_of(folder: Path, out: Path, options: argparse.Namespace, **settings: Any) -> Any:
    """What the pipeline would give to the stage."""
    from stages import heads
    from stages.contract import Job

    names = [f"v{number:04}" for number in range(options.videos)]
    many = {
        role: {name: Folder(folder / name / role) for name in names} for role in ("states", "plan")
    }
    labels = {
        name: {"split": "train", "label": number % 2, "intervals": None}
        for number, name in enumerate(names)
    }
    out.mkdir(parents=True, exist_ok=True)
    return Job("set", heads.Settings(**settings), out, {}, many, {"labels": labels})


def stage(options: argparse.Namespace) -> dict[str, Any]:
    """The stage from the store to its artifact."""
    from cache.digest import file_digest
    from stages import heads

    out = options.store / "out" / f"{options.workers[0]}-{time.time_ns()}"
    job = job_of(options.store, out, options, workers=options.workers[0])
    began = time.perf_counter()
    heads.compute(job)
    seconds = time.perf_counter() - began
    digests = [file_digest(out / name) for name in ("heads.parquet", "replicates.parquet")]
    return {"seconds": seconds, "digests": digests}


def some_heads(options: argparse.Namespace, most: int) -> tuple[list[Any], Any]:
    """Float64 rows [n, dim] of at most so many heads, and the labels."""
    from cache.arrays import Heads

    places = [(layer, head) for layer in range(options.layers) for head in range(options.heads)]
    taken = places[:: max(len(places) // most, 1)][:most]
    opened = [
        Heads.open(options.store / f"v{number:04}" / "states" / "heads.zarr")
        for number in range(options.videos)
    ]
    rows = [
        np.concatenate([heads.head(*place) for heads in opened]).astype(np.float64)
        for place in taken
    ]
    counts = [heads.segments for heads in opened]
    return rows, np.repeat(np.arange(options.videos) % 2, counts)


def scaled(times: dict[str, float], heads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of some heads, as they would be of all."""
    every = options.layers * options.heads * options.prompts
    return {"figures": {name: s * every / heads for name, s in times.items()}, "heads": heads}


def timed(times: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    found = call()
    times[name] = times.get(name, 0.0) + time.perf_counter() - began
    return found


def ours(options: argparse.Namespace) -> dict[str, Any]:
    """Every figure by itself, on one core."""
    from stages.probes.heads import clusters, discrepancy, figures, replicates
    from stages.probes.resampling import video_draws

    rows, labels = some_heads(options, options.naive_heads)
    pairs, room = discrepancy.pairs_of(labels), discrepancy.room_for(len(labels))
    parts = [np.full(n, number % 2) for number, n in enumerate(lengths_of(options))]
    drawn = replicates.drawn_runs(parts, video_draws(parts, 200, 0))
    times: dict[str, float] = {}
    for one in [rows[0], *rows]:
        if one is rows[0]:
            times.clear()  # the first is there twice: the first time is for warming up
        rest = one - one.mean(axis=0)
        both = timed(times, "moments", lambda one=one: figures.class_moments(one, labels))
        timed(times, "LDA", lambda both=both: figures.lda(*both, 1e-6))
        timed(times, "KL", lambda both=both: figures.symmetric_kl(*both, 1e-6))
        timed(times, "MMD", lambda rest=rest: discrepancy.mmd(rest, pairs, room))
        found = timed(times, "NMI", lambda rest=rest: clusters.two_means(rest, starts=10, seed=0))
        timed(times, "NMI", lambda found=found: clusters.nmi(labels, found))
        timed(times, "separability", lambda both=both: figures.separability(*both))
        timed(
            times,
            "its 200 replicates",
            lambda rest=rest: replicates.separability_replicates(rest, drawn),
        )
    return scaled(times, len(rows), options)


def naive(options: argparse.Namespace) -> dict[str, Any]:
    """The same by scikit-learn's estimators, head by head, on one core."""
    from scipy.spatial.distance import pdist
    from sklearn.cluster import KMeans
    from sklearn.covariance import LedoitWolf
    from sklearn.metrics import normalized_mutual_info_score
    from sklearn.metrics.pairwise import rbf_kernel

    rows, labels = some_heads(options, options.naive_heads)

    def lda(one: Any) -> Any:
        parts = [one[labels == value] for value in (0, 1)]
        rest = np.concatenate([part - part.mean(axis=0) for part in parts])
        gap = parts[1].mean(axis=0) - parts[0].mean(axis=0)
        within = LedoitWolf(assume_centered=True).fit(rest).covariance_
        return gap @ np.linalg.solve(within, gap)

    def kl(one: Any) -> Any:
        fits = [LedoitWolf().fit(one[labels == value]) for value in (0, 1)]
        gap = fits[1].location_ - fits[0].location_
        inverse = [np.linalg.inv(fit.covariance_) for fit in fits]
        traces = sum(np.trace(inverse[i] @ fits[1 - i].covariance_) for i in (0, 1))
        return (traces - 2 * len(gap) + gap @ (inverse[0] + inverse[1]) @ gap) / 4

    def mmd(one: Any) -> Any:
        kernel = rbf_kernel(one, gamma=0.5 / np.median(pdist(one, "sqeuclidean")))
        a, b = labels == 1, labels == 0
        own = kernel[np.ix_(a, a)].mean() + kernel[np.ix_(b, b)].mean()
        return own - 2 * kernel[np.ix_(a, b)].mean()

    def nmi(one: Any) -> Any:
        found = KMeans(2, n_init=10, random_state=0).fit(one).labels_
        return normalized_mutual_info_score(labels, found)

    times: dict[str, float] = {}
    for one in [rows[0], *rows]:
        if one is rows[0]:
            times.clear()
        for name, figure in (("LDA", lda), ("KL", kl), ("MMD", mmd), ("NMI", nmi)):
            timed(times, name, lambda figure=figure, one=one: figure(one))
    return scaled(times, len(rows), options)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "stage": stage,
    "figures": ours,
    "naive": naive,
}


def alone(part: str, options: argparse.Namespace, *more: str) -> dict[str, Any]:
    """One part in a process of its own."""
    names = ("layers", "heads", "dim", "prompts", "samples", "videos", "naive_heads")
    given = [
        word
        for name in names
        for word in (f"--{name.replace('_', '-')}", str(getattr(options, name)))
    ]
    command = [sys.executable, "-m", "benchmarks.heads", "--part", part]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [*command, "--store", str(options.store), *given, *more],
        env={**os.environ, **threads}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def peak_mb() -> float:
    """Highest resident memory of this process in MB; getrusage would count that of its parent too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000


def table(options: argparse.Namespace) -> str:
    """Run every part and say what it took."""
    rounds = [
        (
            workers,
            [alone("stage", options, "--workers", str(workers)) for _ in range(options.rounds)],
        )
        for workers in options.workers
    ]
    mine, theirs = alone("figures", options), alone("naive", options)
    total = sum(theirs["figures"].values())
    same = len({str(found["digests"]) for _, runs in rounds for found in runs}) == 1
    lines = [
        f"{options.layers * options.heads} heads x {options.prompts} prompts x {options.samples} "
        f"samples of {options.videos} videos x {options.dim}; least of {options.rounds} rounds",
        "",
        "| what | seconds | peak MB | times faster than scikit-learn |",
        "|---|---|---|---|",
    ]
    for workers, runs in rounds:
        seconds, mb = (min(found[name] for found in runs) for name in ("seconds", "mb"))
        lines.append(
            f"| the stage, {workers} worker{'s' if workers > 1 else ''} | {seconds:.1f} | {mb:.0f} "
            f"| {total / seconds:.1f} |"
        )
    for name, seconds in mine["figures"].items():
        with_naive = theirs["figures"].get(name)
        ratio = f"{with_naive / seconds:.1f}" if with_naive else ""
        lines.append(f"| {name} | {seconds:.1f} | | {ratio} |")
    for name, seconds in theirs["figures"].items():
        lines.append(f"| scikit-learn: {name} | {seconds:.1f} | | 1 |")
    lines += [
        f"| scikit-learn: all four | {total:.1f} | {theirs['mb']:.0f} | 1 |",
        "",
        f"Figures one by one, ours and scikit-learn's: {mine['heads']} heads on one core, scaled. "
        f"LDA and KL come on top of the moments. The bytes are {'the same' if same else 'NOT the same'} "
        "for all numbers of workers and rounds.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--heads", type=int, default=28, help="heads of a layer")
    parser.add_argument("--dim", type=int, default=128, help="width of a head")
    parser.add_argument("--prompts", type=int, default=5)
    parser.add_argument("--samples", type=int, default=400, help="segments of all videos")
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="runs of the stage; the least counts")
    parser.add_argument("--naive-heads", type=int, default=56, help="heads that are timed alone")
    parser.add_argument("--keep", type=Path, help="folder for the store, which is not deleted")
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        found = PARTS[options.part](options)
        print(json.dumps({**found, "mb": peak_mb()}))
        return
    with tempfile.TemporaryDirectory(prefix="hiprobe-heads-") as folder:
        options.store = options.keep or Path(folder)
        if not (options.store / "v0000").exists():
            write_store(options.store, options)
        print(table(options))


if __name__ == "__main__":
    main()
