"""Four ways to get the hidden states of the same segments; each runs in a process of its own.

a  the model alone on tensors that lie ready on the device: the limit
b  the forward stage, as `hiprobe run --only forward` does it: decoded, prepared, run, written,
   hashed and committed
c  what a user would write: decode a video once, generate() with output_hidden_states one segment at
   a time, torch.save per video
d  as published code does it: c, but the video is opened anew for every segment
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.random_backbone import RandomInternVL
from cache.store import Store
from manifests import schema
from manifests.table import read_table
from pipeline.asked import Options
from pipeline.assemble import backbone_reference
from pipeline.config import Config, make_config
from pipeline.gather import Choices, gather
from pipeline.plan import plan_all
from pipeline.progress import Progress
from pipeline.run import run
from stages.backbones import load
from stages.backbones.contract import Picture, Prompt, Wanted
from stages.backbones.multimodal import Multimodal
from stages.forward import Settings, prompts_of

FPS = 30


@dataclasses.dataclass
class Bench:
    """One benchmark world on disk, and how it is run."""

    work: Path
    device: str
    dtype: str
    batch: int
    """Segments per pass of a and b; 0 lets b find it."""

    def config(self, store: str) -> Config:
        """The configuration of the runs; `store` is the folder of the cache."""
        raw = {
            "run": {"name": "bench", "store": store, "runs": f"{store}-runs"},
            "data": {"videos": "videos"},
            "backbone": {"model": "backbone", "dtype": self.dtype, "device": self.device},
            "forward": {"batch": self.batch},
        }
        return make_config(raw, folder=self.work)

    def backbone(self) -> Multimodal:
        """The loaded backbone."""
        family = RandomInternVL(self.work / "backbone", self.device)
        return Multimodal(family, self.dtype, "sdpa", self.device)

    def plans(self) -> dict[Path, list[list[int]]]:
        """Frames of the keyframes of every segment, by video."""
        store = Store.open(self.work / "store")
        world = gather(self.config("store"), store, Choices())
        keys = plan_all(world)["sample"].keys
        found = {}
        for video in world.videos or ():
            path = store.artifact("sample", keys[video.video_id]).file("keyframes.parquet")
            rows = read_table(path, schema.KEYFRAMES, ["segment", "frame"]).to_pydict()
            groups: dict[int, list[int]] = {}
            for segment, frame in zip(rows["segment"], rows["frame"], strict=True):
                groups.setdefault(segment, []).append(frame)
            found[world.data / video.path] = [groups[n] for n in sorted(groups)]
        return found


@dataclasses.dataclass
class Measured:
    """What one way took."""

    seconds: float
    segments: int
    peak_bytes: int
    """Beyond the loaded model: allocated on the GPU, or resident on a CPU."""
    batch: int = 1


class Meter:
    """Seconds and memory of what runs between `start` and `stop`."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")

    def start(self) -> None:
        """Begin."""
        if self._cuda:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self._base = torch.cuda.memory_allocated()
        else:
            gc.collect()
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
            self._base = _memory("VmRSS")
        self._began = time.perf_counter()

    def stop(self, segments: int, batch: int) -> Measured:
        """End."""
        if self._cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self._began
        top = torch.cuda.max_memory_allocated() if self._cuda else _memory("VmHWM")
        return Measured(seconds, segments, top - self._base, batch)


def measure(way: str, bench: Bench) -> Measured:
    """Run one way over all segments."""
    return {"a": limit, "b": stage, "c": naive, "d": reopening}[way](bench)


def limit(bench: Bench) -> Measured:
    """The bare model on ready tensors, in batches of the size that b used."""
    backbone = bench.backbone()
    (prompt,) = prompts_of(Settings())
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (8, 240, 320, 3), dtype=np.uint8)
    item = backbone.prepare(list(pictures), [n / 10 for n in range(8)], [prompt])
    batch = [item] * bench.batch
    count = sum(len(groups) for groups in bench.plans().values())
    visual = backbone._visual(batch)
    ids = torch.from_numpy(np.stack([one.token_ids[0] for one in batch])).to(backbone._model.device)
    model = backbone._model.model
    meter = Meter(bench.device)
    with torch.inference_mode():
        model(input_ids=ids, use_cache=False, **visual)
        meter.start()
        for _ in range(-(-count // bench.batch)):
            model(input_ids=ids, use_cache=False, **visual)
        done = -(-count // bench.batch) * bench.batch
        return meter.stop(done, bench.batch)


def stage(bench: Bench) -> Measured:
    """The forward stage of a run; the model is loaded before the clock starts."""
    for name in ("b", "b-runs"):
        shutil.rmtree(bench.work / name, ignore_errors=True)
    shutil.copytree(bench.work / "store", bench.work / "b")
    config = bench.config("b")
    store = Store.open(bench.work / "b")
    world = gather(config, store, Choices(for_run=True))
    backbone = bench.backbone()
    load.adopt(backbone_reference(world), backbone)
    _warm(backbone)
    # What is imported on the way is no memory of the passes.
    importlib.import_module("stages.backbones.passes")
    importlib.import_module("stages.video.frames")
    meter = Meter(bench.device)
    meter.start()
    summary = run(config, Options(only="forward"), Progress(quiet=True))
    plan = summary.plans["forward"]
    assert summary.built["forward"] == len(plan.digests) == plan.total, summary.failures
    artifacts = [store.artifact("forward", key) for key in plan.keys.values()]
    sizes = {json.loads(a.file("passes.json").read_text())["batch"] for a in artifacts}
    return meter.stop(sum(a.commit.rows for a in artifacts), max(sizes))


def naive(bench: Bench) -> Measured:
    """generate() with all hidden states, segment by segment; each video is decoded once."""
    return _generated(bench, _decoded_once)


def reopening(bench: Bench) -> Measured:
    """The same, with a seek in a newly opened file for every segment."""
    return _generated(bench, _decoded_anew)


def _generated(bench: Bench, decode: Any) -> Measured:
    backbone = bench.backbone()
    (prompt,) = prompts_of(Settings())
    out = bench.work / "naive"
    out.mkdir(exist_ok=True)
    _warm(backbone)
    meter = Meter(bench.device)
    meter.start()
    count = 0
    for path, groups in bench.plans().items():
        rows = []
        for pictures in decode(path, groups):
            rows.append(_one(backbone, pictures, prompt))
            count += 1
        torch.save(rows, out / f"{path.stem}.pt")
    return meter.stop(count, 1)


def _one(backbone: Multimodal, pictures: list[Picture], prompt: Prompt) -> torch.Tensor:
    """The states [layers + 1, dim] of one segment, as the library's own means give them."""
    model = backbone._model
    item = backbone.prepare(pictures, [n / 10 for n in range(len(pictures))], [prompt])
    # A processor normalises on the CPU and hands float pixels over.
    pixels = backbone._family.visual_inputs(torch.from_numpy(item.pictures)[None], [item.seconds])
    ids = torch.from_numpy(item.token_ids[0])[None].to(model.device)
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=pixels["pixel_values"].to(model.device, model.dtype),
            max_new_tokens=1,
            do_sample=False,
            pad_token_id=0,
            output_hidden_states=True,
            return_dict_in_generate=True,
        )
    return torch.stack([layer[0, -1].cpu() for layer in output.hidden_states[0]])


def _decoded_once(path: Path, groups: list[list[int]]) -> Iterator[list[Picture]]:
    import av

    wanted = {frame for group in groups for frame in group}
    held: dict[int, Picture] = {}
    waiting = iter(groups)
    group = next(waiting)
    with av.open(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                held[number] = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
            if number == group[-1]:
                yield [held[n] for n in group]
                held.clear()
                group = next(waiting, [-1])


def _decoded_anew(path: Path, groups: list[list[int]]) -> Iterator[list[Picture]]:
    import av

    for group in groups:
        held: dict[int, Picture] = {}
        with av.open(path) as container:
            stream = container.streams.video[0]
            assert stream.time_base is not None
            container.seek(int(group[0] / FPS / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                assert frame.pts is not None
                number = round(float(frame.pts * stream.time_base) * FPS)
                if number in group:
                    held[number] = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
                if number >= group[-1]:
                    break
        yield [held[n] for n in group]


def _warm(backbone: Multimodal) -> None:
    """Kernels and caches that every way has once."""
    (prompt,) = prompts_of(Settings())
    pictures = [np.zeros((240, 320, 3), dtype=np.uint8)] * 8
    item = backbone.prepare(pictures, [n / 10 for n in range(8)], [prompt])
    backbone.forward([item], Wanted((backbone.layers,))).states.cpu()


def _memory(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])
