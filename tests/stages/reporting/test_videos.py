"""Which videos are shown, and how frames become seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from manifests import schema
from manifests.table import write_table
from stages.reporting.videos import ANOMALOUS, NORMAL, REST, choose_videos, seconds_of


class Folder:
    def __init__(self, path: Path, peak: float) -> None:
        path.mkdir(parents=True)
        self.path = path
        columns = {
            "segment": [0, 1], "start_frame": [0, 24], "end_frame": [24, 48], "start_s": [0.0, 1.0],
            "end_s": [1.0, 2.0], "score": [0.0, 0.0], "smoothed": [0.0, peak],
        }  # fmt: skip
        write_table(path / "smoothed.parquet", schema.SMOOTHED, columns)

    def file(self, name: str) -> Path:
        return self.path / name


VIDEOS: list[tuple[str, str, int | None, str, float]] = [
    ("abuse1", "test", 1, "Abuse", 0.1), ("abuse2", "test", 1, "Abuse", 0.9),
    ("arson1", "test", 1, "Arson", 0.5), ("calm", "test", 0, "Normal", 0.2),
    ("loud", "test", 0, "Normal", 0.8), ("train1", "train", 1, "Abuse", 0.99),
    ("unlabelled", "test", None, "", 0.3), ("lost", "test", 1, "Abuse", 0.0),
]  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> tuple[list[dict[str, Any]], dict[str, Folder]]:
    videos = [{"video_id": n, "split": s, "label": y, "class": c} for n, s, y, c, _ in VIDEOS]
    return videos, {n: Folder(tmp_path / n, peak) for n, *_, peak in VIDEOS if n != "lost"}


def test_anomalous_class_by_class_then_normal_by_score_then_the_rest(
    world: tuple[list[dict[str, Any]], dict[str, Folder]],
) -> None:
    choice = choose_videos(*world, 60)
    assert [video["video_id"] for video in choice.shown] == [
        "abuse1", "arson1", "abuse2", "loud", "calm", "unlabelled", "train1",
    ]  # fmt: skip
    assert choice.without_scores == ("lost",)
    assert sum(choice.left_out.values()) == 0


@pytest.mark.parametrize(
    ("most", "left_out"),
    [
        (0, {ANOMALOUS: 3, NORMAL: 2, REST: 2}),
        (2, {ANOMALOUS: 1, NORMAL: 2, REST: 2}),
        (4, {ANOMALOUS: 0, NORMAL: 1, REST: 2}),
        (6, {ANOMALOUS: 0, NORMAL: 0, REST: 1}),
    ],
)
def test_what_is_left_out_is_counted(
    world: tuple[list[dict[str, Any]], dict[str, Folder]], most: int, left_out: dict[str, int]
) -> None:
    choice = choose_videos(*world, most)
    assert len(choice.shown) == most
    assert dict(choice.left_out) == left_out


def test_scores_are_read_only_where_they_decide(
    world: tuple[list[dict[str, Any]], dict[str, Folder]],
) -> None:
    videos, folders = world
    (folders["train1"].path / "smoothed.parquet").unlink()
    choice = choose_videos(videos, folders, 5)
    assert choice.left_out[REST] == 2


def test_frames_become_seconds_through_the_segments() -> None:
    """Segment 1 runs at half the speed; frame 36 is its middle."""
    columns = {
        "start_frame": [0, 24], "end_frame": [24, 48], "start_s": [0.5, 1.5], "end_s": [1.5, 3.5],
    }  # fmt: skip
    assert seconds_of([0, 24], columns) == (0.5, 1.5)
    assert seconds_of([12, 36], columns) == (1.0, 2.5)
    assert seconds_of([36, 50], columns) == (2.5, 3.5), "cut off at the end of the video"
