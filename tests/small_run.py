"""A finished run that is small enough to be changed, broken and made again by many tests.

Its videos are moving shapes and its backbone has random weights: every stage has something to do,
and no figure means anything. What figures must be is tested on the demonstration (test_figures).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipeline.asked import Options
from pipeline.config import load_config
from pipeline.progress import Progress
from pipeline.run import run
from pipeline.toml import render
from tests.small_backbone import build_backbone
from tests.small_world import write_dataset


def write_inputs(folder: Path) -> Path:
    """Write data/, backbone/ and run.toml; returns the path of the last."""
    folder.mkdir(parents=True)
    write_dataset(folder / "data")
    build_backbone(folder / "backbone")
    config = folder / "run.toml"
    values: dict[str, dict[str, Any]] = {
        "run": {"name": folder.name, "runs": "..", "store": "store"},
        "data": {"videos": "data/videos", "labels": "data/labels.csv", "probing_share": 1.0},
        "backbone": {"model": "backbone", "device": "cpu"},
        "forward": {"heads": "all"},
        "explain": {"max_new_tokens": 24},
    }
    config.write_text(render(values, head="A small run for tests."), encoding="utf-8")
    return config


if __name__ == "__main__":
    # In a process of its own: what it imports must not be there yet when tests look at imports.
    sys.exit(
        bool(run(load_config(write_inputs(Path(sys.argv[1]))), Options(), Progress()).failures)
    )
