"""How long it takes to run only what follows the features again, over a store of full UCF-Crime size.

    python -m benchmarks.scoring [--segments 46460 --layers 33 --dim 4096] [--keep DIR]

Makes a store whose features are synthetic (290 test videos with so many segments in all, and 16 training
videos, in the layout that stage forward writes; 13.9 GB for the default), then times whole `hiprobe
run --until evaluate` processes after a change of the scorer or of kappa: fit, score, threshold,
localize and evaluate, with nothing before them. Prints wall seconds, peak memory, bytes read, and
the ratio to the limit measured in the same run: a process that reads that one layer of every video
and does nothing with it. Everything is read once before it is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.arrays import shard_rows, write_states
from cache.catalog import StageCatalog, save_catalog
from cache.digest import write_json
from cache.store import Store
from manifests.schema import SEGMENTS
from manifests.table import table_digest, write_table
from pipeline.asked import Options
from pipeline.config import load_config
from pipeline.gather import Choices, gather
from pipeline.graph import NODES
from pipeline.inputs import Inputs
from pipeline.plan import plan_all, plan_stage
from pipeline.progress import Progress
from pipeline.run import run
from pipeline.values import recipe_of_node

TEST, TRAIN = 290, 16
FRAMES = 24
FPS = 30.0
POOL = 2048
"""Different random rows; which of them a segment has differs from layer to layer."""
QUESTION = "Describe the video and decide whether it shows an abnormal event."
LIMIT = """
import sys
from pathlib import Path
from cache.arrays import States
layer = int(sys.argv[1])
for path in sorted(Path(sys.argv[2]).glob("*/*/states.zarr")):
    States.open(path).layer(layer)
"""
CHANGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("kappa = 0.5", ("localize.kappa=0.5",)),
    ("a fixed threshold", ("localize.threshold=fixed:0.5",)),
    ("smoothing over 1.5 segments", ("localize.sigma=1.5",)),
    ("logistic regression, C = 0.1", ("fit.c=0.1",)),
    ("logistic regression, streaming", ("fit.solver=streaming",)),
    ("nearest mean", ("fit.scorer=distance",)),
    ("Mahalanobis", ("fit.scorer=mahalanobis",)),
    ("MLP", ("fit.scorer=mlp",)),
    ("MLP, nothing held out", ("fit.scorer=mlp", "fit.folds=0")),
    ("SVM", ("fit.scorer=svm",)),
)


@dataclass(frozen=True)
class Size:
    """What is made."""

    segments: int
    layers: int
    dim: int

    def of_video(self, number: int) -> int:
        """Segments of a video: half to one and a half times the mean, the same on every run."""
        shares = 0.5 + np.random.default_rng(0).random(TEST)
        borders = np.round(np.cumsum(shares) / shares.sum() * self.segments).astype(int)
        found = int(np.diff(borders, prepend=0)[number % TEST])
        return found if number < TEST else 2 * found  # as in UCF-Crime


def make_data(root: Path, size: Size) -> None:
    """A folder of tiny files that stand for videos, labels for them, and a configuration."""
    lines = ["video,split,label,class,start_frame,end_frame"]
    (root / "videos").mkdir()
    for number in range(TEST + TRAIN):
        split, label = ("test" if number < TEST else "train"), number % 2
        (root / "videos" / f"{split}{number:03}.mp4").write_bytes(b"video %d" % number)
        third = FRAMES * size.of_video(number) // 3
        span = f"{third},{2 * third}" if label else ","
        kind = "Event" if label else "Normal"
        lines.append(f"{split}{number:03}.mp4,{split},{label},{kind},{span}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    (root / "run.toml").write_text(
        f'[run]\nname = "base"\n[data]\nvideos = "videos"\nlabels = "labels.csv"\n'
        f'probing_count = {TRAIN}\nprobing_labels = "frame"\n[backbone]\nmodel = "model"\n'
        f'[forward]\nprompts = ["{QUESTION}"]\n[select]\nmethod = "fixed:{chosen(size)}"\n'
    )
    (root / "model").mkdir()
    (root / "model" / "config.json").write_text('{"model_type": "internvl", "dtype": "bfloat16"}')
    (root / "model" / "model.safetensors").write_bytes(b"weights")


def chosen(size: Size) -> int:
    """The layer that is scored."""
    return min(20, size.layers - 1)


def write_plan(folder: Path, segments: int) -> None:
    starts = FRAMES * np.arange(segments)
    columns = {
        "segment": np.arange(segments), "start_frame": starts, "end_frame": starts + FRAMES,
        "start_s": starts / FPS, "end_s": (starts + FRAMES) / FPS,
    }  # fmt: skip
    write_table(folder / "segments.parquet", SEGMENTS, columns)


def write_decoded(folder: Path, segments: int) -> None:
    frames = FRAMES * segments
    found = {"n_frames": frames, "fps": FPS, "width": 320, "height": 240}
    write_json(folder / "video.json", {**found, "duration_s": frames / FPS})


@dataclass(frozen=True, eq=False)
class Features:
    """Hidden states in which anomalous segments lie a little apart, more so in later layers."""

    size: Size
    pool: Any
    direction: Any

    @classmethod
    def of(cls, size: Size) -> Features:
        generator = np.random.default_rng(1)
        pool = generator.standard_normal((POOL, size.dim), dtype=np.float32).astype(np.float16)
        direction = (0.03 * generator.standard_normal(size.dim)).astype(np.float16)
        return cls(size, pool, direction)

    def write(self, folder: Path, number: int) -> None:
        """states.zarr and states.json of a video."""
        segments = self.size.of_video(number)
        inside = np.arange(segments)
        anomalous = (inside >= segments // 3) & (inside < 2 * segments // 3) & (number % 2 == 1)
        rows = shard_rows(segments)

        def blocks() -> Any:
            for start in range(0, segments, rows):
                part = slice(start, min(start + rows, segments))
                block = np.empty((part.stop - start, 1, *self._inner), dtype=np.float16)
                for layer in range(self.size.layers):
                    at = (7919 * number + 131 * layer + inside[part]) % POOL
                    block[:, 0, layer] = self.pool[at]
                    gain = np.float16(layer / self.size.layers)
                    block[anomalous[part], 0, layer] += gain * self.direction
                yield block

        write_states(
            folder / "states.zarr", blocks(), segments=segments, layers=range(self.size.layers),
            dim=self.size.dim, logical_dtype="float16",
        )  # fmt: skip
        write_json(folder / "states.json", {"prompts": [{"question": QUESTION}]})

    @property
    def _inner(self) -> tuple[int, int]:
        return self.size.layers, self.size.dim


def fill_store(config_path: Path, size: Size) -> None:
    """Commit what stages decode, sample and forward would have made of such videos."""
    config = load_config(config_path)
    run(config, Options(until="index"), Progress(quiet=True))
    store, features = Store.open(config.store), Features.of(size)
    writers: Mapping[str, Callable[[Path, int], None]] = {
        "decode": lambda folder, number: write_decoded(folder, size.of_video(number)),
        "sample": lambda folder, number: write_plan(folder, size.of_video(number)),
        "forward": features.write,
    }
    world = gather(config, store, Choices())
    for stage, write in writers.items():
        _fill_stage(store, world, stage, write, size)
        world = gather(config, store, Choices())


def _fill_stage(
    store: Store, world: Any, stage: str, write: Callable[[Path, int], None], size: Size
) -> None:
    node, plans = NODES[stage], plan_all(world)
    inputs = Inputs(node, world, plans)
    videos = {video.video_id: video for video in world.videos or ()}
    catalog = world.committed.get(stage) or StageCatalog()
    for item in plan_stage(node, world, plans).todo:
        text = inputs.text(item, videos[item])
        assert text is not None
        number = int(item.removeprefix("test").removeprefix("train"))
        recipe = recipe_of_node(node, world)
        with store.draft(stage, world.versions[stage], recipe, json.loads(text)) as draft:
            assert draft.key == plans[stage].keys[item]
            write(draft.path, number)
            made = store.publish(draft, rows=size.of_video(number), logical=table_digest)
        catalog.add(made.key, made.digest, made.commit.rows, made.commit.bytes)
    save_catalog(store, {stage: catalog})


def watched(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, peak memory in MB and gigabytes read by a command that must succeed."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    folder, peak, read = Path(f"/proc/{process.pid}"), 0, 0
    while process.poll() is None:
        with contextlib.suppress(OSError, StopIteration, ProcessLookupError):
            lines = (folder / "status").read_text().splitlines()
            found = next(line for line in lines if line.startswith("VmHWM"))
            peak = max(peak, int(found.split()[1]))
            read = max(read, int((folder / "io").read_text().split()[1]))
        time.sleep(0.005)
    wall = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return wall, peak / 1000, read / 1e9


def rerun(config: Path, *changes: str) -> list[str]:
    sets = [word for change in changes for word in ("--set", change)]
    return [
        sys.executable, "-m", "pipeline", "run", str(config), "--quiet", "--until", "evaluate", *sets
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--segments", type=int, default=46460, help="of the test videos")
    parser.add_argument("--layers", type=int, default=33)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--changes", nargs="*", type=int, help="numbers of the changes, from 0")
    parser.add_argument(
        "--keep", type=Path, help="make the data here and keep it, or use what is there"
    )
    options = parser.parse_args()
    size = Size(options.segments, options.layers, options.dim)
    root = options.keep or Path(tempfile.mkdtemp(prefix="hiprobe-bench-"))
    try:
        config = root / "run.toml"
        if not config.exists():
            root.mkdir(exist_ok=True)
            began = time.perf_counter()
            make_data(root, size)
            fill_store(config, size)
            print(f"made the store in {time.perf_counter() - began:.0f} s", flush=True)
        measure(config, root / "hiprobe-store" / "forward", size, options.changes)
    finally:
        if not options.keep:
            shutil.rmtree(root)


def measure(config: Path, features: Path, size: Size, numbers: list[int] | None) -> None:
    segments = sum(size.of_video(number) for number in range(TEST + TRAIN))
    layer = segments * size.dim * 2 / 1e9
    print(f"{segments} segments x {size.layers} layers x {size.dim}, one layer {layer:.2f} GB")
    wall, peak, _ = watched(rerun(config))
    print(f"the first run, with statistics and selection: {wall:.1f} s, {peak:.0f} MB", flush=True)
    read = [sys.executable, "-c", LIMIT, str(chosen(size)), str(features)]
    watched(read)
    limit, peak, amount = min(watched(read) for _ in range(3))
    print("\n| changed | seconds | ratio to the limit | peak MB | GB read |\n|---|---|---|---|---|")
    print(f"| the limit: one layer read | {limit:.1f} | 1.0 | {peak:.0f} | {amount:.2f} |")
    for number, (name, changes) in enumerate(CHANGES):
        if numbers is None or number in numbers:
            wall, peak, amount = watched(rerun(config, *changes))
            print(
                f"| {name} | {wall:.1f} | {wall / limit:.1f} | {peak:.0f} | {amount:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
