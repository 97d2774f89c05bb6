"""Detected and annotated intervals are matched one to one, the best overlap first."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from stages.probes.events import detection_ap, hits_of, matched, overlap
from stages.probes.frames import Detection

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


detections = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 30), st.sampled_from([0.2, 0.5, 0.8, 0.9])).map(
        lambda d: Detection(d[0], d[0] + d[1], d[2])
    ),
    max_size=8,
)


def hits_by_hand(detected, annotated, tiou):
    """Down the ranking: the best annotation that is left is taken, if it overlaps enough."""
    left, hits = sorted(annotated), {}
    ranked = sorted(enumerate(detected), key=lambda pair: (-pair[1].score, pair[1].span))
    for number, found in ranked:
        overlaps = [overlap(found.span, a) for a in left]
        hits[number] = bool(overlaps) and max(overlaps) >= tiou
        if hits[number]:
            del left[overlaps.index(max(overlaps))]
    return [hits[number] for number in range(len(detected))]


@settings(max_examples=150, deadline=None)
@given(detections, ranges, st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_hits_are_taken_down_the_ranking(detected, annotated, tiou):
    hits = hits_of(detected, annotated, tiou)
    assert hits.tolist() == hits_by_hand(detected, annotated, tiou)
    assert hits.sum() <= len(annotated)
    # In which order detections are given does not matter.
    order = sorted(range(len(detected)), key=lambda i: (detected[i].span, detected[i].score))
    again = hits_of([detected[i] for i in order], annotated, tiou)
    assert sorted(again) == sorted(hits)


def test_a_detection_takes_the_event_that_it_overlaps_most_of_those_left():
    annotated = [(0, 10), (8, 30)]
    best_first = [Detection(6, 30, 0.9), Detection(0, 12, 0.8), Detection(7, 30, 0.7)]
    assert hits_of(best_first, annotated, 0.3).tolist() == [True, True, False]
    assert hits_of(best_first, annotated, 0.95).tolist() == [False, False, True]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.6, 0.9]), st.booleans()), max_size=12))
def test_average_precision_equals_scikit_learns_times_the_share_of_events_that_are_hit(found):
    scores = np.asarray([score for score, _ in found])
    hits = np.asarray([hit for _, hit in found], dtype=bool)
    for unseen in (0, 3):
        annotated = int(hits.sum()) + unseen
        ap = detection_ap(scores, hits, annotated)
        if annotated == 0:
            assert ap is None
        elif not hits.any():
            assert ap == 0
        else:
            expected = average_precision_score(hits, scores) * hits.sum() / annotated
            assert ap == pytest.approx(expected, rel=1e-12)


def test_average_precision_by_hand():
    # Hit, miss, hit, of four events: recall 1/4 at precision 1, 2/4 at 2/3, and never more.
    scores, hits = np.asarray([0.9, 0.8, 0.7]), np.asarray([True, False, True])
    assert detection_ap(scores, hits, 4) == pytest.approx(1 / 4 + (2 / 3) / 4)
    # Of one score all three count at once.
    assert detection_ap(np.full(3, 0.5), hits, 4) == pytest.approx((2 / 4) * (2 / 3))
    assert detection_ap(scores[:0], hits[:0], 4) == 0
    assert detection_ap(scores, hits, 0) is None
