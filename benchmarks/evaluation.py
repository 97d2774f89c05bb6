"""How long the figures of a whole test set take on one core, with their bootstrap.

    python -m benchmarks.evaluation [--lists DIR] [--replicates 1000] [--loops 5]

A test set of the size of XD-Violence's (800 videos, 2,335,801 frames, 500 videos with anomalies) with
a smooth random curve as its score, evaluated twice: a score per segment of 24 frames, and a score per
frame, no two alike. With --lists the videos and annotations are those of the published lists in that
folder. Every row of the table is a process of its own on one core: evaluate in full (`metrics_of`),
the limit (one argsort of the frames), and a loop that calls scikit-learn's roc_auc_score and
average_precision_score on the frames as drawn, --loops times, its seconds scaled to --replicates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

VIDEOS, ANOMALOUS, FRAMES, FPS = 800, 500, 2_335_801, 24
SEGMENT = 24
CURVE = 48
"""Deviation of the Gaussian, in frames, that makes noise a curve."""
THRESHOLD = 0.9


def made_entries(seed: int) -> dict[str, dict[str, Any]]:
    """Videos with lengths as uneven as the real ones, two intervals in most anomalous ones."""
    generator = np.random.default_rng(seed)
    lengths = generator.lognormal(sigma=1.1, size=VIDEOS)
    frames = np.maximum((lengths / lengths.sum() * FRAMES).astype(int), 48)
    frames[frames.argmax()] += FRAMES - frames.sum()
    entries = {}
    for number, n in enumerate(frames.tolist()):
        label = int(number < ANOMALOUS)
        # Four borders inside: about a third of the frames of an anomalous video are anomalous.
        a, b, c, d = sorted(generator.choice(n, 4, replace=False).tolist())
        entries[f"v{number:03}"] = {
            "label": label,
            "class": f"class {number % 6}" if label else "Normal",
            "intervals": [[a, b], [c, d]] if label else [],
            "listed_frames": n,
        }
    return entries


def listed_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """The test videos of the published lists of XD-Violence."""
    from manifests.datasets.contract import Sources
    from manifests.datasets.xd_violence import catalogue

    counts = folder / "test_frame_counts.csv"
    annotations = folder / "annotations.txt"
    sources = Sources(None, annotations=annotations, test_list=counts, frame_counts=(counts,))
    return {e.name: e.truth for e in catalogue(sources) if e.known.split == "test"}


def scored(lists: Path | None, length: int) -> Iterator[Any]:
    """Every video with a score per `length` frames and the intervals above the threshold."""
    from scipy.ndimage import gaussian_filter1d

    from stages.probes.frames import Detection, evaluated_runs, frame_labels, read_truth
    from stages.probes.localization import intervals_above
    from stages.probes.spans import Spans

    entries = listed_entries(lists) if lists else made_entries(seed=0)
    generator = np.random.default_rng(1)
    for name, entry in entries.items():
        n = entry["listed_frames"]
        truth = read_truth(name, entry, n)
        # Deviation 1 after the smoothing, and half a deviation higher where it is anomalous.
        noise = gaussian_filter1d(generator.normal(size=n), CURVE) * np.sqrt(2 * CURVE) * 1.33
        starts = np.arange(0, n, length)
        scores = (noise + 0.5 * frame_labels(truth, n))[starts]
        ends = np.append(starts[1:], n)
        spans = Spans(starts, ends, starts / FPS, ends / FPS)
        found = intervals_above(scores, spans, THRESHOLD)
        detected = [Detection(int(starts[i.first]), int(ends[i.stop - 1]), i.peak) for i in found]
        yield evaluated_runs(name, truth, starts, n, scores, scores, THRESHOLD, detected, n / FPS)


def frames_of(lists: Path | None) -> tuple[Any, Any, Any]:
    """Label, score and number of the video of every frame."""
    videos = list(scored(lists, 1))
    return (
        np.concatenate([np.repeat(v.positive, v.frames) for v in videos]),
        np.concatenate([np.repeat(v.smoothed, v.frames) for v in videos]),
        np.repeat(np.arange(len(videos)), [v.n_frames for v in videos]),
    )


def evaluate(options: argparse.Namespace, length: int) -> dict[str, Any]:
    from stages.probes.evaluation import metrics_of

    videos = list(scored(options.lists, length))
    began = time.perf_counter()
    found = metrics_of(videos, bootstrap=options.replicates, seed=0, tiou=(0.1, 0.3, 0.5))
    seconds = time.perf_counter() - began
    pieces = sum(len(video.frames) for video in videos)
    return {"seconds": seconds, "counts": found["counts"], "auc": found["auc"], "pieces": pieces}


def argsort(options: argparse.Namespace) -> dict[str, Any]:
    _, scores, _ = frames_of(options.lists)
    began = time.perf_counter()
    np.argsort(-scores)
    return {"seconds": time.perf_counter() - began}


def loop(options: argparse.Namespace) -> dict[str, Any]:
    """Only the calls of scikit-learn are timed, not the copying of the drawn videos' frames."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from stages.probes.bootstrap import draws

    labels, scores, video = frames_of(options.lists)
    seconds = 0.0
    for times in draws(int(video[-1]) + 1, options.loops, 0):
        drawn_labels, drawn = (np.repeat(values, times[video]) for values in (labels, scores))
        began = time.perf_counter()
        roc_auc_score(drawn_labels, drawn)
        average_precision_score(drawn_labels, drawn)
        seconds += time.perf_counter() - began
    return {"seconds": seconds / options.loops * options.replicates}


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "segments": lambda options: evaluate(options, SEGMENT),
    "frames": lambda options: evaluate(options, 1),
    "argsort": argsort,
    "loop": loop,
}


def alone(part: str, arguments: list[str]) -> dict[str, Any]:
    """One part in a process of its own, on one core."""
    command = [sys.executable, "-m", "benchmarks.evaluation", "--part", part, *arguments]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def peak_mb() -> float:
    """Highest resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000


def table(found: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    counts, replicates = found["frames"]["counts"], options.replicates
    loops = found["loop"]["seconds"]
    lines = [
        f"{counts['videos']} videos, {counts['frames']} frames ({counts['positive_frames']} "
        f"anomalous), {counts['detected_intervals']} detected intervals with a score per frame; "
        f"{replicates} replicates, one core",
        "",
        "| what | runs of frames | seconds | peak MB | times faster than the loop |",
        "|---|---|---|---|---|",
    ]
    for part, text in (
        ("segments", f"a score per {SEGMENT} frames"),
        ("frames", "a score per frame"),
    ):
        row = found[part]
        lines.append(
            f"| metrics_of, {text} | {row['pieces']} | {row['seconds']:.1f} | {row['mb']:.0f} | "
            f"{loops / row['seconds']:.0f} |"
        )
    text = "roc_auc_score and average_precision_score"
    lines += [
        f"| {text}, {options.loops} times, scaled to {replicates} | {counts['frames']} | "
        f"{loops:.0f} | {found['loop']['mb']:.0f} | 1 |",
        f"| limit: one argsort of the frames | {counts['frames']} | "
        f"{found['argsort']['seconds']:.2f} | {found['argsort']['mb']:.0f} | |",
        "",
        f"with a score per frame: {found['frames']['seconds'] / found['argsort']['seconds']:.0f} "
        "times one argsort",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lists", type=Path, help="folder of XD-Violence's published lists")
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument(
        "--loops", type=int, default=5, help="rounds of scikit-learn that are timed"
    )
    parser.add_argument("--part", choices=tuple(PARTS), help="measure this alone and print JSON")
    options = parser.parse_args()
    if options.part:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        found = PARTS[options.part](options)
        print(json.dumps({**found, "mb": peak_mb()}))
        return
    print(table({part: alone(part, sys.argv[1:]) for part in PARTS}, options))


if __name__ == "__main__":
    main()
