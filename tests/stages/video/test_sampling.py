"""Segments and keyframes: every rule of METHOD in numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import ConfigError, ItemError
from stages.video.sampling import choose_keyframes, place_keyframes, split_video

RULES = st.sampled_from(["midpoints", "endpoints"])
LENGTHS = st.integers(1, 60)
COUNTS = st.integers(1, 20)


def test_the_worked_example() -> None:
    assert place_keyframes(24, 8, "midpoints") == [1, 4, 7, 10, 13, 16, 19, 22]


def test_endpoints_reach_from_the_first_frame_to_the_last() -> None:
    assert place_keyframes(24, 8, "endpoints") == [0, 3, 7, 10, 13, 16, 20, 23]
    assert place_keyframes(24, 1, "endpoints") == [0]
    assert place_keyframes(6, 3, "endpoints") == [0, 2, 5], "2.5 goes to the even side"


def test_frames_repeat_in_a_segment_shorter_than_the_keyframes() -> None:
    assert place_keyframes(3, 8, "midpoints") == [0, 0, 0, 1, 1, 2, 2, 2]
    assert place_keyframes(1, 4, "midpoints") == [0, 0, 0, 0]
    assert place_keyframes(1, 4, "endpoints") == [0, 0, 0, 0]


def test_a_rule_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match='"middle" is not known; use "midpoints" or "endpoints"'):
        place_keyframes(24, 8, "middle")


@given(n=st.integers(0, 400), length=LENGTHS)
def test_every_frame_is_in_exactly_one_segment(n: int, length: int) -> None:
    segments = split_video(n, length)
    covered = [frame for start, end in segments for frame in range(start, end)]
    assert covered == list(range(n))
    assert len(segments) == math.ceil(n / length)
    assert all(end - start == length for start, end in segments[:-1])
    assert all(1 <= end - start <= length for start, end in segments)


@given(m=st.integers(1, 200), count=COUNTS, rule=RULES)
def test_places_are_sorted_and_inside(m: int, count: int, rule: str) -> None:
    places = place_keyframes(m, count, rule)
    assert len(places) == count
    assert places == sorted(places)
    assert places[0] >= 0
    assert places[-1] < m
    if count <= m:
        assert len(set(places)) == count, "no frame repeats where there are enough"


@given(m=st.integers(1, 200), count=COUNTS)
def test_midpoints_are_the_middles_of_equal_parts(m: int, count: int) -> None:
    expected = [math.floor((i + 0.5) * m / count + 1e-12) for i in range(count)]
    assert place_keyframes(m, count, "midpoints") == expected
    mirrored = [m - 1 - place for place in reversed(place_keyframes(m, count, "midpoints"))]
    assert all(
        abs(a - b) <= 1
        for a, b in zip(mirrored, place_keyframes(m, count, "midpoints"), strict=True)
    ), "neither end of a segment is favoured"


@given(n=st.integers(1, 200), length=LENGTHS, count=COUNTS, rule=RULES)
def test_keyframes_of_a_sound_video(n: int, length: int, count: int, rule: str) -> None:
    chosen = choose_keyframes([True] * n, length, count, rule)
    segments = split_video(n, length)
    assert [(c.segment, c.k) for c in chosen] == [
        (s, k) for s in range(len(segments)) for k in range(count)
    ]
    assert not any(c.substituted for c in chosen)
    assert all(segments[c.segment][0] <= c.frame < segments[c.segment][1] for c in chosen)
    assert [c.frame for c in chosen] == sorted(c.frame for c in chosen)


@given(sound=st.lists(st.booleans(), min_size=1, max_size=80), rule=RULES)
def test_unsound_keyframes_are_replaced_by_the_nearest_earlier_one(
    sound: list[bool], rule: str
) -> None:
    plan = choose_keyframes([True] * len(sound), 24, 8, rule)
    try:
        chosen = choose_keyframes(sound, 24, 8, rule)
    except ItemError:
        assert any(not any(sound[p.segment * 24 : p.frame + 1]) for p in plan)
        return
    for wanted, got in zip(plan, chosen, strict=True):
        assert sound[got.frame]
        assert wanted.segment * 24 <= got.frame <= wanted.frame
        assert not any(sound[got.frame + 1 : wanted.frame + 1])
        assert got.substituted == (got.frame != wanted.frame)


def test_a_segment_without_a_sound_frame_is_named() -> None:
    sound = [True] * 24 + [False] * 24 + [True] * 10
    with pytest.raises(ItemError, match=r"segment 1 \(frames 24 to 47\) has no sound frame"):
        choose_keyframes(sound, 24, 8, "midpoints")


def test_a_substitute_never_comes_from_another_segment() -> None:
    sound = [True] * 24 + [False, False] + [True] * 22
    with pytest.raises(ItemError, match=r"segment 1 .* keyframe 25"):
        choose_keyframes(sound, 24, 8, "midpoints")
