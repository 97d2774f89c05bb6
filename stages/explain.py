"""Explain: what the backbone says about each detected interval of a video."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.errors import ItemError
from cache.fields import at_least, knob, recipe
from stages.backbones.pass_settings import known_format
from stages.contract import Job, Result

if TYPE_CHECKING:
    from stages.backbones.asking import Unanswered
    from stages.backbones.contract import Explanation, Picture, Prepared

VERSION = 2

NORMAL = -1
"""The number that stands for the normal stretch, in place of an interval's."""


@dataclass(frozen=True)
class Settings:
    """Settings of the explain stage."""

    prompt: str = recipe(
        "Describe what happens in these frames and say whether it is abnormal.",
        "question that follows the keyframes",
    )
    system: str = recipe("", "system message; empty for what the chat template puts in")
    frame_format: str = recipe(
        "",
        "how one keyframe stands in the prompt, with {number} and {image}; empty for the "
        "architecture's own way",
        check=known_format,
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
    batch: int = knob(
        4,
        "intervals of a video that are answered at once; halves when GPU memory runs out",
        check=at_least(1),
    )


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
    seconds: tuple[float, ...]
    """Presentation time of each of `frames`."""


def compute(job: Job[Settings]) -> Result:
    """Write explanations.parquet, one row per explained interval.

    Reads "intervals" and "timeline". Without an interval the table is empty and the model is not
    loaded. A generation that fails is a row with finish_reason "error". Raises ItemError where the
    video cannot be read, or has no sound frame to show.
    """
    from manifests import schema
    from manifests.table import write_table

    stretches, notes = _stretches(job)
    seconds = {"read": 0.0, "forward": 0.0}
    answers = _answers(job, stretches, seconds) if stretches else {}
    rows = [_row(job, stretch, answers[n]) for n, stretch in enumerate(stretches)]
    failed = sum(row["finish_reason"] == "error" for row in rows)
    if failed:
        notes.append(f"{failed} of {len(rows)} explanations failed: see their error texts")
    columns = {name: [row[name] for row in rows] for name in schema.EXPLANATIONS.names}
    write_table(job.out / "explanations.parquet", schema.EXPLANATIONS, columns)
    return Result(rows=len(rows), seconds=seconds, notes=tuple(notes))


def _answers(
    job: Job[Settings], stretches: list[_Stretch], seconds: dict[str, float]
) -> dict[int, Explanation | Unanswered]:
    """The answer about each stretch by its place, asked in batches of equal shape.

    Adds what reading and answering took to `seconds`.
    """
    from stages.backbones.asking import Asker
    from stages.backbones.contract import Prompt
    from stages.backbones.feeding import Buckets
    from stages.backbones.load import load

    settings = job.settings
    prompts = [Prompt(settings.system, settings.prompt, settings.frame_format)]
    backbone = load(job.backbone)
    asker = Asker(backbone, settings.batch, settings.seed, settings.max_new_tokens)
    answers: dict[int, Explanation | Unanswered] = {}

    def ask(batch: list[tuple[int, Prepared]]) -> None:
        began = time.perf_counter()
        found = asker.ask([item for _, item in batch])
        answers.update(zip([place for place, _ in batch], found, strict=True))
        seconds["forward"] += time.perf_counter() - began
        job.progress(len(answers), len(stretches))

    buckets, pictures = Buckets(), _pictures(job, stretches)
    try:
        for place, stretch in enumerate(stretches):
            began = time.perf_counter()
            item = backbone.prepare(next(pictures), stretch.seconds, prompts)
            seconds["read"] += time.perf_counter() - began
            if batch := buckets.add(place, item, asker.batch):
                ask(batch)
        for batch in buckets.rest():
            ask(batch)
    finally:
        asker.done()
    return answers


def _row(job: Job[Settings], stretch: _Stretch, answer: Explanation | Unanswered) -> dict[str, Any]:
    """The row of one stretch, with the answer or with what went wrong."""
    from stages.backbones.asking import Unanswered

    row: dict[str, Any] = {
        "interval": stretch.interval,
        "kind": stretch.kind,
        "start_frame": stretch.start_frame,
        "end_frame": stretch.end_frame,
        "start_s": stretch.start_s,
        "end_s": stretch.end_s,
        "frames": " ".join(str(frame) for frame in stretch.frames),
        "prompt": job.settings.prompt,
        "seed": job.settings.seed,
        "model": job.backbone.identity,
    }
    if isinstance(answer, Unanswered):
        failed = {"text": "", "finish_reason": "error", "tokens": 0, "error": answer.error}
        return {**row, **failed}
    told = {"text": answer.text, "finish_reason": answer.finish_reason, "tokens": answer.tokens}
    return {**row, **told, "error": ""}


def _pictures(job: Job[Settings], stretches: list[_Stretch]) -> Iterator[list[Picture]]:
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
    sound, times = _timeline(job, spans[-1]["end_frame"])
    stretches = [_stretch(*each, sound, times, settings.keyframes) for each in picked]
    return sorted(stretches, key=lambda stretch: stretch.start_frame), notes


def _stretch(
    interval: int,
    kind: str,
    span: dict[str, Any],
    sound: list[bool],
    times: list[float],
    keyframes: int,
) -> _Stretch:
    start, end = span["start_frame"], span["end_frame"]
    frames = choose_frames(start, end, keyframes, sound)
    seconds = tuple(times[frame] for frame in frames)
    bounds = float(span["start_s"]), float(span["end_s"])
    return _Stretch(interval, kind, start, end, *bounds, frames, seconds)


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


def _timeline(job: Job[Settings], n_frames: int) -> tuple[list[bool], list[float]]:
    """Of each frame whether it is sound, and its presentation time."""
    from manifests import schema
    from manifests.table import read_table

    path = job.inputs["timeline"].file("timeline.parquet")
    table = read_table(path, schema.TIMELINE, ["sound", "pts_s"])
    if len(table) != n_frames:
        raise ItemError(
            f"the scores end at frame {n_frames} and the timeline has {len(table)} frames: they "
            "are of different videos or runs; run localize again"
        )
    return table["sound"].to_pylist(), table["pts_s"].to_pylist()


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
