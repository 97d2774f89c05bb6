"""The synthetic world probed with five draws of the probing subset: figures and layer curves.

`python -m benchmarks.probing_seeds` draws 40 training and 32 test videos, and probes 8 of the
training videos, drawn with seeds 0 to 4 (`data.probing_seed`), over one store. It says for each draw
which layer is chosen, and for every layer its AUC on the test videos, whatever they show.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from demo.breakdown import breakdown
from demo.checkpoint import copy_checkpoint
from demo.dataset import TRAIN, draw_dataset, write_dataset
from manifests.schema import SELECTION
from manifests.table import read_table
from pipeline.asked import Options
from pipeline.config import Config, changed, load_config
from pipeline.demonstration import acts_seen, demo_config
from pipeline.outputs import read_metrics
from pipeline.progress import Progress
from pipeline.run import run

DRAWS = 5


def main() -> None:
    """Parse the command line, run, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--draws", type=int, default=DRAWS)
    options = parser.parse_args()
    base = make(options.out, options.draws)
    draws = [draw(base, options.out, number) for number in range(options.draws)]
    print_figures(draws)
    print_layers(base, options.out, options.draws)


def make(out: Path, draws: int) -> Config:
    """Videos, checkpoint and configuration; returns the latter."""
    out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        write_dataset(out / "data", draw_dataset(0, train=TRAIN * draws), pool)
    copy_checkpoint(out / "backbone")
    (out / "run.toml").write_text(demo_config(out.resolve().name), encoding="utf-8")
    given = {"data.probing_share": 1.0 / draws, "forward.heads": "none", "run.videos": "needed"}
    return changed(load_config(out / "run.toml"), given, "probing_seeds")


def probe(base: Config, name: str, given: dict[str, object]) -> Config:
    """A run of its own results over the common store, until its figures are there."""
    config = changed(base, {**given, "run.name": name}, name)
    if config.results.exists():
        shutil.rmtree(config.results)
    run(config, Options(until="evaluate"), Progress(quiet=True))
    return config


def draw(base: Config, out: Path, number: int) -> dict[str, float]:
    """The figures of one draw of the probing subset."""
    config = probe(base, f"{out.resolve().name}-draw-{number}", {"data.probing_seed": number})
    metrics = read_metrics(config.results)
    assert metrics is not None
    rows = read_table(config.results / "layers.parquet", SELECTION).to_pylist()
    return {
        "layer": next(row["layer"] for row in rows if row["chosen"]),
        "AUC": 100 * metrics["auc"],
        "AP": 100 * metrics["ap"],
        "within": 100 * metrics["macro_within_video_auc"],
        **{
            name: 100 * value
            for name, value in breakdown(acts_seen(config.results, out / "data/acts.csv")).items()
        },
    }


def print_figures(draws: Sequence[dict[str, float]]) -> None:
    """A column for each draw."""
    for name in draws[0]:
        cells = "".join(
            f"{one[name]:8.1f}" if name != "layer" else f"{one[name]:8d}" for one in draws
        )
        print(f"{name:28s}{cells}")


def print_layers(base: Config, out: Path, draws: int) -> None:
    """For each layer and draw its z-score sum and its AUC on the test videos."""
    print("\nlayer: score of the selection / AUC on the test videos, for each draw")
    lines: dict[int, list[str]] = {}
    for number in range(draws):
        chosen = base.results.parent / f"{out.resolve().name}-draw-{number}" / "layers.parquet"
        for row in read_table(chosen, SELECTION).to_pylist():
            if row["score"] is None:  # the embedding of the last token: the same in every segment
                continue
            given = {"data.probing_seed": number, "select.method": f"fixed:{row['layer']}"}
            config = probe(base, f"{out.resolve().name}-layer", given)
            metrics = read_metrics(config.results)
            assert metrics is not None
            mark = "*" if row["chosen"] else " "
            cell = f"{row['score']:6.2f} /{100 * metrics['auc']:5.1f}{mark}"
            lines.setdefault(row["layer"], []).append(cell)
    for layer, cells in sorted(lines.items()):
        print(f"{layer:5d}  {'  '.join(cells)}")


if __name__ == "__main__":
    main()
