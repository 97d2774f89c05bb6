"""What one score of a plain list is of, told by the lengths of all videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cache.errors import ConfigError
from manifests.scores.contract import ScoreFile, Unit, VideoScores
from manifests.scores.units import Fitting, Length, decide_unit, split_joined


def lists(**counts: int) -> dict[str, VideoScores]:
    return {name: VideoScores(name, np.zeros(count)) for name, count in counts.items()}


def whole(**frames: int) -> dict[str, Length]:
    return {name: Length(count, count) for name, count in frames.items()}


def floored(**frames: int) -> dict[str, Length]:
    return {name: Length(count, count // 16 * 16) for name, count in frames.items()}


@pytest.mark.parametrize(
    ("counts", "lengths", "fitting", "unit"),
    [
        ({"a": 100, "b": 33}, whole(a=100, b=33), Fitting(), "frame"),
        ({"a": 7, "b": 3}, whole(a=100, b=33), Fitting(), "clip"),
        ({"a": 5, "b": 2}, whole(a=100, b=33), Fitting(clip=24), "clip"),
        ({"a": 96, "b": 32}, floored(a=100, b=33), Fitting(), "frame"),
        ({"a": 100, "b": 33}, floored(a=100, b=33), Fitting(), "frame"),
        ({"a": 6, "b": 2}, floored(a=100, b=33), Fitting(), "clip"),
        ({"a": 6, "b": 2}, whole(a=100, b=33), Fitting(short=4), "clip"),
        ({"a": 98, "b": 33}, whole(a=100, b=33), Fitting(short=2), "frame"),
        ({"a": 1, "b": 33}, whole(a=1, b=33), Fitting(), "frame"),
        ({"a": 1}, whole(a=1), Fitting("clip"), "clip"),
        ({}, {}, Fitting(), "frame"),
    ],
)
def test_the_unit_is_the_one_that_fits_every_video(
    counts: dict[str, int], lengths: dict[str, Length], fitting: Fitting, unit: Unit
) -> None:
    assert decide_unit(lists(**counts), lengths, fitting) == unit


@pytest.mark.parametrize(
    ("counts", "lengths", "fitting", "message"),
    [
        ({"a": 1}, whole(a=1), Fitting(), "a: its 1 scores fit its 1 frames both"),
        (
            {"a": 100, "b": 40},
            whole(a=100, b=33),
            Fitting(),
            r"b has 40 scores and 33 frames: 33 \(one per frame\) or 3 \(one per clip of 16\)",
        ),
        (
            {"a": 100, "b": 3},
            whole(a=100, b=33),
            Fitting(),
            "a has 100 scores and 100 frames: that is one per frame; b has 3 scores and 33 frames",
        ),
        ({"a": 101}, whole(a=100), Fitting(), "a has 101 scores and 100 frames"),
        ({"a": 6}, whole(a=100), Fitting(), "--labels floor16 evaluates the first 96 frames only"),
        ({"a": 96}, whole(a=100), Fitting(), "--allow-short 4 leaves out its last 4 frames"),
        ({"a": 6}, whole(a=100), Fitting(short=3), "--allow-short 4"),
        ({"a": 95}, floored(a=100), Fitting(), "a has 95 scores and 100 frames"),
        ({"a": 100}, whole(a=100), Fitting("clip"), r": 7 \(one per clip of 16\) would fit"),
        ({"a": 5, "b": 2}, whole(a=100, b=33), Fitting(), "--clip 20 fits all videos"),
        ({"a": 9, "b": 9}, whole(a=100, b=33), Fitting(), "1 more videos do not fit either"),
    ],
)
def test_what_fits_none_or_both_is_refused_by_name_with_both_numbers(
    counts: dict[str, int], lengths: dict[str, Length], fitting: Fitting, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        decide_unit(lists(**counts), lengths, fitting)


def test_clips_with_numbers_are_clips_whatever_their_count() -> None:
    numbered = {"a": VideoScores("a", np.zeros(1), unit="clip")}
    assert decide_unit(numbered, whole(a=1), Fitting()) == "clip"
    with pytest.raises(ConfigError, match="a has 1 scores and 1 frames"):
        decide_unit(numbered, whole(a=1), Fitting("frame"))


def joined(count: int) -> ScoreFile:
    return ScoreFile(Path("all.npy"), "one", {}, np.arange(count, dtype=np.float64))


@pytest.mark.parametrize(
    ("count", "parts", "unit"),
    [
        (149, [100, 33, 16], "frame"),
        (144, [96, 32, 16], "frame"),
        (11, [7, 3, 1], "clip"),
        (9, [6, 2, 1], "clip"),
    ],
)
def test_one_array_for_all_videos_is_cut_by_the_total(
    count: int, parts: list[int], unit: Unit
) -> None:
    found = split_joined(joined(count), whole(a=100, b=33, c=16), Fitting())
    assert [len(scores.score) for scores in found.values()] == parts
    assert {scores.unit for scores in found.values()} == {unit}
    assert np.concatenate([s.score for s in found.values()]).tolist() == list(range(count))


def test_one_array_may_leave_a_whole_clip_out_at_the_end() -> None:
    found = split_joined(joined(112), whole(a=96, b=33), Fitting())
    assert [len(scores.score) for scores in found.values()] == [80, 32]


def test_a_total_that_does_not_fit_is_refused_with_all_that_would() -> None:
    with pytest.raises(
        ConfigError, match=r"holds 150 scores.*149 \(.*144 \(.*128 \(.*11 \(.*9 \(.*would fit"
    ):
        split_joined(joined(150), whole(a=100, b=33, c=16), Fitting())
    with pytest.raises(ConfigError, match=r"11 \(one per clip\), 9 \(one per whole clip\) would"):
        split_joined(joined(149), whole(a=100, b=33, c=16), Fitting("clip"))


def test_a_total_that_fits_two_ways_is_refused() -> None:
    lengths = whole(long=32, **{f"short{n}": 1 for n in range(30)})
    with pytest.raises(ConfigError, match=r"32 scores can be .*floor\(n/16\) and one per clip"):
        split_joined(joined(32), lengths, Fitting())
    assert len(split_joined(joined(32), lengths, Fitting("clip"))) == 31
