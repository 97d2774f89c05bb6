"""Detected and annotated intervals are matched one to one, the best overlap first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.probes.events import matched, overlap

ranges = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda p: (p[0], p[0] + p[1])), max_size=6
)


@settings(max_examples=100, deadline=None)
@given(ranges.filter(bool), ranges.filter(bool))
def test_overlap_equals_a_count_of_frames(first, second):
    a, b = first[0], second[0]
    frames_a, frames_b = set(range(*a)), set(range(*b))
    assert overlap(a, b) == pytest.approx(len(frames_a & frames_b) / len(frames_a | frames_b))


@settings(max_examples=100, deadline=None)
@given(ranges, ranges, st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_matching_equals_taking_the_best_pair_again_and_again(detected, annotated, tiou):
    left, right, count = list(detected), list(annotated), 0
    while left and right:
        best = max(
            ((overlap(d, a), -i, -j) for i, d in enumerate(left) for j, a in enumerate(right))
        )
        if best[0] < tiou:
            break
        del left[-best[1]], right[-best[2]]
        count += 1
    assert matched(detected, annotated, tiou) == count


def test_two_detections_of_one_event_count_once():
    assert matched([(0, 50), (50, 100)], [(0, 100)], 0.5) == 1
    assert matched([(0, 100)], [(0, 50), (50, 100)], 0.5) == 1


def test_intervals_that_only_touch_do_not_match():
    assert matched([(0, 10)], [(10, 20)], 0.1) == 0
    assert matched([], [(0, 1)], 0.1) == matched([(0, 1)], [], 0.1) == 0
