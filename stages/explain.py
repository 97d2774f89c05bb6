"""Explain: what the backbone says about each detected interval of a video."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.errors import HiprobeError, ItemError
from cache.fields import at_least, recipe
from stages.contract import Job, Result

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.backbones.contract import Backbone

VERSION = 1

NORMAL = -1
"""The number that stands for the normal stretch, in place of an interval's."""


@dataclass(frozen=True)
class Settings:
    """Settings of the explain stage."""

    prompt: str = recipe(
        "Describe what happens in these frames and say whether it is abnormal.",
        "question that follows the keyframes",
    )
    keyframes: int = recipe(8, "keyframes of an interval", check=at_least(1))
    max_new_tokens: int = recipe(64, "longest answer, in tokens", check=at_least(1))
    which: str = recipe(
        "anomalous",
        "both explains the longest stretch outside the intervals too",
        choices=("anomalous", "both"),
    )
    limit: int = recipe(8, "intervals per video, highest peak first", check=at_least(1))
    seed: int = recipe(0, "seed of the generation (decoding is greedy)", check=at_least(0))


@dataclass(frozen=True, slots=True)
class _Stretch:
    """One stretch of a video to be explained."""

    interval: int
    kind: str
    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    frames: tuple[int, ...]


def compute(job: Job[Settings]) -> Result:
    """Write explanations.parquet, one row per explained interval.

    Reads "intervals" and "timeline". Without an interval the table is empty and the model is not
    loaded. A generation that fails is a row with finish_reason "error". Raises ItemError where the
    video cannot be read, or has no sound frame to show.
    """
    from manifests import schema
    from manifests.table import write_table

    stretches, notes = _stretches(job)
    rows: list[dict[str, Any]] = []
    seconds = {"read": 0.0, "forward": 0.0}
    if stretches:
        from stages.backbones.load import load

        backbone = load(job.backbone)
        pictures = _pictures(job, stretches)
        for number, stretch in enumerate(stretches):
            began = time.perf_counter()
            shown = next(pictures)
            read = time.perf_counter()
            rows.append(_row(job, backbone, stretch, shown))
            seconds["read"] += read - began
            seconds["forward"] += time.perf_counter() - read
            job.progress(number + 1, len(stretches))
    failed = sum(row["finish_reason"] == "error" for row in rows)
    if failed:
        notes.append(f"{failed} of {len(rows)} explanations failed: see their error texts")
    columns = {name: [row[name] for row in rows] for name in schema.EXPLANATIONS.names}
    write_table(job.out / "explanations.parquet", schema.EXPLANATIONS, columns)
    return Result(rows=len(rows), seconds=seconds, notes=tuple(notes))


def _row(
    job: Job[Settings],
    backbone: Backbone,
    stretch: _Stretch,
    shown: list[NDArray[np.uint8]],
) -> dict[str, Any]:
    """The row of one stretch, with the answer or with what went wrong."""
    from stages.backbones.contract import Prompt

    settings = job.settings
    row: dict[str, Any] = {
        "interval": stretch.interval,
        "kind": stretch.kind,
        "start_frame": stretch.start_frame,
        "end_frame": stretch.end_frame,
        "start_s": stretch.start_s,
        "end_s": stretch.end_s,
        "frames": " ".join(str(frame) for frame in stretch.frames),
        "prompt": settings.prompt,
        "seed": settings.seed,
        "model": job.backbone.identity,
        "error": "",
    }
    try:
        answer = backbone.explain(
            shown, Prompt("", settings.prompt), settings.seed, settings.max_new_tokens
        )
    except HiprobeError:
        # What is wrong with the configuration is wrong for every interval.
        raise
    except (RuntimeError, ValueError) as error:
        # Out of memory and the like concern this interval; its row says so, the rest goes on.
        text = f"{type(error).__name__}: {error}"
        return {**row, "text": "", "finish_reason": "error", "tokens": 0, "error": text}
    return {
        **row,
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "tokens": answer.tokens,
    }


def _pictures(job: Job[Settings], stretches: list[_Stretch]) -> Iterator[list[NDArray[np.uint8]]]:
    from stages.backbones.feeding import group_pictures, wanted_frames
    from stages.video import frames

    if job.source is None:
        raise ItemError("the video file is not at hand, and explain shows its frames to the model")
    groups = [stretch.frames for stretch in stretches]
    return group_pictures(groups, frames.read_frames(job.source, wanted_frames(groups)))


def _stretches(job: Job[Settings]) -> tuple[list[_Stretch], list[str]]:
    """What is to be explained, by first frame, and what a person should know about the choice."""
    from manifests import schema
    from manifests.table import read_table

    settings = job.settings
    payload = job.inputs["intervals"]
    found = read_table(payload.file("intervals.parquet"), schema.INTERVALS).to_pylist()
    if not found:
        return [], []
    chosen = sorted(found, key=lambda row: (-row["peak"], row["interval"]))[: settings.limit]
    notes = []
    if len(chosen) < len(found):
        notes.append(
            f"{len(found) - len(chosen)} of {len(found)} intervals not explained: limit = "
            f"{settings.limit}, the highest peaks first"
        )
    spans = read_table(payload.file("smoothed.parquet"), schema.SMOOTHED).to_pylist()
    picked = [(row["interval"], "anomalous", row) for row in chosen]
    if settings.which == "both":
        normal = _longest_normal(spans, found)
        if normal is None:
            notes.append("the intervals cover the whole video: there is no normal stretch")
        else:
            picked.append((NORMAL, "normal", normal))
    sound = _soundness(job, spans[-1]["end_frame"])
    stretches = [_stretch(*each, sound, settings.keyframes) for each in picked]
    return sorted(stretches, key=lambda stretch: stretch.start_frame), notes


def _stretch(
    interval: int, kind: str, span: dict[str, Any], sound: list[bool], keyframes: int
) -> _Stretch:
    frames = choose_frames(span["start_frame"], span["end_frame"], keyframes, sound)
    times = float(span["start_s"]), float(span["end_s"])
    return _Stretch(interval, kind, span["start_frame"], span["end_frame"], *times, frames)


def choose_frames(start: int, end: int, keyframes: int, sound: list[bool]) -> tuple[int, ...]:
    """Midpoints of `keyframes` equal parts of frames [start, end) (METHOD, terms).

    An unsound frame gives its place to the nearest earlier sound one of the video; raises ItemError
    where there is none.
    """
    length = end - start
    chosen = []
    for index in range(keyframes):
        # floor((index + 1/2) * length / keyframes) in whole numbers
        frame = start + (2 * index + 1) * length // (2 * keyframes)
        earlier = next((n for n in range(frame, -1, -1) if sound[n]), None)
        if earlier is None:
            raise ItemError(
                f"frame {frame} is damaged and no frame before it is sound: there is nothing to "
                "show for this interval"
            )
        chosen.append(earlier)
    return tuple(chosen)


def _soundness(job: Job[Settings], n_frames: int) -> list[bool]:
    from manifests import schema
    from manifests.table import read_table

    path = job.inputs["timeline"].file("timeline.parquet")
    sound: list[bool] = read_table(path, schema.TIMELINE, ["sound"])["sound"].to_pylist()
    if len(sound) != n_frames:
        raise ItemError(
            f"the scores end at frame {n_frames} and the timeline has {len(sound)} frames: they "
            "are of different videos or runs; run localize again"
        )
    return sound


def _longest_normal(
    spans: list[dict[str, Any]], intervals: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """The longest run of segments that no interval touches (the first of equals), as a span."""
    best: dict[str, Any] | None = None
    run: dict[str, Any] | None = None
    for span in spans:
        touched = any(
            row["start_frame"] < span["end_frame"] and span["start_frame"] < row["end_frame"]
            for row in intervals
        )
        if touched:
            run = None
            continue
        start = span if run is None else run
        run = {**span, "start_frame": start["start_frame"], "start_s": start["start_s"]}
        if best is None or _frames(run) > _frames(best):
            best = run
    return best


def _frames(span: dict[str, Any]) -> int:
    return int(span["end_frame"] - span["start_frame"])
