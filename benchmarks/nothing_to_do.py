"""How long `status`, `plan` and a `run` take when there is nothing to do.

    python -m benchmarks.nothing_to_do [--videos 6654] [--keep DIR]

Makes a data set of tiny files and a store in which every artifact of every stage is committed
(records are real, payloads are empty: what a no-op looks at are folders, the catalog and the
manifests), then times whole processes. Prints wall seconds (median of the runs), peak memory, and
the ratio to the limit measured in the same run: a process that starts Python, imports click and
pyarrow, and looks once at every source file and every artifact folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cache import sums
from cache.catalog import StageCatalog, save_catalog
from cache.commit import RECORD, Commit, content_digest
from cache.keys import canonical
from cache.store import Store
from pipeline import outputs
from pipeline.asked import Options
from pipeline.config import load_config
from pipeline.gather import Choices, gather
from pipeline.graph import GRAPH
from pipeline.inputs import Inputs
from pipeline.plan import plan_stage
from pipeline.progress import Progress
from pipeline.record import write_manifest
from pipeline.run import run
from pipeline.values import recipe_of_node

LIMIT = """
import os, sys
import click, pyarrow.parquet
seen = 0
def look(folder):
    global seen
    with os.scandir(folder) as entries:
        for entry in entries:
            seen += 1
            if entry.is_dir(follow_symlinks=False) and len(entry.name) < 64:
                look(entry.path)
            elif entry.name.endswith(".mp4"):
                entry.stat()
for folder in sys.argv[1:]:
    look(folder)
"""


def make_data(root: Path, videos: int) -> None:
    """A folder of tiny files that stand for videos, labels for them, and a configuration."""
    folder = root / "videos"
    lines = ["video,split,label,class,start_frame,end_frame"]
    for number in range(videos):
        part = folder / f"part{number % 100:02}"
        if number < 100:
            part.mkdir(parents=True)
        name = f"part{number % 100:02}/v{number:06}.mp4"
        (folder / name).write_bytes(b"video %d" % number)
        label = number % 2
        split = "train" if number % 5 < 4 else "test"
        span = "0,48" if label and split == "test" else ","
        lines.append(f"{name},{split},{label},{'Event' if label else 'Normal'},{span}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    config = root / "run.toml"
    config.write_text(
        '[data]\nvideos = "videos"\nlabels = "labels.csv"\n[backbone]\nmodel = "model"\n'
    )
    model = root / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "internvl", "dtype": "bfloat16"}')
    (model / "model.safetensors").write_bytes(b"weights")
    old = time.time_ns() - 10**11  # old enough for their digests to be remembered
    for path in folder.rglob("*.mp4"):
        os.utime(path, ns=(old, old))


def fill_store(config_path: Path) -> None:
    """Commit an empty artifact for everything that the planner asks for."""
    config = load_config(config_path)
    run(config, Options(until="index"), Progress(quiet=True))
    store = Store.open(config.store)
    world = gather(config, store, Choices())
    plans: dict[str, Any] = {}
    for node in GRAPH:
        plan = plan_stage(node, world, plans)
        catalog = world.committed.setdefault(node.name, StageCatalog())  # type: ignore[attr-defined]
        inputs = Inputs(node, world, plans)
        videos = {v.video_id: v for v in world.videos or ()}
        for item in plan.todo:
            text = inputs.text(item, videos.get(item))
            assert text is not None
            _commit(store, node.name, plan.keys[item], recipe_of_node(node, world), text, catalog)
        plans[node.name] = plan_stage(node, world, plans)
        save_catalog(store, {node.name: catalog})
        write_manifest(config.results, plans[node.name], world, store, {})
    _pretend_outputs()
    outputs.write_outputs(config, world, plans, store)


def _commit(
    store: Store, stage: str, key: str, recipe: Any, inputs: str, catalog: StageCatalog
) -> None:
    # The content digest is made from the key, so that later stages have inputs of their own.
    digest = content_digest(())[:32] + key[:32]
    commit = Commit(stage, 1, key, recipe, json.loads(inputs), (), digest, 1, {"all": 1.0})
    folder = store.folder(stage, key)
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(canonical(commit.to_json()))
    catalog.add(key, digest, 1, 0)


def _pretend_outputs() -> None:
    """The results of the run are taken as written: only their state is, beside empty files."""

    def pretend(self: Any, name: str, state: str, write: Any, inside: tuple[str, ...] = ()) -> None:
        path = self._folder / name
        for file in [path / each for each in inside] or [path]:
            file.parent.mkdir(exist_ok=True)
            file.touch()
            sums.note(file)
        self._state[name] = state

    outputs._Outputs._renew = pretend  # type: ignore[method-assign]


def measure(command: list[str], runs: int) -> tuple[float, float]:
    """Median wall seconds and peak memory in MB of a command that must succeed."""
    peak = peak_memory(command)  # a run that is not timed, and warms the disk cache
    walls = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        walls.append(time.perf_counter() - began)
    return statistics.median(walls), peak


def peak_memory(command: list[str]) -> float:
    """Highest resident memory of a command in MB, watched every few milliseconds.

    Not the kernel's account of the finished process: that begins with the memory of this one,
    from which it is forked.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, StopIteration, ProcessLookupError):
            lines = status.read_text().splitlines()
            found = next(line for line in lines if line.startswith("VmHWM"))
            peak = max(peak, int(found.split()[1]))
        time.sleep(0.003)
    return peak / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=int, default=6654, help="UCF-Crime and XD-Violence")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--keep", type=Path, help="make the data here and keep it, or use what is there"
    )
    options = parser.parse_args()
    root = options.keep or Path(tempfile.mkdtemp(prefix="hiprobe-bench-"))
    try:
        began = time.perf_counter()
        config = root / "run.toml"
        if not config.exists():
            make_data(root, options.videos)
            print(f"made the data in {time.perf_counter() - began:.0f} s", flush=True)
            fill_store(config)
        artifacts = sum(1 for _ in (root / "hiprobe-store").glob(f"*/??/*/{RECORD}"))
        print(f"{options.videos} videos, {artifacts} artifacts")
        python = [sys.executable]
        store = str(root / "hiprobe-store")
        limit, memory = measure([*python, "-c", LIMIT, str(root / "videos"), store], options.runs)
        print("\n| command | seconds | peak MB | ratio to the limit |\n|---|---|---|---|")
        print(f"| look at every file and folder once (limit) | {limit:.2f} | {memory:.0f} | 1.0 |")
        hiprobe = [*python, "-m", "pipeline"]
        for name in ("status", "plan", "run"):
            more = ["--check"] if name == "plan" else []
            wall, memory = measure([*hiprobe, name, str(config), *more], options.runs)
            print(f"| `hiprobe {name}` | {wall:.2f} | {memory:.0f} | {wall / limit:.1f} |")
        wall, memory = measure([*hiprobe, "--help"], options.runs)
        print(f"| `hiprobe --help` | {wall:.2f} | {memory:.0f} | |")
    finally:
        if not options.keep:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
