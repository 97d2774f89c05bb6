"""The tables of a bundle, made of the artifacts of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache.digest import read_json
from cache.store import Store
from manifests.bundled import BUNDLED_SEGMENTS, BUNDLED_VIDEOS
from manifests.schema import SEGMENTS, VIDEOS
from manifests.table import read_table, write_table
from pipeline.bundles.contents import array_name
from pipeline.plan import StagePlan
from pipeline.world import DATASET, Video, World

DECODED = {
    "n_frames": "n_frames", "fps": "fps", "width": "width", "height": "height",
    "duration": "duration_s",
}  # fmt: skip
"""Column of the table of videos -> what decoding calls it."""


def write_tables(
    folder: Path,
    world: World,
    plans: Mapping[str, StagePlan],
    store: Store,
    rows: Mapping[str, int],
) -> None:
    """Write videos.parquet and segments.parquet; `rows` are those of each array, by video id."""
    index = store.artifact("index", plans["index"].keys[DATASET])
    table = read_table(index.file("videos.parquet"), VIDEOS)
    columns = {name: table[name].to_pylist() for name in VIDEOS.names}
    names = columns["video_id"]
    found = {name: _decoded(name, plans["decode"], store) for name in names}
    columns |= {
        column: [found[name].get(said) for name in names] for column, said in DECODED.items()
    }
    columns["segments"] = [rows.get(name) for name in names]
    columns["array"] = [array_name(name) if name in rows else "" for name in names]
    write_table(folder / "videos.parquet", BUNDLED_VIDEOS, columns)
    videos = [video for video in world.videos or () if video.video_id in rows]
    write_table(folder / "segments.parquet", BUNDLED_SEGMENTS, _segments(videos, plans, store))


def _decoded(video: str, plan: StagePlan, store: Store) -> dict[str, Any]:
    if video not in plan.digests:
        return {}
    found: dict[str, Any] = read_json(store.artifact("decode", plan.keys[video]).file("video.json"))
    return found


def _segments(
    videos: Sequence[Video], plans: Mapping[str, StagePlan], store: Store
) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in BUNDLED_SEGMENTS.names}
    for video in videos:
        artifact = store.artifact("sample", plans["sample"].keys[video.video_id])
        own = read_table(artifact.file("segments.parquet"), SEGMENTS).to_pydict()
        spans = list(zip(own["start_frame"], own["end_frame"], strict=True))
        for name, values in own.items():
            columns[name] += values
        columns["video_id"] += [video.video_id] * len(spans)
        columns["split"] += [video.split] * len(spans)
        columns["label"] += [video.label] * len(spans)
        columns["subset"] += [video.subset] * len(spans)
        columns["anomalous_frames"] += [anomalous_frames(video, *span) for span in spans]
    return columns


def anomalous_frames(video: Video, start: int, end: int) -> int | None:
    """Frames of [start, end) that lie in annotated intervals, or None where nothing says which."""
    if video.label is None or (video.label == 1 and not video.annotations):
        return None
    frames: set[int] = set()
    for first, stop in video.annotations:
        frames.update(range(max(first, start), min(stop, end)))
    return len(frames)
