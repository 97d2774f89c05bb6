"""Sample: the plan of a video, its segments and keyframes, and their pixels where asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.errors import ItemError
from cache.fields import at_least, recipe
from stages.contract import Job, Result

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.video.sampling import Keyframe

VERSION = 1


@dataclass(frozen=True)
class Settings:
    """Settings of the sample stage."""

    segment_frames: int = recipe(24, "frames of a segment", check=at_least(1))
    keyframes: int = recipe(8, "keyframes of a segment", check=at_least(1))
    rule: str = recipe(
        "midpoints",
        "where keyframes lie: middles of equal parts, or from the first frame to the last",
        choices=("midpoints", "endpoints"),
    )
    unit: str = recipe(
        "segment",
        'what one sample of a probing video is: each of its segments, or the whole "video" as one',
        choices=("segment", "video"),
    )
    pixels: str = recipe(
        "none",
        "store the keyframes too: webp is lossless, jpeg (quality 95, 4:4:4) changes pixels",
        choices=("none", "webp", "jpeg"),
    )


def compute(job: Job[Settings]) -> Result:
    """Write segments.parquet [segments], keyframes.parquet [segments * keyframes] and pixels.parquet.

    The value "unit" says how this video is cut: "segment" as section [sample] says, "video" into one
    segment that holds every frame, with as many keyframes as any other (METHOD section 1).
    Raises ItemError where a segment has no sound frame for one of its keyframes, and where pixels
    are asked for and the video file is not at hand or cannot be decoded.
    """
    from cache.digest import read_json
    from manifests import schema
    from manifests.table import read_table
    from stages.video.sampling import choose_keyframes, split_video

    began = time.perf_counter()
    settings = job.settings
    decoded = job.inputs["timeline"]
    timeline = read_table(decoded.file("timeline.parquet"), schema.TIMELINE)
    video = read_json(decoded.file("video.json"))
    pts, sound = timeline["pts_s"].to_pylist(), timeline["sound"].to_pylist()
    if len(pts) != video["n_frames"]:
        raise ItemError(
            f"the timeline has {len(pts)} rows and video.json states {video['n_frames']} frames: "
            "decode the video again"
        )
    frames = len(pts) if job.values["unit"] == "video" else settings.segment_frames
    segments = split_video(len(pts), frames)
    chosen = choose_keyframes(sound, frames, settings.keyframes, settings.rule)
    planned = time.perf_counter()
    _write_plan(job.out, segments, chosen, pts, float(video["duration_s"]))
    if settings.pixels != "none":
        _write_pixels(job, sorted({keyframe.frame for keyframe in chosen}))
    substituted = sum(keyframe.substituted for keyframe in chosen)
    return Result(
        rows=len(segments),
        seconds={"read": planned - began, "write": time.perf_counter() - planned},
        notes=(f"{substituted} unsound keyframes replaced by earlier ones",) if substituted else (),
    )


def _write_plan(
    out: Path,
    segments: Sequence[tuple[int, int]],
    chosen: Sequence[Keyframe],
    pts: Sequence[float],
    duration_s: float,
) -> None:
    from manifests import schema
    from manifests.table import write_table

    # A segment lasts until the next one begins, so that segments cover the video without a gap.
    columns: dict[str, Sequence[Any]] = {
        "segment": range(len(segments)),
        "start_frame": [start for start, _ in segments],
        "end_frame": [end for _, end in segments],
        "start_s": [pts[start] for start, _ in segments],
        "end_s": [pts[end] if end < len(pts) else duration_s for _, end in segments],
    }
    write_table(out / "segments.parquet", schema.SEGMENTS, columns)
    write_table(
        out / "keyframes.parquet",
        schema.KEYFRAMES,
        {
            "segment": [keyframe.segment for keyframe in chosen],
            "k": [keyframe.k for keyframe in chosen],
            "frame": [keyframe.frame for keyframe in chosen],
            "pts_s": [pts[keyframe.frame] for keyframe in chosen],
            "substituted": [keyframe.substituted for keyframe in chosen],
        },
    )


def _write_pixels(job: Job[Settings], frames: Sequence[int]) -> None:
    from stages.video.frames import read_frames
    from stages.video.pixels import write_pixels

    if job.source is None:
        raise ItemError(
            f'pixels = "{job.settings.pixels}" needs the video file, which is not at hand; use '
            'pixels = "none" where videos can be read at forward time'
        )

    source = job.source

    def watched() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for done, item in enumerate(read_frames(source, frames), start=1):
            yield item
            job.progress(done, len(frames))

    written = write_pixels(job.out / "pixels.parquet", watched(), job.settings.pixels)
    if written != len(frames):
        raise ItemError(f"{written} keyframes were stored, {len(frames)} are in the plan")
