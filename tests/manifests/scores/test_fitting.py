"""Scores laid on the frames of a video: every frame has exactly one, or the video is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cache.errors import ConfigError
from manifests.scores.contract import VideoScores
from manifests.scores.fitting import Stretches, lay
from manifests.scores.rows import intervals_of, starts_of
from manifests.scores.units import Fitting, Length


def ints(*values: int) -> Any:
    return np.asarray(values, dtype=np.int64)


def plain(*score: float) -> VideoScores:
    return VideoScores("v", np.asarray(score))


def intervals(*rows: tuple[int, int]) -> VideoScores:
    start, end = np.asarray(rows, dtype=np.int64).T
    return intervals_of("v", start, end, np.arange(len(rows), dtype=np.float64))


def starts(*start: int) -> VideoScores:
    return starts_of("v", ints(*start), np.arange(len(start), dtype=np.float64))


def per_frame(laid: Stretches) -> list[float]:
    """The score of every frame, as a list."""
    return np.repeat(laid.score, np.diff(laid.start, append=laid.frames)).tolist()


def test_a_score_per_frame() -> None:
    laid = lay(plain(1, 1, 2, 2, 1), Length(5, 5), "frame", Fitting())
    assert per_frame(laid) == [1, 1, 2, 2, 1]
    assert laid.start.tolist() == [0, 2, 4]  # equal neighbours are one run


def test_scores_before_smoothing_keep_runs_apart() -> None:
    scores = VideoScores("v", np.ones(3), unsmoothed=np.asarray([0.5, 0.5, 0.7]))
    laid = lay(scores, Length(3, 3), "frame", Fitting())
    assert laid.start.tolist() == [0, 2]
    assert laid.unsmoothed is not None
    assert laid.unsmoothed.tolist() == [0.5, 0.7]


def test_a_score_per_clip_is_that_of_its_frames() -> None:
    laid = lay(plain(1, 2), Length(7, 7), "clip", Fitting(clip=4))
    assert per_frame(laid) == [1, 1, 1, 1, 2, 2, 2]


def test_frames_at_the_end_may_lack_a_score_where_that_is_allowed() -> None:
    laid = lay(plain(1), Length(7, 7), "clip", Fitting(clip=4, short=3))
    assert (per_frame(laid), laid.frames) == ([1, 1, 1, 1], 4)
    assert lay(intervals((0, 5)), Length(7, 7), "frame", Fitting(short=2)).frames == 5
    assert lay(intervals((0, 5)), Length(7, 5), "frame", Fitting()).frames == 5


def test_intervals_in_any_order() -> None:
    laid = lay(intervals((3, 5), (0, 3)), Length(5, 5), "frame", Fitting())
    assert per_frame(laid) == [1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("scores", "frames", "message"),
    [
        (intervals((1, 5)), 5, "v: frames 0 to 0 have no score: the first one starts at frame 1"),
        (intervals((0, 2), (3, 5)), 5, r"frames 2 to 2, between \[0, 2\) and \[3, 5\)"),
        (intervals((0, 2), (3, 5)), 5, "the ends seem to be the last frames"),
        (intervals((0, 3), (2, 5)), 5, r"v: frame 2 has two scores, of \[0, 3\) and \[2, 5\)"),
        (intervals((0, 3), (0, 5)), 5, "v: frame 0 has two scores"),
        (
            intervals((0, 4)),
            5,
            "v: its scores end at frame 4, the video has 5 frames; --allow-short 1",
        ),
        (intervals((0, 30)), 5, "v: its scores reach to frame 30, the video has 5 frames"),
        (intervals((0, 5), (5, 6)), 5, "v: its scores reach to frame 6, the video has 5 frames"),
        (starts(0, 2, 5), 5, "v: its scores reach to frame 6, the video has 5 frames"),
        (starts(0, 1, 2), 5, "v: its scores end at frame 3, the video has 5 frames"),
        (starts(1, 2), 3, "v: frames 0 to 0 have no score"),
    ],
)
def test_gaps_overlaps_and_other_lengths_are_refused_by_name(
    scores: VideoScores, frames: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        lay(scores, Length(frames, frames), "frame", Fitting())


def test_a_last_clip_past_the_end_is_cut_and_counted() -> None:
    laid = lay(intervals((0, 16), (16, 32)), Length(20, 20), "frame", Fitting())
    assert (laid.frames, laid.cut) == (20, 12)


def test_a_start_holds_until_the_next_and_the_last_as_long_as_the_longest_before_it() -> None:
    assert per_frame(lay(starts(0, 3), Length(5, 5), "frame", Fitting())) == [0, 0, 0, 1, 1]
    assert per_frame(lay(starts(0, 2, 3), Length(5, 5), "frame", Fitting())) == [0, 0, 1, 2, 2]


def test_a_single_start_holds_as_long_as_the_file_says() -> None:
    assert lay(starts(0), Length(5, 5), "frame", Fitting(), longest=5).frames == 5
    assert lay(starts(0), Length(5, 5), "frame", Fitting()).frames == 5
    with pytest.raises(ConfigError, match="v: its scores end at frame 4"):
        lay(starts(0), Length(5, 5), "frame", Fitting(), longest=4)
