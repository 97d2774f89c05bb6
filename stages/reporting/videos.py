"""Which videos are shown, and what is shown of each."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.digest import read_json
from cache.errors import ConfigError
from manifests.schema import EXPLANATIONS, INTERVALS, SMOOTHED, THUMBNAILS
from stages.contract import Job, Payload
from stages.reporting.reading import Columns, columns_of
from stages.reporting.timeline import Curve, Seconds, draw_video

Video = Mapping[str, Any]

ANOMALOUS, NORMAL, REST = (
    "anomalous test videos",
    "normal test videos",
    "training or unlabelled videos",
)


@dataclass(frozen=True)
class Choice:
    """Which videos get a curve, and how many of every group do not."""

    shown: tuple[Video, ...]
    left_out: Mapping[str, int]
    """Videos with scores and no place, by group."""
    without_scores: tuple[str, ...]
    """Ids of the videos that have no scores."""


@dataclass(frozen=True)
class Picture:
    """A thumbnail."""

    uri: str
    frame: int
    pts_s: float


@dataclass(frozen=True)
class Entry:
    """One video as the page shows it."""

    anchor: str
    video: Video
    picture: str
    """The score curve, an inline <svg>."""
    curve: Curve
    facts: Mapping[str, Any] | None
    """video.json of the decoding, where it is there."""
    thumbnails: tuple[Picture, ...] = ()
    detected: tuple[Mapping[str, Any], ...] = ()
    """Rows of the intervals."""
    annotated: tuple[Seconds, ...] = ()
    explanations: tuple[Mapping[str, Any], ...] = ()


def group_of(video: Video) -> str:
    """The group of a video: anomalous test, normal test, or the rest."""
    if video["split"] != "test" or video["label"] is None:
        return REST
    return ANOMALOUS if video["label"] == 1 else NORMAL


def choose_videos(videos: Sequence[Video], localized: Mapping[str, Payload], most: int) -> Choice:
    """Take up to `most` videos: anomalous test, then normal test by highest score, then others.

    Anomalous ones are taken class by class in turn, so that a small report shows every class; the
    others are those that are not training videos first, and then by highest score.
    """
    scored = [video for video in videos if video["video_id"] in localized]
    lost = tuple(v["video_id"] for v in videos if v["video_id"] not in localized)
    shown: list[Video] = []
    left_out: dict[str, int] = {}
    for group in (ANOMALOUS, NORMAL, REST):
        members = [video for video in scored if group_of(video) == group]
        room = most - len(shown)
        ranked = _rank(members, group, localized) if room > 0 else []
        shown += ranked[: max(room, 0)]
        left_out[group] = max(len(members) - max(room, 0), 0)
    return Choice(tuple(shown), left_out, lost)


def _rank(members: Sequence[Video], group: str, localized: Mapping[str, Payload]) -> list[Video]:
    if group == ANOMALOUS:
        return _in_turn(members)
    peaks = {v["video_id"]: _peak(localized[v["video_id"]]) for v in members}
    return sorted(
        members,
        key=lambda v: (v["split"] == "train", -peaks[v["video_id"]], v["video_id"]),
    )


def _in_turn(members: Sequence[Video]) -> list[Video]:
    """The first of every class, then the second of every class, and so on."""
    seen: dict[str, int] = {}
    keys = []
    for video in sorted(members, key=lambda v: str(v["video_id"])):
        turn = seen[video["class"]] = seen.get(video["class"], 0) + 1
        keys.append((turn, video["class"], video["video_id"], video))
    return [key[-1] for key in sorted(keys, key=lambda key: key[:3])]


def _peak(payload: Payload) -> float:
    return max(columns_of(payload, "smoothed.parquet", SMOOTHED)["smoothed"], default=-np.inf)


def make_entry(job: Job[Any], number: int, video: Video, most_thumbnails: int) -> Entry:
    """Read and draw one video."""
    name = video["video_id"]
    localized = job.many["intervals"][name]
    columns = columns_of(localized, "smoothed.parquet", SMOOTHED)
    curve = _curve(name, localized, columns)
    detected = _rows(columns_of(localized, "intervals.parquet", INTERVALS))
    annotated = tuple(seconds_of(span, columns) for span in video["intervals"])
    timeline = job.many.get("timeline", {}).get(name)
    explained = job.many.get("explanations", {}).get(name)
    anchor = f"v{number}"
    spans = [(row["start_s"], row["end_s"]) for row in detected]
    picture = draw_video(
        anchor, f"Score of {name} over time", _describe(curve, spans, annotated), curve, spans,
        annotated, _unannotated(video),
    )  # fmt: skip
    return Entry(
        anchor=anchor,
        video=video,
        picture=picture,
        curve=curve,
        facts=_facts(timeline),
        thumbnails=_thumbnails(timeline, most_thumbnails),
        detected=tuple(detected),
        annotated=annotated,
        explanations=tuple(_explanations(explained)),
    )


def _curve(name: str, localized: Payload, columns: Columns) -> Curve:
    start, end, score, smoothed = (
        np.asarray(columns[name], dtype=np.float64)
        for name in ("start_s", "end_s", "score", "smoothed")
    )
    if len(start) == 0 or not np.isfinite([start, end, score, smoothed]).all():
        raise ConfigError(
            f"{name}: expected at least one segment with finite times and scores, found "
            f"{len(start)} segments; run localize again for it"
        )
    threshold = read_json(localized.file("threshold.json"))["threshold"]
    return Curve(start, end, score, smoothed, threshold)


def seconds_of(span: Sequence[int], columns: Columns) -> Seconds:
    """An interval of frames as seconds: exact where segments meet, linear inside a segment.

    Frames beyond the end of the video are cut off at its end.
    """
    frames = [*columns["start_frame"], columns["end_frame"][-1]]
    seconds = [*columns["start_s"], columns["end_s"][-1]]
    start, end = np.interp([float(span[0]), float(span[1])], frames, seconds)
    return float(start), float(end)


def _rows(columns: Columns) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _explanations(payload: Payload | None) -> list[dict[str, Any]]:
    if payload is None:
        return []
    rows = _rows(columns_of(payload, "explanations.parquet", EXPLANATIONS))
    return sorted(rows, key=lambda row: (row["kind"] == "normal", row["interval"], row["start_s"]))


def _facts(payload: Payload | None) -> Mapping[str, Any] | None:
    if payload is None:
        return None
    facts: Mapping[str, Any] = read_json(payload.file("video.json"))
    return facts


def _thumbnails(payload: Payload | None, most: int) -> tuple[Picture, ...]:
    """At most so many thumbnails, evenly taken."""
    if payload is None or most == 0:
        return ()
    rows = _rows(columns_of(payload, "thumbnails.parquet", THUMBNAILS))
    if len(rows) > most:
        rows = [rows[(2 * i + 1) * len(rows) // (2 * most)] for i in range(most)]
    return tuple(
        Picture(
            "data:image/jpeg;base64," + base64.b64encode(row["jpeg"]).decode("ascii"),
            row["frame"],
            row["pts_s"],
        )
        for row in rows
    )


def _unannotated(video: Video) -> str:
    if video["label"] is None:
        return "no label"
    return "none: labelled normal" if video["label"] == 0 else "no intervals given"


def _describe(curve: Curve, detected: Sequence[Seconds], annotated: Sequence[Seconds]) -> str:
    peak = curve.peak
    return (
        f"{len(curve.score)} segments over {curve.end_s[-1]:.1f} s. Highest smoothed score "
        f"{curve.smoothed[peak]:.3f} at {curve.start_s[peak]:.1f} s; threshold "
        f"{curve.threshold:.3f}. Detected: {_list(detected)}. Annotated: {_list(annotated)}."
    )


def _list(spans: Sequence[Seconds]) -> str:
    return ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in spans) or "nothing"
