"""`hiprobe demo`: a synthetic surveillance world, a small trained backbone, every stage, variants."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from demo.breakdown import Acted, breakdown_text, read_acts
from manifests.schema import RUN_INTERVALS, RUN_SCORES, SELECTION, VIDEOS
from manifests.table import read_table
from pipeline.asked import Options
from pipeline.comparison import compare, comparison_text, write_comparison
from pipeline.config import Config, load_config
from pipeline.metrics import metrics_text
from pipeline.outputs import read_metrics
from pipeline.progress import Progress, clock
from pipeline.run import run
from pipeline.toml import render
from pipeline.variants import FOLDER, Variant, VariantRun, run_variants
from pipeline.view import summary_text

NOTE = (
    "The videos are synthetic and the backbone is a small InternVL that was trained on other videos "
    "of the same synthetic world: the figures show how the method works, not how well it does on "
    "real cameras."
)
HEAD = "The demonstration: synthetic videos, a small trained backbone, every stage."
PROMPTS = (
    "Is it abnormal? Answer yes or no.",
    "Does the video show an abnormal event?",
    "Describe the video and decide whether it shows an abnormal event.",
)
"""The states of the first are probed: its answer's first word is the verdict. The others are there for
heads, which are to be stable over all of them."""

Echo = Callable[[str], None]


def demonstrate(out: Path, seed: int, echo: Echo) -> bool:
    """Run the demonstration in the folder `out`; returns whether anything failed.

    `out` becomes the results folder of the run and holds its inputs too: data/, backbone/, store/
    and run.toml, so that every other command can be tried on it. The results of the variants lie in
    variants/, a table of them all in variants.parquet. The seed is that of the videos.
    """
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    _make_inputs(out, seed, echo)
    config = out / "run.toml"
    config.write_text(demo_config(out.resolve().name), encoding="utf-8")
    echo(f"3/4  hiprobe run {config}")
    settings = load_config(config)
    summary = run(settings, Options(), Progress())
    echo(summary_text(summary))
    failed = bool(summary.failures)
    metrics = read_metrics(settings.results)
    if metrics is not None:
        layers = read_table(settings.results / "layers.parquet", SELECTION)["layer"].to_pylist()
        variants = demo_variants(max(layers))
        echo(f"4/4  {len(variants) - 1} variants of it, over the same store")
        runs = run_variants(settings, variants, Progress())
        failed |= any(one.problem for one in runs)
        echo(f"\nResults on the synthetic test videos. {NOTE}\n")
        echo(metrics_text(metrics))
        echo(f"\n{breakdown_text(acts_seen(settings.results, out / 'data' / 'acts.csv'))}")
        echo(_comparison(settings, runs))
    echo(f"report: {out / 'report.html'}    all in {clock(time.monotonic() - began)}")
    echo(f"next:   hiprobe plan {config} --set localize.kappa=0.5")
    return failed


def _make_inputs(out: Path, seed: int, echo: Echo) -> None:
    """Write the videos with their labels, and the checkpoint."""
    from demo.checkpoint import copy_checkpoint
    from demo.dataset import draw_dataset, write_dataset

    echo(f"1/4  synthetic surveillance videos -> {out / 'data'}")
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        write_dataset(out / "data", draw_dataset(seed), pool)
    echo(f"2/4  the small InternVL that comes with hiprobe -> {out / 'backbone'}")
    copy_checkpoint(out / "backbone")


def acts_seen(results: Path, acts: Path) -> list[Acted]:
    """What a run over the synthetic world made of every act of its test videos."""
    videos = read_table(results / "videos.parquet", VIDEOS).to_pylist()
    paths = {video["video_id"]: video["path"] for video in videos if video["split"] == "test"}
    scores: dict[str, list[float]] = {path: [] for path in paths.values()}
    for row in read_table(results / "scores.parquet", RUN_SCORES).to_pylist():
        if row["video_id"] in paths:
            frames = row["end_frame"] - row["start_frame"]
            scores[paths[row["video_id"]]] += [row["smoothed"]] * frames
    spans: dict[str, list[tuple[int, int]]] = {}
    for row in read_table(results / "intervals.parquet", RUN_INTERVALS).to_pylist():
        if row["video_id"] in paths:
            found = spans.setdefault(paths[row["video_id"]], [])
            found.append((row["start_frame"], row["end_frame"]))
    return read_acts(acts, {path: np.asarray(s) for path, s in scores.items() if s}, spans)


def _comparison(settings: Config, runs: Sequence[VariantRun]) -> str:
    """The table of the variants, written and in words."""
    rows = compare(runs)
    path = write_comparison(settings.results, rows)
    return (
        f"\nthe run beside its variants:\n{comparison_text(rows)}\n"
        f"\ntable:  {path}    one row: hiprobe show {path.parent / FOLDER / 'NAME' / 'config.toml'}"
    )


def demo_variants(layers: int) -> tuple[Variant, ...]:
    """What the demonstration compares, for a backbone with so many layers.

    The ablations of HiProbe-VAD (arXiv 2507.17394): the layer, the scorer and the threshold; and
    attention heads in place of a layer, as HeadHunt-VAD (arXiv 2512.17601) chooses them.
    """
    middle = layers // 2
    scorers = [
        Variant(name, text, {"fit.scorer": name})
        for name, text in (
            ("svm", "support vector machine, RBF kernel"),
            ("distance", "distance to the class means"),
            ("mahalanobis", "Mahalanobis distance to the class means"),
        )
    ]
    fixed = [
        Variant(
            f"threshold-{value}",
            f"a fixed threshold of {value}",
            {"localize.threshold": f"fixed:{value}"},
        )
        for value in (0.25, 0.5, 0.75)
    ]
    return (
        Variant("dlsp", "layer by KL + LDR + entropy, logistic regression"),
        Variant("last", "the last layer", {"select.method": "last"}),
        Variant(f"fixed-{middle}", "the middle layer", {"select.method": f"fixed:{middle}"}),
        *scorers,
        *fixed,
        Variant("heads", "the 5 most stable attention heads", {"select.method": "rhi"}),
    )


def demo_config(name: str) -> str:
    """The configuration of the demonstration."""
    return render(
        {
            "run": {"name": name, "runs": "..", "store": "store"},
            "data": {
                "videos": "data/videos",
                "labels": "data/labels.csv",
                "probing_share": 1.0,
                "probing_labels": "frame",
            },
            "backbone": {"model": "backbone", "device": "cpu"},
            "forward": {"prompts": list(PROMPTS), "heads": "all"},
            "explain": {"max_new_tokens": 40},
            "report": {"note": NOTE},
        },
        head=HEAD,
    )
