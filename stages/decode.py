"""Decode: the timeline of a video, with every frame decoded once, and small thumbnails."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cache.errors import ItemError
from cache.fields import at_least, between, knob, recipe
from stages.contract import Job, Result

if TYPE_CHECKING:
    from stages.video.decoding import Decoded
    from stages.video.thumbnails import Thumbnails
    from stages.video.timeline import Timeline

VERSION = 1


@dataclass(frozen=True)
class Settings:
    """Settings of the decode stage."""

    mode: str = recipe(
        "frames",
        "frames decodes every frame once; packets only reads the container and finds no damage",
        choices=("frames", "packets"),
    )
    damaged_share: float = recipe(
        0.05,
        "a video with more than this share of its expected frames missing or unsound fails",
        check=between(0.0, 1.0),
    )
    thumbnails: int = knob(12, "small pictures per video, for people", check=at_least(0))
    thumbnail_height: int = knob(90, "their height in pixels", check=at_least(8))


def compute(job: Job[Settings]) -> Result:
    """Write timeline.parquet [frames], video.json and thumbnails.parquet of one video.

    Raises ItemError where the video cannot be read, or where more than `damaged_share` of its
    expected frames are missing or unsound.
    """
    from stages.video.thumbnails import Thumbnails

    if job.source is None:
        raise ItemError("the video file is not at hand, and decode reads nothing else")
    began = time.perf_counter()
    thumbnails = Thumbnails(job.settings.thumbnails, job.settings.thumbnail_height)
    timeline = _read(job, job.source, thumbnails)
    _check_damage(job, timeline)
    read = time.perf_counter()
    _write(job.out, timeline, thumbnails)
    written = time.perf_counter()
    return Result(
        rows=timeline.n_frames,
        seconds={"read": read - began, "write": written - read},
        auxiliary=frozenset({"thumbnails.parquet"}),
        notes=_notes(timeline, thumbnails),
    )


def _read(job: Job[Settings], source: Path, thumbnails: Thumbnails) -> Timeline:
    from stages.video.timeline import read_timeline

    if job.settings.mode == "packets":
        timeline = read_timeline(source, packets_only=True)
        thumbnails.read_key_frames(source)
        job.progress(timeline.n_frames, timeline.n_frames)
        return timeline

    def witness(decoded: Decoded, expected: int) -> None:
        thumbnails.show(decoded, expected)
        if decoded.number % 25 == 0:
            job.progress(decoded.number + 1, expected)

    return read_timeline(source, witness=witness)


def _check_damage(job: Job[Settings], timeline: Timeline) -> None:
    damaged, expected = timeline.damaged_frames, timeline.expected_frames
    if damaged > job.settings.damaged_share * expected:
        raise ItemError(
            f"{damaged} of {expected} expected frames are missing or unsound "
            f"({damaged / expected:.1%}), and damaged_share = {job.settings.damaged_share:g} allows "
            f"{job.settings.damaged_share:.1%}: fetch the file again, or raise decode.damaged_share"
        )


def _write(out: Path, timeline: Timeline, thumbnails: Thumbnails) -> None:
    from cache.digest import write_json
    from manifests import schema
    from manifests.table import write_table

    write_table(
        out / "timeline.parquet",
        schema.TIMELINE,
        {
            "frame": range(timeline.n_frames),
            "pts_s": timeline.pts_s.tolist(),
            "key": timeline.key.tolist(),
            "sound": timeline.sound.tolist(),
        },
    )
    write_table(
        out / "thumbnails.parquet",
        schema.THUMBNAILS,
        {
            "frame": thumbnails.frames,
            "pts_s": timeline.pts_s[thumbnails.frames].tolist() if thumbnails.frames else [],
            "jpeg": thumbnails.images,
        },
    )
    names = (
        "n_frames", "fps", "width", "height", "rotation", "duration_s", "codec", "time_base",
        "expected_frames", "damaged_frames",
    )  # fmt: skip
    write_json(out / "video.json", {name: getattr(timeline, name) for name in names})


def _notes(timeline: Timeline, thumbnails: Thumbnails) -> tuple[str, ...]:
    notes = []
    if timeline.damaged_frames:
        notes.append(
            f"{timeline.damaged_frames} of {timeline.expected_frames} expected frames are missing "
            "or unsound"
        )
    if timeline.room_for_frames:
        notes.append(
            f"the times leave room for {timeline.room_for_frames} more frames: the camera paused, "
            "or parts of the file are lost"
        )
    if thumbnails.missed:
        notes.append(f"{thumbnails.missed} key frames could not be decoded as thumbnails")
    return tuple(notes)
