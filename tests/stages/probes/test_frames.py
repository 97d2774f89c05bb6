"""Runs of frames say the same as an array with one entry per frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError
from stages.evaluate import Settings
from stages.probes.frames import (
    VIEWS,
    Detection,
    evaluated_frames,
    evaluated_runs,
    evaluated_video,
    frame_labels,
    pool_of,
    read_truth,
)
from stages.probes.spans import Spans
from tests.real_lists import LISTS, needs_lists
from tests.real_tests import entries_of


def spans_of(n_frames, length=24):
    starts = np.arange(0, n_frames, length)
    ends = np.minimum(starts + length, n_frames)
    return Spans(starts, ends, starts / 30, ends / 30)


def entry(*intervals, label=None, name="Abuse", listed=None):
    given = int(bool(intervals)) if label is None else label
    pairs = [list(pair) for pair in intervals]
    return {"label": given, "class": name, "intervals": pairs, "listed_frames": listed}


@st.composite
def annotated(draw):
    """Frames of a video, and intervals that touch, overlap, repeat, and run past the end."""
    n = draw(st.integers(16, 200))
    intervals = []
    for _ in range(draw(st.integers(0, 5))):
        borders = [e for pair in intervals for e in pair if e < n]
        start = draw(
            st.sampled_from(borders) if borders and draw(st.booleans()) else st.integers(0, n - 1)
        )
        intervals.append((start, start + draw(st.integers(1, 60))))
    return n, intervals


def frame_by_frame(n, intervals, view):
    """The labels of the evaluated frames, one after the other."""
    labels = []
    for frame in range(n):
        if view == "floor16" and frame >= 16 * (n // 16):
            break
        last = 0 if view == "inclusive" else -1
        labels.append(int(any(start <= frame <= end + last for start, end in intervals)))
    return labels


@pytest.mark.parametrize("view", VIEWS)
@settings(max_examples=100, deadline=None)
@given(annotated())
def test_a_view_labels_the_frames_that_a_naive_loop_labels(view, case):
    n, intervals = case
    truth = read_truth("v", entry(*intervals), n, view)
    expected = frame_by_frame(n, intervals, view)
    assert truth.evaluated == evaluated_frames(n, view) == len(expected)
    labels = frame_labels(truth, truth.evaluated)
    assert labels.dtype == np.uint8
    assert labels.tolist() == expected
    assert truth.n_frames == n
    ends = [0, *(edge for pair in truth.intervals for edge in pair), truth.evaluated]
    assert ends == sorted(ends)  # sorted, disjoint and inside
    past = [pair for pair in intervals if pair[1] + (view == "inclusive") > n]
    assert truth.clipped == tuple(sorted(past))
    assert truth.left_out == tuple(sorted(p for p in intervals if p[0] >= truth.evaluated))


@pytest.mark.parametrize("view", VIEWS)
@settings(max_examples=60, deadline=None)
@given(annotated(), st.integers(1, 40))
def test_every_evaluated_frame_has_its_label_and_the_score_of_its_run(view, case, length):
    n, intervals = case
    truth = read_truth("v", entry(*intervals), n, view)
    starts = np.arange(0, n, length)
    score = np.random.default_rng(n).random(len(starts))
    video = evaluated_runs("v", truth, starts, n, score, score / 2, 0.25, [], n / 30)
    frames = range(truth.evaluated)
    assert video.frames.min() >= 1
    assert video.n_frames == video.frames.sum() == truth.evaluated
    labels = np.repeat(video.positive, video.frames)
    assert labels.tolist() == [bool(y) for y in frame_by_frame(n, intervals, view)]
    scores = np.repeat(video.score, video.frames)
    assert scores.tolist() == [score[frame // length] for frame in frames]
    np.testing.assert_array_equal(video.smoothed * 2, video.score)
    assert len(video.frames) <= len(starts) + 2 * len(intervals)
    np.testing.assert_array_equal(pool_of([video]).above, video.smoothed > 0.25)
    assert video.seconds == pytest.approx(truth.evaluated / 30)


def test_one_annotation_in_the_three_views():
    intervals = [(0, 3), (3, 5), (18, 21)]
    found = {view: read_truth("v", entry(*intervals), 20, view) for view in VIEWS}
    assert found["exact"].intervals == ((0, 3), (3, 5), (18, 20))
    assert found["inclusive"].intervals == ((0, 6), (18, 20))  # frame 3 is in two: they are one
    assert found["floor16"].intervals == ((0, 3), (3, 5))
    assert found["floor16"].left_out == ((18, 21),)
    assert {view: truth.evaluated for view, truth in found.items()} == {
        "exact": 20, "inclusive": 20, "floor16": 16,
    }  # fmt: skip
    assert all(truth.clipped == ((18, 21),) for truth in found.values())


def test_an_annotation_of_one_number_is_one_frame_where_both_ends_count():
    assert read_truth("v", entry((5, 5)), 20, "inclusive").intervals == ((5, 6),)
    assert read_truth("v", entry((19, 19)), 20, "inclusive").clipped == ()
    for view in ("exact", "floor16"):
        with pytest.raises(ConfigError, match=r"v: the annotated interval \[5, 5\) holds no frame"):
            read_truth("v", entry((5, 5)), 20, view)


def test_an_annotation_that_ends_past_the_video_is_clipped_and_recorded():
    truth = read_truth("v", entry((10, 50), (90, 102)), 100)
    assert truth.intervals == ((10, 50), (90, 100))
    assert truth.clipped == ((90, 102),)
    # Its end counts too: frame 100 is not there.
    assert read_truth("v", entry((90, 100)), 100, "inclusive").clipped == ((90, 100),)
    assert read_truth("v", entry((90, 99)), 100, "inclusive").intervals == ((90, 100),)


def test_overlapping_annotations_are_one_and_touching_ones_are_two():
    assert read_truth("v", entry((30, 40), (0, 20), (10, 25)), 100).intervals == ((0, 25), (30, 40))
    assert read_truth("v", entry((0, 20), (20, 25)), 100).intervals == ((0, 20), (20, 25))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (entry((100, 120)), r"v: .*\[100, 120\) starts past the end, the video has 100 frames;"),
        (
            entry((100, 120), listed=130),
            r"past the end, the video has 100 frames \(130 by its list",
        ),
        (entry((20, 20)), "v: .*holds no frame"),
        (entry((20, 10)), "v: .*holds no frame"),
        (entry((-5, 20)), "v: .*holds no frame"),
        (entry(label=1), "v: label is 1 and 0 intervals"),
        (entry((0, 5), label=0), "v: label is 0 and 1 intervals"),
        (entry(label=3), "v: label is 3"),
    ],
)
@pytest.mark.parametrize("view", ["exact", "floor16"])
def test_an_annotation_that_cannot_be_right_is_refused(given, message, view):
    with pytest.raises(ConfigError, match=message):
        read_truth("v", given, 100, view)


def test_both_ends_are_named_as_the_view_reads_them():
    with pytest.raises(ConfigError, match=r"\[100, 120\] starts past the end"):
        read_truth("v", entry((100, 120)), 100, "inclusive")
    with pytest.raises(ConfigError, match=r"\[20, 19\] holds no frame"):
        read_truth("v", entry((20, 19)), 100, "inclusive")


def test_a_video_of_which_no_frame_is_evaluated_is_refused():
    with pytest.raises(ConfigError, match="v: labels = 'floor16' evaluates none of its 15 frames"):
        read_truth("v", entry(), 15, "floor16")


def test_what_is_scored_or_detected_past_the_evaluated_frames_is_left_out():
    truth = read_truth("v", entry((3, 9)), 30, "floor16")
    found = [Detection(0, 5, 0.9), Detection(10, 25, 0.8), Detection(20, 30, 0.7)]
    scores = np.asarray([0.9, 0.1, 0.8])
    starts = np.asarray([0, 5, 20])
    video = evaluated_runs("v", truth, starts, 30, scores, scores, 0.5, found, 3.0)
    assert video.detected == (Detection(0, 5, 0.9), Detection(10, 16, 0.8))
    assert video.smoothed.tolist() == [0.9, 0.9, 0.1, 0.1]
    assert video.frames.tolist() == [3, 2, 4, 7]
    assert video.seconds == pytest.approx(1.6)


def test_scores_that_do_not_fit_are_refused():
    truth = read_truth("v", entry((3, 9)), 30)
    one = np.asarray([0.5])
    with pytest.raises(ConfigError, match="v: 29 frames are scored, from frame 0 on; expected 30"):
        evaluated_runs("v", truth, np.asarray([0]), 29, one, one, 0.5, [], 1.0)
    with pytest.raises(ConfigError, match="v: 30 frames are scored, from frame 2 on"):
        evaluated_runs("v", truth, np.asarray([2]), 30, one, one, 0.5, [], 1.0)
    found = [Detection(0, 9, 0.5)]
    with pytest.raises(ConfigError, match="v: 1 intervals were detected at no threshold"):
        evaluated_runs("v", truth, np.asarray([0]), 30, one, one, None, found, 1.0)


def test_scores_of_segments_are_runs_with_the_length_of_the_video():
    spans = spans_of(50)
    columns = {"score": np.asarray([0.1, 0.2, 0.3]), "smoothed": np.asarray([0.3, 0.2, 0.1])}
    video = evaluated_video("v", read_truth("v", entry((0, 50)), 50), spans, columns, 0.25, [])
    assert video.frames.tolist() == [24, 24, 2]
    assert video.score.tolist() == [0.1, 0.2, 0.3]
    assert video.seconds == 50 / 30


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


def test_the_views_are_what_the_settings_offer():
    from cache.fields import notes

    assert notes(Settings)["labels"].choices == VIEWS


EXAMPLES = {"ucf_crime": ("__9_gt.npy", 10), "xd_violence": ("__0.npy", 10)}


@needs_lists
@pytest.mark.parametrize("name", list(EXAMPLES))
def test_published_label_arrays_are_ours_element_by_element(name):
    """Arrays that others evaluate with, whose lengths are multiples of 16."""
    suffix, count = EXAMPLES[name]
    paths = sorted((LISTS / name / "gt_examples").iterdir())
    assert len(paths) == count
    anomalous = 0
    for path in paths:
        video, published = path.name.removesuffix(suffix), np.load(path)
        known = entries_of(name)[video]
        n = known["listed_frames"]
        # UCF-Crime, with nine exceptions that are not among the examples; XD-Violence.
        assert len(published) == (16 * (n // 16) if name == "ucf_crime" else 16 * ((n - 1) // 16))
        exact, floor16 = (read_truth(video, known, n, view) for view in ("exact", "floor16"))
        np.testing.assert_array_equal(frame_labels(exact, n)[: len(published)], published)
        # None of these videos has a multiple of 16 frames in XD-Violence, where one would be cut.
        np.testing.assert_array_equal(frame_labels(floor16, floor16.evaluated), published)
        anomalous += bool(published.any())
    assert anomalous >= 4


@needs_lists
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", list(EXAMPLES))
def test_every_real_test_video_is_labelled_as_slicing_an_array_would(name, view):
    for video, known in entries_of(name).items():
        n = known["listed_frames"]
        labels = np.zeros(n)
        for start, end in known["intervals"]:
            labels[start : end + 1 if view == "inclusive" else min(end, n)] = 1
        labels = labels[: 16 * (n // 16)] if view == "floor16" else labels
        truth = read_truth(video, known, n, view)
        np.testing.assert_array_equal(frame_labels(truth, truth.evaluated), labels)


@needs_lists
@pytest.mark.parametrize(
    ("name", "frames", "positive"),
    [("ucf_crime", 1_111_808, 84_182), ("xd_violence", 2_335_801, 538_324)],
)
def test_the_real_test_sets_have_so_many_frames(name, frames, positive):
    truths = [read_truth(v, known, known["listed_frames"]) for v, known in entries_of(name).items()]
    assert sum(truth.evaluated for truth in truths) == frames
    assert sum(int(frame_labels(truth, truth.n_frames).sum()) for truth in truths) == positive


@needs_lists
def test_five_annotations_of_ucf_crime_end_past_their_video():
    known = entries_of("ucf_crime")
    truths = [read_truth(video, entry, entry["listed_frames"]) for video, entry in known.items()]
    past = [end - truth.n_frames for truth in truths for _, end in truth.clipped]
    assert len(past) == 5
    assert set(past) == {1, 2}
