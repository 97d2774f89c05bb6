"""Lists of frame counts."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from cache.errors import ConfigError
from manifests.datasets.frame_counts import FrameCount, gather_counts, read_frame_counts
from tests.real_lists import MSAD, UCF, XD, needs_lists


def write(tmp_path: Path, text: str, name: str = "counts.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_csv_with_and_without_a_rate(tmp_path: Path) -> None:
    path = write(tmp_path, "video,n_frames,fps\r\na.mp4,12,24.0\r\nb,7,\r\n")
    assert read_frame_counts(path) == (FrameCount("a.mp4", 12, 24.0), FrameCount("b", 7, None))
    assert read_frame_counts(write(tmp_path, "n_frames,video\n3,x\n")) == (FrameCount("x", 3),)


def test_first_and_last_frame_are_both_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "Assault_2 0 235 1\nframes/Abuse/a.mp4  0 0  2\nb 5 9\n")
    assert [(count.video, count.frames) for count in read_frame_counts(path)] == [
        ("Assault_2", 236),
        ("frames/Abuse/a.mp4", 1),
        ("b", 5),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("video,n_frames\na,0\n", "line 2: a: n_frames is '0'; expected 1 or more"),
        ("video,n_frames\na,x\n", "line 2: a: n_frames is 'x'; expected 1 or more"),
        ("video,frames\na,5\n", "line 2: a: n_frames is ''; expected 1 or more"),
        ("video,n_frames\n,5\n", "line 2: the column 'video' is empty"),
        ("video,n_frames,fps\na,5,0\n", "line 2: a: fps is '0'; expected a number above 0"),
        ("video,n_frames,fps\na,5,inf\n", "line 2: a: fps is 'inf'; expected a number above 0"),
        ("a 0 5 1\nb 5\n", "line 2: 'b 5': expected `name first last`"),
        ("a 0 5 1 7\n", "line 1: 'a 0 5 1 7': expected `name first last`"),
        ("a 0 x 1\n", "line 1: 'a 0 x 1': expected `name first last`"),
        ("a 6 5 1\n", "line 1: a: frames 6 to 5 are none"),
    ],
)
def test_what_cannot_be_right_is_answered_with_its_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_frame_counts(write(tmp_path, text))
    assert str(caught.value).split("\n  ")[1].startswith(problem)


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no frame count"):
        read_frame_counts(write(tmp_path, "video,n_frames\n"))


def test_where_two_lists_differ_the_first_holds_and_both_numbers_are_said(tmp_path: Path) -> None:
    one = write(tmp_path, "video,n_frames\nx/A.mp4,12\nb,7\n", "one.csv")
    two = write(tmp_path, "a 0 11 1\nB 0 7 1\n", "two.txt")
    counts, deviations = gather_counts((one, two))
    assert {name: count.frames for name, count in counts.items()} == {"a": 12, "b": 7}
    ((kind, subject, stops, text),) = [(d.kind, d.subject, d.stops, d.text) for d in deviations]
    assert (kind, subject, stops) == ("frames", "B", False)
    assert "7 frames in one.csv and 8 in two.txt" in text


@needs_lists
def test_the_published_lists_name_every_video_once() -> None:
    for path, videos in (
        (UCF / "test_frame_counts.csv", 290),
        (UCF / "train_frame_counts.txt", 1610),
        (XD / "test_frame_counts.csv", 800),
        (XD / "train_frame_counts.csv", 3954),
        (MSAD / "anomaly_test.txt", 240),
    ):
        counts, deviations = gather_counts((path,))
        assert (len(counts), len(read_frame_counts(path)), deviations) == (videos, videos, ())


@needs_lists
def test_that_the_last_number_of_a_range_is_a_frame_is_shown_by_published_scores() -> None:
    scores = json.loads((MSAD / "vadtree_final_scores.json").read_text())["vid_score"]
    counts = {c.video: c.frames for c in read_frame_counts(MSAD / "anomaly_test.txt")}
    assert counts == {name.removesuffix(".mp4"): len(values) for name, values in scores.items()}


@needs_lists
def test_counts_of_ucf_crime_are_most_often_whole_seconds_in_both_splits() -> None:
    """Weaker: what speaks for a last frame in the training list too (see the module)."""
    with (UCF / "test_frame_counts.csv").open(newline="") as file:
        test = Counter(int(row["n_frames"]) % 30 for row in csv.DictReader(file))
    train = Counter(c.frames % 30 for c in read_frame_counts(UCF / "train_frame_counts.txt"))
    assert train.most_common(1)[0][0] == test.most_common(1)[0][0] == 0
