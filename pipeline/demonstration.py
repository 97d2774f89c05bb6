"""`hiprobe demo`: a synthetic data set, a small backbone, every stage, the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pipeline.config import load_config
from pipeline.metrics import metrics_text
from pipeline.outputs import read_metrics
from pipeline.progress import Progress, clock
from pipeline.run import Options, run
from pipeline.toml import render
from pipeline.view import summary_text

NOTE = (
    "The backbone of this demonstration is untrained: a small InternVL with random weights. It shows "
    "that every stage works; its figures say nothing about the method."
)
HEAD = "The demonstration: synthetic videos, an untrained backbone, every stage."


def demonstrate(out: Path, seed: int, echo: Callable[[str], None]) -> bool:
    """Run the demonstration in the folder `out`; returns whether any item failed.

    `out` becomes the results folder of the run and holds its inputs too: data/, backbone/, store/
    and run.toml, so that every other command can be tried on it.
    """
    from demo.backbone import build_backbone
    from demo.world import write_dataset

    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    echo(f"1/3  synthetic surveillance videos -> {out / 'data'}")
    write_dataset(out / "data", seed)
    echo(
        f"2/3  a small InternVL with random weights, saved like a checkpoint -> {out / 'backbone'}"
    )
    build_backbone(out / "backbone", seed)
    config = out / "run.toml"
    config.write_text(demo_config(out.resolve().name), encoding="utf-8")
    echo(f"3/3  hiprobe run {config}")
    settings = load_config(config)
    summary = run(settings, Options(), Progress())
    echo(summary_text(summary))
    metrics = read_metrics(settings.results)
    if metrics is not None:
        echo(f"\nResults on the synthetic test videos. UNTRAINED BACKBONE. {NOTE}\n")
        echo(metrics_text(metrics))
    echo(f"\nreport: {out / 'report.html'}    all in {clock(time.monotonic() - began)}")
    echo(f"next:   hiprobe plan {config} --set localize.kappa=0.5")
    return bool(summary.failures)


def demo_config(name: str) -> str:
    """The configuration of the demonstration."""
    return render(
        {
            "run": {"name": name, "runs": "..", "store": "store"},
            "data": {
                "videos": "data/videos",
                "labels": "data/labels.csv",
                "probing_share": 1.0,
            },
            "backbone": {"model": "backbone", "device": "cpu"},
            "explain": {"max_new_tokens": 24},
            "report": {"note": NOTE},
        },
        head=HEAD,
    )
