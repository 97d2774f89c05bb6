"""The smallest run that has work for every stage: it is killed, filled up and raced hundreds of times.

Three configurations share one store, so that all stages of the graph come in: one that chooses a
layer, one that cross-validates it and passes the other videos a second time, one that chooses heads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

from pipeline.asked import Options, Summary
from pipeline.config import Config, load_config
from pipeline.progress import Progress
from pipeline.run import run
from pipeline.toml import render
from tests import small_backbone
from tests.small_world import Clip, write_video

CLIPS = (
    Clip("train/a.mp4", 10, 4),
    Clip("train/b.mp4", 10, 3),
    Clip("train/c.mp4", 10, 6, "fire", ((2.0, 5.0),)),
    Clip("train/d.mp4", 10, 3, "fight", ((0.5, 2.2),)),
    Clip("test/e.mp4", 10, 3),
    Clip("test/f.mp4", 10, 5, "fire", ((1.0, 3.5),)),
)
SCENARIOS: dict[str, tuple[str, ...]] = {
    "layer": (),
    "cv": ('select.method="cv"', 'forward.test_layers="selected"'),
    "heads": ('select.method="rhi"',),
}
"""Overrides by name; what stages have in common is made once."""
SHARD_ROWS = 3
"""Segments of a shard in these runs: the longer videos have several, which survive a kill."""

VALUES: dict[str, dict[str, Any]] = {
    "run": {"name": "tiny", "runs": "runs", "store": "store"},
    "data": {"videos": "data/videos", "labels": "data/labels.csv", "probing_share": 1.0},
    "backbone": {"model": "backbone", "device": "cpu"},
    "sample": {"segment_frames": 6, "keyframes": 1},
    "forward": {"heads": "all", "batch": 2},
    "statistics": {"replicates": 3},
    "heads": {"replicates": 3, "starts": 1},
    "crossvalidate": {"folds": 2, "replicates": 3, "max_iter": 20},
    "fit": {"folds": 2, "max_iter": 30},
    "evaluate": {"bootstrap": 3},
    "explain": {"max_new_tokens": 2, "keyframes": 1},
    "projection": {"iterations": 250, "perplexity": 3.0},
    "report": {"videos": 1, "thumbnails": 1},
}


def write_inputs(folder: Path) -> None:
    """Write data/, backbone/ and run.toml."""
    for number, clip in enumerate(CLIPS):
        write_video(folder / "data" / "videos" / clip.path, clip, [0, number])
    lines = ["video,split,label,class,start_frame,end_frame"]
    for clip in CLIPS:
        for start, end in clip.intervals or (("", ""),):
            lines.append(f"{clip.path},{clip.split},{clip.label},{clip.kind},{start},{end}")
    (folder / "data" / "labels.csv").write_text("\n".join(lines) + "\n")
    with mock.patch.multiple(small_backbone, WIDTH=32, LAYERS=3, HEADS=2, VISION_WIDTH=32):
        small_backbone.build_backbone(folder / "backbone")
    (folder / "run.toml").write_text(render(VALUES, head="The smallest run."), encoding="utf-8")


def config_of(folder: Path, scenario: str, *overrides: str) -> Config:
    """One of the three configurations; its results lie in a folder of their own."""
    return load_config(
        folder / "run.toml", [*SCENARIOS[scenario], f'run.name="{scenario}"', *overrides]
    )


def run_all(folder: Path, *overrides: str, until: str = "") -> list[Summary]:
    """Run the three configurations one after the other in this process."""
    from cache import shards

    shards.SHARD_ROWS = SHARD_ROWS
    return [
        run(config_of(folder, name, *overrides), Options(until=until), Progress(quiet=True))
        for name in SCENARIOS
    ]


def make(folder: Path) -> None:
    """Write the inputs, run everything, and note in made.json which stages each run has made."""
    write_inputs(folder)
    made = {}
    for name, summary in zip(SCENARIOS, run_all(folder), strict=True):
        assert not summary.failures, summary.failures
        made[name] = [stage for stage, count in summary.built.items() if count]
    (folder / "made.json").write_text(json.dumps(made))
