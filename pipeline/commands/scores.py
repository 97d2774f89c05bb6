"""`hiprobe evaluate-scores`: scores that anybody made, measured as our own are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import JSON, SET, print_value


@click.command("evaluate-scores", short_help="Measure the scores of any other system.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    "config",
    required=True,
    type=click.Path(path_type=Path),
    help="Configuration whose section [data] says what the test videos are.",
)
@click.option(
    "--unit",
    type=click.Choice(["auto", "frame", "clip"]),
    default="auto",
    show_default=True,
    help="What one score of a plain list is of; auto tells by how many there are.",
)
@click.option(
    "--clip", type=click.IntRange(1), default=16, show_default=True, help="Frames a clip."
)
@click.option(
    "--labels",
    type=click.Choice(["exact", "floor16", "inclusive"]),
    help="How annotations are read (default: evaluate.labels).",
)
@click.option("--threshold", type=float, help="Scores above it are alarms; none without it.")
@click.option("--column", default="", help="Column of a table that holds the scores.")
@click.option(
    "--allow-short",
    "short",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Leave out up to N frames at the end of a video that have no score.",
)
@click.option("--allow-missing", is_flag=True, help="Leave out test videos that have no scores.")
@click.option("--bootstrap", type=click.IntRange(0), metavar="N", help="Replicates.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the replicates.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for metrics.json."
)
@SET
@JSON
def evaluate_scores(
    file: Path,
    config: Path,
    unit: Any,
    clip: int,
    labels: Any,
    threshold: float | None,
    column: str,
    short: int,
    allow_missing: bool,
    bootstrap: int | None,
    seed: int | None,
    out: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure scores of any system as a run's own are: same frames, figures and baselines.

    FILE is JSON, CSV, Parquet, .npz, a folder of .npy, or one .npy for all test videos. A video has
    a score per frame, per clip, or per interval of frames.
    """
    from manifests.scores.units import Fitting
    from pipeline import outside_scores as outside
    from pipeline.config import load_config

    fitting = Fitting(unit, clip, short)
    choices = outside.Choices(fitting, column, labels, threshold, bootstrap, seed, allow_missing)
    found = outside.evaluate_scores(load_config(config, overrides), file, choices)
    if out is not None:
        outside.write_evaluation(found, out)
    print_value(found.metrics, outside.scores_text, as_json)
