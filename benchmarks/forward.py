"""What the forward stage costs beside the model alone, and beside what one would write by hand.

    python -m benchmarks.forward [--device cpu|cuda] [--size small|8b] [--videos 4] [--segments 10]

Writes synthetic H.264 videos (320x240, 30 frames/s) and an InternVL with random weights of the size
asked for, and takes all layers of the same segments in four ways, each in a process of its own (see
benchmarks/forward_ways.py). Prints segments per second, ratios, memory beyond the loaded model, the
share of the roofline (operations of a segment over the device's measured speed of matrix products),
and what several prompts cost beside one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.forward_ways import FPS, Bench, measure
from benchmarks.random_backbone import SIZES, write_folder
from pipeline.asked import Options
from pipeline.progress import Progress, size
from pipeline.run import run
from stages.backbones.cost import cost_of, tokens_of
from stages.backbones.shape import shape_of
from tests.small_world import Clip, write_video

FRAMES = 24
"""Frames of a segment."""
QUESTION = "s there anything abnormal?"
"""With one byte before it that sets prompts apart, and 13 tokens of the chat template after it, a
suffix of 40 tokens for a tokenizer of bytes."""


def main() -> None:
    """Parse the command line, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=sorted(SIZES), default="")
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--segments", type=int, default=10, help="per video")
    parser.add_argument("--batch", type=int, default=0, help="0: the stage's own probe")
    parser.add_argument("--ways", default="ba1cd", help="1 is b in batches of one segment")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cuda = options.device.startswith("cuda")
    options.size = options.size or ("8b" if cuda else "small")
    dtype = "bfloat16" if cuda else "float32"
    work = options.keep or Path(tempfile.mkdtemp(prefix="hiprobe-forward-"))
    bench = Bench(work, options.device, dtype, options.batch)
    if options.child:
        child = prompts if options.child == "p" else _measured
        print(json.dumps(child(options.child, bench)))
        return
    make_world(work, options.videos, options.segments, options.size, dtype)
    run(bench.config("store"), Options(until="sample"), Progress(quiet=True))
    found: dict[str, Any] = {}
    for way in options.ways:
        if way != "b" and "b" in found:
            bench = dataclasses.replace(bench, batch=found["b"]["batch"])
        single = dataclasses.replace(bench, batch=1)
        # What c and d take one segment at a time, b takes too: for its memory beside theirs.
        found[way] = in_child(
            "b" if way == "1" else way, single if way == "1" else bench, options.size
        )
    if "b" in found:
        bench = dataclasses.replace(bench, batch=found["b"]["batch"])
    found["p"] = in_child("p", bench, options.size)
    report(bench, options, found)


def make_world(work: Path, videos: int, segments: int, size: str, dtype: str) -> None:
    """Videos and the backbone's folder, unless they are there."""
    for number in range(videos):
        path = work / "videos" / f"{number:02}.mp4"
        if not path.exists():
            clip = Clip(f"test/{number:02}.mp4", FPS, segments * FRAMES // FPS)
            write_video(path, clip, [number])
    write_folder(work / "backbone", size, dtype)


def in_child(way: str, bench: Bench, size: str) -> dict[str, Any]:
    """Measure one way in a process of its own: its memory is its own, and so are its caches."""
    command = [sys.executable, "-m", "benchmarks.forward", "--child", way, "--size", size]
    command += ["--keep", str(bench.work), "--device", bench.device, "--batch", str(bench.batch)]
    # With an arena per thread glibc keeps freed tensors several times over: what is compared is the
    # memory that the ways need, so all of them get one.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"# {way}: {result}", file=sys.stderr)
    return result


def _measured(way: str, bench: Bench) -> dict[str, Any]:
    return dataclasses.asdict(measure(way, bench))


def prompts(way: str, bench: Bench) -> dict[str, Any]:
    """Seconds of passes for 1, 5 and 10 prompts, and the device's speed of matrix products."""
    import numpy as np

    from stages.backbones.contract import Prompt, Wanted

    backbone = bench.backbone()
    wanted = Wanted(tuple(range(backbone.layers + 1)))
    pictures = list(np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3), dtype=np.uint8))
    times = [n / 10 for n in range(8)]
    found: dict[str, Any] = {"flops": matrix_speed(bench.device, bench.dtype)}
    for count in (1, 5, 10):
        asked = [Prompt("", chr(ord("A") + n) + QUESTION) for n in range(count)]
        batch = [backbone.prepare(pictures, times, asked)] * max(1, bench.batch)
        took = []
        for _ in range(6):
            began = time.perf_counter()
            backbone.forward(batch, wanted).states.cpu()
            took.append(time.perf_counter() - began)
        found[str(count)] = min(took[1:])
    return found


def matrix_speed(device: str, dtype: str) -> float:
    """Operations per second of a large matrix product, the best of a few."""
    side = 8192 if device.startswith("cuda") else 2048
    left, right = (torch.randn(side, side, device=device).to(getattr(torch, dtype)) for _ in "ab")
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        product = left @ right
        float(product[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def report(bench: Bench, options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Print the table as Markdown."""
    shape = shape_of(bench.work / "backbone")
    record = json.loads(next((bench.work / "b").glob("forward/*/*/states.json")).read_text())
    shown = tokens_of(shape, 8, 240, 320, 0)
    total = record["prompts"][0]["tokens"]
    tokens = dataclasses.replace(shown, prompt=total - shown.visual)
    flop = cost_of(shape, tokens, shape.layers).total
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    print(
        f"\n{time.strftime('%Y-%m-%d')}, {device or platform.machine()}, torch {torch.__version__},"
    )
    print(
        f"InternVL {options.size} in {bench.dtype}, {total} tokens and {flop / 1e12:.4g} TFLOP per"
    )
    print(f"segment, matrix products at {found['p']['flops'] / 1e12:.4g} TFLOP/s\n")
    print("| way | batch | segments/s | time / a | roofline | memory beyond the model |")
    print("|---|---|---|---|---|---|")
    rates = {way: v["segments"] / v["seconds"] for way, v in found.items() if way != "p"}
    for way in sorted(rates, key="ab1cd".index):
        value = found[way]
        ratio = f"{rates['a'] / rates[way]:.2f}" if "a" in rates else "?"
        share = rates[way] * flop / found["p"]["flops"]
        name = "b, one at a time" if way == "1" else way
        cells = [name, str(value["batch"]), f"{rates[way]:.3g}", ratio, f"{share:.2f}"]
        print(f"| {' | '.join(cells)} | {size(value['peak_bytes'])} |")
    one = found["p"]["1"]
    many = ", ".join(f"{n} prompts {found['p'][str(n)] / one:.2f}" for n in (5, 10))
    print(f"\ncost of several prompts of 40 tokens beside one: {many}")


if __name__ == "__main__":
    main()
