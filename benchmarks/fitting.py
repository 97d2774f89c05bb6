"""How long scorers take to be fitted, and in how much memory: every row a process of its own.

    python -m benchmarks.fitting [--rows 1000000] [--dim 1024] [--few 6000] [--wide 4096] [--steer 1000]

* stream: the streaming logistic regression over --rows x --dim float32 numbers that are made as they
  are asked for (4 GB by default), three steps of L-BFGS; beside it, as the limit, one gradient by two
  plain products per chunk of the same numbers, scaled to as many passes.
* fit, fit streaming: one fit on --few x --wide rows to its end, in memory and streamed, and the largest
  difference of their coefficients.
* folds: the five fits of held-out scores on the same rows, in memory.
* steer: one epoch of steered heads (4 x 128, a context of 3584) on --steer rows; a fit has 1000.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")
CHUNK = 2000
"""Rows of a video."""


def base(dim: int) -> Any:
    """A chunk of rows and its labels: what lies beside it is the same again."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(CHUNK, dim)).astype(np.float32)
    return rows, (rows[:, :8].sum(axis=1) + generator.normal(size=CHUNK) > 2).astype(np.int64)


def options(**changed: Any) -> Any:
    from stages.probes.scorers import FitOptions

    given = {"c": 1.0, "standardise": True, "balance": "weights", "max_iter": 1000, "seed": 0}
    return FitOptions(**{**given, **changed})


def stream(rows: int, dim: int) -> dict[str, Any]:
    from stages.probes.scorers import chunks, fit_logistic

    chunk, labels = base(dim)
    count = rows // CHUNK
    passes = [0]

    def made() -> Iterator[Any]:
        passes[0] += 1
        return (chunk for _ in range(count))

    begin = time.perf_counter()
    fit_logistic(made, np.tile(labels, count), dim, options(max_iter=3))
    took = time.perf_counter() - begin
    weight, gradient = np.ones(dim), np.zeros(dim)
    begin = time.perf_counter()
    for _, block in chunks.blocks(made, dim):
        gradient += (block @ weight) @ block
    limit = time.perf_counter() - begin
    return {
        "seconds": took,
        "passes": passes[0] - 1,
        "of the limit": took / limit / (passes[0] - 1),
    }


def few(rows: int, dim: int) -> tuple[Any, Any]:
    generator = np.random.default_rng(1)
    made = generator.normal(size=(rows, dim)).astype(np.float32)
    return made, (made[:, :8].sum(axis=1) + 2 * generator.normal(size=rows) > 3).astype(np.int64)


def fit(rows: int, dim: int) -> dict[str, Any]:
    from stages.probes.scorers import LogisticScorer

    made, labels = few(rows, dim)
    begin = time.perf_counter()
    _, report = LogisticScorer.fit(made, labels, options())
    return {"seconds": time.perf_counter() - begin, "iterations": report.iterations}


def fit_streaming(rows: int, dim: int) -> dict[str, Any]:
    from stages.probes.scorers import LogisticScorer, fit_logistic

    made, labels = few(rows, dim)
    begin = time.perf_counter()
    found, report = fit_logistic(lambda: iter(np.array_split(made, 16)), labels, dim, options())
    took = time.perf_counter() - begin
    memory, _ = LogisticScorer.fit(made, labels, options())
    apart = float(np.abs(found.weight - memory.weight).max())
    return {"seconds": took, "iterations": report.iterations, "apart": apart}


def folds(rows: int, dim: int) -> dict[str, Any]:
    from stages.probes.choice import Choice
    from stages.probes.folds import video_folds
    from stages.probes.probing_fits import InMemory, held_out
    from stages.probes.probing_rows import ProbingRows

    made, labels = few(rows, dim)
    videos = tuple(np.array_split(labels, 16))
    set_of = ProbingRows(
        tuple(f"v{k}" for k in range(16)), videos, (), dim, 0, {}, "", Choice(layer=1)
    )
    begin = time.perf_counter()
    fold = video_folds([np.asarray([k % 2]) for k in range(16)], 5, 0)
    found = held_out(InMemory(set_of, made, "logistic", options()), fold)
    return {"seconds": time.perf_counter() - begin, "folds": found.folds}


def steer(rows: int, dim: int) -> dict[str, Any]:
    from stages.probes.scorers import SteerOptions, SteerScorer

    made, labels = few(rows, 4 * 128 + 3584)
    epochs = 20
    wanted = SteerOptions(heads=4, context=3584, epochs=epochs)
    begin = time.perf_counter()
    SteerScorer.fit(made, labels, options(steer=wanted))
    return {"seconds": (time.perf_counter() - begin) / epochs}


ROWS: dict[str, tuple[Callable[[int, int], dict[str, Any]], str, str]] = {
    "stream": (stream, "rows", "dim"),
    "fit": (fit, "few", "wide"),
    "fit streaming": (fit_streaming, "few", "wide"),
    "folds": (folds, "few", "wide"),
    "steer": (steer, "steer", "wide"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("rows", 1_000_000), ("dim", 1024), ("few", 6000), ("wide", 4096), ("steer", 1000),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=ROWS)
    given = parser.parse_args()
    if given.only:
        measure, rows, dim = ROWS[given.only]
        found = measure(getattr(given, rows), getattr(given, dim))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**found, "peak MiB": peak}))
        return
    for name in ROWS:
        command = [sys.executable, "-m", "benchmarks.fitting", *sys.argv[1:], "--only", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures = json.loads(done.stdout)
        print(f"{name:14}", "  ".join(f"{key} {value:.4g}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
