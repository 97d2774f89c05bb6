"""Smoothing and intervals equal a naive computation frame by frame."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ItemError
from stages.probes.localization import intervals_above, sigma_in_segments, smooth
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


scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(scores, st.sampled_from([0.4, 1.5, 6.0]), st.sampled_from(["reflect", "nearest", "mirror"]))
def test_smoothing_equals_a_sum_over_neighbours(values, sigma, mode):
    found = smooth(np.asarray(values), sigma, mode)
    np.testing.assert_allclose(found, naive_smooth(values, sigma, mode), rtol=1e-9, atol=1e-12)


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
