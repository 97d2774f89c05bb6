"""A plan of a video that is drawn and not decoded, for tests of the forward stage and its passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from manifests import schema
from manifests.table import write_table
from stages.backbones.reference import BackboneReference
from stages.contract import Job
from stages.forward import Settings
from stages.video import frames
from tests.payload import Folder

SEGMENTS = 7
KEYFRAMES = 3


def picture(frame: int) -> NDArray[np.uint8]:
    return np.random.default_rng(frame).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def shown(segment: int) -> list[int]:
    """Frames of a segment; segment 3 begins with a frame of segment 2 in place of a bad one."""
    return [8 * segment + offset if (segment, k) != (3, 0) else 22
            for k, offset in enumerate((1, 4, 6))]  # fmt: skip


def write_plan(folder: Path, segments: int = SEGMENTS) -> Folder:
    folder.mkdir()
    numbers = list(range(segments))
    write_table(
        folder / "segments.parquet",
        schema.SEGMENTS,
        {
            "segment": numbers,
            "start_frame": [8 * n for n in numbers],
            "end_frame": [8 * n + 8 for n in numbers],
            "start_s": [0.8 * n for n in numbers],
            "end_s": [0.8 * n + 0.8 for n in numbers],
        },
    )
    rows = [(n, k, frame) for n in numbers for k, frame in enumerate(shown(n))]
    write_table(
        folder / "keyframes.parquet",
        schema.KEYFRAMES,
        {
            "segment": [row[0] for row in rows],
            "k": [row[1] for row in rows],
            "frame": [row[2] for row in rows],
            "pts_s": [row[2] / 10 for row in rows],
            "substituted": [False] * len(rows),
        },
    )
    return Folder(folder)


def make_job(
    tmp_path: Path, name: str, reference: BackboneReference, **settings: Any
) -> Job[Settings]:
    plan = tmp_path / "plan"
    out = tmp_path / name
    out.mkdir()
    return Job(
        item="v",
        settings=Settings(**settings),
        out=out,
        inputs={"plan": Folder(plan) if plan.exists() else write_plan(plan)},
        source=tmp_path / "video.mp4",
        backbone=reference,
        partial=tmp_path / "partial",
    )


def content(folder: Path) -> dict[str, bytes]:
    """The files that enter the digest: the size of a batch is told outside of it."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "passes.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def draw_frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames that were read from the video, which is drawn and not decoded here."""
    asked: list[int] = []

    def read(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        assert path.name == "video.mp4"
        assert list(wanted) == sorted(set(wanted))
        for frame in wanted:
            asked.append(frame)
            yield frame, picture(frame)

    monkeypatch.setattr(frames, "read_frames", read)
    return asked
