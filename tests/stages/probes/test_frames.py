"""Runs of frames say the same as an array with one entry per frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError
from stages.probes.frames import evaluated_video, pool_of, read_truth
from stages.probes.spans import Spans


def spans_of(n_frames, length=24):
    starts = np.arange(0, n_frames, length)
    ends = np.minimum(starts + length, n_frames)
    return Spans(starts, ends, starts / 30, ends / 30)


def entry(*intervals, label=None, name="Abuse"):
    given = int(bool(intervals)) if label is None else label
    return {"label": given, "class": name, "intervals": [list(pair) for pair in intervals]}


@st.composite
def annotated(draw):
    n = draw(st.integers(1, 200))
    starts = draw(st.lists(st.integers(0, n - 1), max_size=5))
    return n, [(s, s + draw(st.integers(1, 60))) for s in starts]


@settings(max_examples=150, deadline=None)
@given(annotated())
def test_every_frame_has_one_score_and_the_label_of_its_annotation(case):
    n, intervals = case
    spans = spans_of(n)
    score = np.random.default_rng(n).random(len(spans))
    columns = {"score": score, "smoothed": score / 2}
    truth = read_truth("v", entry(*intervals), n)
    video = evaluated_video("v", truth, spans, columns, 0.25, [])
    labels = np.zeros(n, dtype=bool)
    for start, end in intervals:
        labels[start : min(end, n)] = True
    assert video.frames.min() >= 1
    assert video.n_frames == n
    np.testing.assert_array_equal(np.repeat(video.positive, video.frames), labels)
    np.testing.assert_array_equal(
        np.repeat(video.score, video.frames), [score[frame // 24] for frame in range(n)]
    )
    np.testing.assert_array_equal(video.smoothed * 2, video.score)
    assert len(video.frames) <= len(spans) + 2 * len(intervals)
    np.testing.assert_array_equal(pool_of([video]).above, video.smoothed > 0.25)


def test_an_annotation_that_ends_past_the_video_is_clipped_and_recorded():
    truth = read_truth("v", entry((10, 50), (90, 102)), 100)
    assert truth.intervals == ((10, 50), (90, 100))
    assert truth.clipped == ((90, 102),)


def test_overlapping_annotations_are_one_and_touching_ones_are_two():
    assert read_truth("v", entry((30, 40), (0, 20), (10, 25)), 100).intervals == ((0, 25), (30, 40))
    assert read_truth("v", entry((0, 20), (20, 25)), 100).intervals == ((0, 20), (20, 25))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (entry((100, 120)), r"v: .*\[100, 120\) starts past the end, the video has 100 frames"),
        (entry((20, 20)), "v: .*holds no frame"),
        (entry((-5, 20)), "v: .*holds no frame"),
        (entry(label=1), "v: label is 1 and 0 intervals"),
        (entry((0, 5), label=0), "v: label is 0 and 1 intervals"),
        (entry(label=3), "v: label is 3"),
    ],
)
def test_an_annotation_that_cannot_be_right_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        read_truth("v", given, 100)


def test_a_pool_numbers_its_videos():
    videos = []
    for n in (50, 10):
        spans = spans_of(n)
        score = np.linspace(0, 1, len(spans))
        columns = {"score": score, "smoothed": score}
        videos.append(evaluated_video("v", read_truth("v", entry(), n), spans, columns, 0.5, []))
    pool = pool_of(videos)
    assert pool.video.tolist() == [0, 0, 0, 1]
    assert pool.frames.tolist() == [24, 24, 2, 10]
    assert pool.above.tolist() == [False, False, True, False]
