"""Smoothing and intervals equal a naive computation frame by frame."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from cache.errors import ItemError
from stages.probes.localization import (
    intervals_above,
    lasting,
    merged,
    sigma_in_segments,
    smooth,
    smooth_video,
)
from stages.probes.localization_settings import Settings
from stages.probes.spans import Spans


def spans_of_lengths(lengths, fps=30.0):
    ends = np.cumsum(lengths)
    starts = ends - lengths
    return Spans(starts, ends, starts / fps, ends / fps)


def neighbour(at, n, mode):
    """The index that stands for position `at` beyond the ends of a series of n."""
    if mode == "nearest" or n == 1:
        return min(max(at, 0), n - 1)
    period = 2 * n if mode == "reflect" else 2 * n - 2
    at %= period
    return at if at < n else period - at - (1 if mode == "reflect" else 0)


def naive_smooth(scores, sigma, mode):
    radius = int(4 * sigma + 0.5)
    kernel = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)]
    return [
        sum(
            w * scores[neighbour(i + k, len(scores), mode)]
            for k, w in zip(range(-radius, radius + 1), kernel, strict=True)
        )
        / sum(kernel)
        for i in range(len(scores))
    ]


MODES = ("reflect", "nearest", "mirror")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1), min_size=1, max_size=40),
    st.sampled_from([0.4, 1.5, 5.0]) | st.floats(0.01, 5.0),
    st.sampled_from(MODES),
)
def test_smoothing_equals_scipys_and_a_sum_over_neighbours(values, sigma, mode):
    # A kernel of sigma 5 reaches 20 segments to each side: over most of these videos, and back.
    found = smooth(np.asarray(values), sigma, mode)
    np.testing.assert_array_equal(found, gaussian_filter1d(values, sigma, mode=mode))
    np.testing.assert_allclose(found, naive_smooth(values, sigma, mode), rtol=1e-9, atol=1e-12)
    assert min(values) - 1e-12 <= found.min()
    assert found.max() <= max(values) + 1e-12


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sigma", [0.0, 0.4, 5.0])
def test_a_video_of_one_segment_keeps_its_score(sigma, mode):
    assert smooth(np.asarray([0.625]), sigma, mode) == pytest.approx([0.625], rel=1e-15)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sigma", [0.0, 0.4])
def test_scores_that_are_not_finite_are_refused(value, sigma):
    with pytest.raises(ItemError, match=rf"^the score of segment 2 is {value}, expected a finite"):
        smooth(np.asarray([0.1, 0.2, value, 0.3, value]), sigma, "reflect")


def test_sigma_0_changes_nothing():
    values = np.asarray([0.1, 0.9, 0.3])
    assert smooth(values, 0, "reflect").tolist() == values.tolist()


def test_seconds_are_divided_by_the_median_length_of_a_segment():
    spans = spans_of_lengths([24, 24, 24, 5], fps=12.0)
    assert sigma_in_segments(0.4, "segments", spans, "v") == 0.4
    assert sigma_in_segments(3.0, "seconds", spans, "v") == 1.5
    still = Spans(spans.start_frame, spans.end_frame, np.zeros(4), np.zeros(4))
    with pytest.raises(ItemError, match=r"last 0.0 s, expected more than 0"):
        sigma_in_segments(3.0, "seconds", still, "v")


@pytest.mark.parametrize(("lengths", "found"), [([24, 1], 1.5), ([24, 24, 1], 1.5), ([6], 6.0)])
def test_a_last_segment_that_is_cut_short_says_nothing_of_the_others(lengths, found):
    assert sigma_in_segments(3.0, "seconds", spans_of_lengths(lengths, fps=12.0), "v") == found


def test_frames_at_irregular_times_are_smoothed_with_the_length_in_the_middle():
    starts = np.asarray([0.0, 1.0, 9.0, 11.0, 12.0])
    ends = np.append(starts[1:], 12.5)
    spans = Spans(24 * np.arange(5), 24 * np.arange(1, 6), starts, ends)  # 1, 8, 2 and 1 s, and .5
    assert sigma_in_segments(3.0, "seconds", spans, "v") == 2.0
    found = smooth_video(np.eye(5)[2], spans, Settings(sigma=3.0, sigma_unit="seconds"), "v")
    np.testing.assert_array_equal(found, gaussian_filter1d(np.eye(5)[2], 2.0))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0.0, 0.5, 0.7, 1.0])), min_size=1))
def test_intervals_are_the_runs_of_frames_above_the_threshold(segments):
    lengths, values = (np.asarray(part) for part in zip(*segments, strict=True))
    spans = spans_of_lengths(lengths)
    frames = np.repeat(values, lengths)  # one score for every frame
    assert len(frames) == spans.n_frames
    expected, run = [], []
    for frame, value in enumerate([*frames.tolist(), 0.0]):
        if value > 0.5:
            run.append(frame)
        elif run:
            inside = frames[run]
            expected.append((run[0], run[-1] + 1, inside.max(), inside.mean()))
            run = []
    found = [
        (spans.start_frame[i.first], spans.end_frame[i.stop - 1], i.peak, i.mean)
        for i in intervals_above(values, spans, 0.5)
    ]
    assert [f[:3] for f in found] == [e[:3] for e in expected]
    np.testing.assert_allclose([f[3] for f in found], [e[3] for e in expected], rtol=1e-12)
    assert all(f[3] <= f[2] for f in found)


def naive_intervals(frames, starts, ends, threshold, merge, least):
    """Frame by frame, in whole milliseconds: mark, close gaps, forget what is short."""
    marked = [value > threshold for value in frames]
    runs, inside = [], False
    for frame, above in enumerate(marked):
        if above and not inside:
            runs.append([frame, frame + 1])
        elif above:
            runs[-1][1] = frame + 1
        inside = above
    closed = []
    for first, stop in runs:
        if merge and closed and round(1000 * (starts[first] - ends[closed[-1][1] - 1])) <= merge:
            closed[-1][1] = stop
        else:
            closed.append([first, stop])
    return [
        (first, stop, max(frames[first:stop]), sum(frames[first:stop]) / (stop - first))
        for first, stop in closed
        if not least or round(1000 * (ends[stop - 1] - starts[first])) >= least
    ]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from([0.0, 0.5, 0.7, 1.0])),
        min_size=1,
        max_size=25,
    ),
    st.sampled_from([20.0, 25.0, 40.0]),
    st.integers(0, 40),
    st.integers(0, 80),
)
def test_intervals_are_merged_and_then_dropped_as_frame_by_frame(segments, fps, merge, least):
    lengths, values = (np.asarray(part) for part in zip(*segments, strict=True))
    spans = spans_of_lengths(lengths, fps)
    frames = np.repeat(values, lengths).tolist()
    starts = [frame / fps for frame in range(len(frames))]
    ends = [(frame + 1) / fps for frame in range(len(frames))]
    # In steps of a frame, so that gaps and lengths often are exactly what is asked for.
    merge, least = round(1000 * merge / fps), round(1000 * least / fps)
    expected = naive_intervals(frames, starts, ends, 0.5, merge, least)
    runs = intervals_above(values, spans, 0.5)
    found = lasting(merged(runs, values, spans, merge / 1000), spans, least / 1000)
    assert [(spans.start_frame[i.first], spans.end_frame[i.stop - 1], i.peak) for i in found] == [
        e[:3] for e in expected
    ]
    np.testing.assert_allclose([i.mean for i in found], [e[3] for e in expected], rtol=1e-12)
    assert all(i.mean <= i.peak for i in found)


def test_without_a_gap_or_a_least_length_nothing_changes_whatever_the_times():
    spans = spans_of_lengths([24] * 5)
    values = np.asarray([0.9, 0.1, 0.9, 0.1, 0.9])
    runs = intervals_above(values, spans, 0.5)
    assert merged(runs, values, spans, 0.0) == runs == lasting(runs, spans, 0.0)
    backwards = Spans(spans.start_frame, spans.end_frame, -spans.start_s, -spans.end_s)
    assert merged(runs, values, backwards, 0.0) == runs == lasting(runs, backwards, 0.0)


def test_peak_and_mean_are_those_of_all_that_was_merged():
    spans = spans_of_lengths([10, 20, 10], fps=10.0)
    values = np.asarray([0.9, 0.0, 0.6])
    (one,) = merged(intervals_above(values, spans, 0.5), values, spans, 2.0)
    assert (one.first, one.stop, one.peak) == (0, 3, 0.9)
    assert one.mean == pytest.approx((10 * 0.9 + 10 * 0.6) / 40)


def test_a_gap_of_so_many_seconds_is_one_wherever_it_lies():
    # Differences of times like 7.2 - 5.6 are a rounding above 1.6.
    n = 200
    spans = spans_of_lengths([24] * n)
    values = np.tile([0.9, 0.1, 0.1], n)[:n]
    runs = intervals_above(values, spans, 0.5)
    assert any(spans.start_s[b.first] - spans.end_s[a.stop - 1] > 1.6 for a, b in pairwise(runs))
    assert len(merged(runs, values, spans, 1.6)) == 1
    assert len(merged(runs, values, spans, 1.59)) == len(runs)
    assert lasting(runs, spans, 0.8) == runs
    assert lasting(runs, spans, 0.81) == []
