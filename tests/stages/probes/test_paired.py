"""The paired bootstrap: its p-value by hand, from resampled frames, and where nothing differs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.metrics import average_precision_score, roc_auc_score

from stages.probes.bootstrap import draws
from stages.probes.evaluation import evaluation_of
from stages.probes.frames import EvaluatedVideo, evaluated_runs, read_truth
from stages.probes.paired import paired_p_value
from stages.probes.spans import Floats

VIDEOS, RUNS, FRAMES = 14, 5, 6
"""Every second video is anomalous; a run of frames has one score."""


def labels_of(video: int) -> list[int]:
    """Frame by frame: of an anomalous video the middle third."""
    n = RUNS * FRAMES
    return [int(video % 2 == 1 and n // 3 <= frame < 2 * n // 3) for frame in range(n)]


def evaluated(video: int, scores: Floats) -> EvaluatedVideo:
    """A video whose runs have these scores [runs]."""
    n = RUNS * FRAMES
    intervals = [[n // 3, 2 * n // 3]] if video % 2 else []
    entry = {
        "label": video % 2,
        "class": "Fight" if video % 2 else "Normal",
        "intervals": intervals,
        "listed_frames": None,
    }
    name = f"v{video:02}"
    starts = np.arange(0, n, FRAMES)
    truth = read_truth(name, entry, n)
    return evaluated_runs(name, truth, starts, n, scores, scores, None, [], None)


def replicates(scores: Floats, count: int, seed: int = 0) -> dict[str, Floats]:
    """The bootstrapped figures of scores [videos, runs]."""
    videos = [evaluated(video, row) for video, row in enumerate(scores)]
    return evaluation_of(videos, bootstrap=count, seed=seed, tiou=(0.5,)).replicates


def by_hand(first: list[float], second: list[float]) -> float:
    # What is equal as a fraction differs by rounding in floating point.
    differences = [round(b - a, 12) for a, b in zip(first, second, strict=True)]
    less, more = sum(d <= 0 for d in differences), sum(d >= 0 for d in differences)
    return min(1.0, 2 * (min(less, more) + 1) / (len(first) + 1))


def test_a_difference_in_every_replicate_gives_the_smallest_value() -> None:
    better = np.full(999, 0.6)
    assert paired_p_value(np.full(999, 0.5), better) == pytest.approx(2 / 1000)
    assert paired_p_value(better, np.full(999, 0.5)) == pytest.approx(2 / 1000)


def test_the_same_run_twice_gives_one() -> None:
    figures = np.random.default_rng(0).random(50)
    assert paired_p_value(figures, figures) == 1.0


def test_replicates_in_which_a_figure_is_not_defined_take_no_part() -> None:
    first = np.asarray([0.5, np.nan, 0.5, 0.5, 0.9])
    second = np.asarray([0.6, 0.1, np.nan, 0.7, 0.8])
    assert paired_p_value(first, second) == pytest.approx(2 * (1 + 1) / (3 + 1))
    assert paired_p_value(first[1:3], second[1:3]) is None
    assert paired_p_value(first[:0], second[:0]) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_it_is_symmetric_and_what_counting_gives(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.asarray(values, dtype=np.float64) for values in zip(*pairs, strict=True))
    p = paired_p_value(first, second)
    assert p == paired_p_value(second, first)
    assert p == pytest.approx(by_hand(first.tolist(), second.tolist()))
    assert p is not None
    assert 0 < p <= 1


@pytest.mark.filterwarnings("ignore:No positive class found")
def test_it_is_that_of_frames_that_were_drawn_with_their_videos() -> None:
    generator = np.random.default_rng(3)
    truth = np.asarray([labels_of(video) for video in range(VIDEOS)])
    centre = truth[:, FRAMES // 2 :: FRAMES]
    first = generator.random((VIDEOS, RUNS)) + 0.3 * centre
    second = generator.random((VIDEOS, RUNS)) + 0.6 * centre
    count = 120
    found = [replicates(scores, count) for scores in (first, second)]
    naive: dict[str, list[list[float]]] = {"auc": [], "ap": []}
    for times in draws(VIDEOS, count, 0):
        videos = np.repeat(np.arange(VIDEOS), times)
        labels = truth[videos].ravel()
        if labels.min() == labels.max():
            continue
        frames = [np.repeat(scores, FRAMES, axis=1)[videos].ravel() for scores in (first, second)]
        naive["auc"].append([roc_auc_score(labels, scores) for scores in frames])
        naive["ap"].append([average_precision_score(labels, scores) for scores in frames])
    for name, pairs in naive.items():
        one, two = (list(values) for values in zip(*pairs, strict=True))
        p = paired_p_value(found[0][name], found[1][name])
        assert p == pytest.approx(by_hand(one, two)), name
        assert p is not None
        assert 2 / (count + 1) < p < 0.9, name  # a value that could have come out otherwise


def test_where_two_runs_are_equally_good_small_values_are_as_rare_as_they_say() -> None:
    """Two scorers of one quality: p is about uniform (percentile bootstrap of 14 videos)."""
    generator = np.random.default_rng(11)
    centre = np.asarray([labels_of(video) for video in range(VIDEOS)])[:, FRAMES // 2 :: FRAMES]
    values = []
    for trial in range(120):
        pair = [generator.normal(size=(VIDEOS, RUNS)) + 0.8 * centre for _ in range(2)]
        one, two = (replicates(scores, 199, seed=trial)["auc"] for scores in pair)
        values.append(paired_p_value(one, two))
    p = np.asarray(values, dtype=np.float64)
    assert kstest(p, "uniform").statistic < 0.15
    assert 0.02 <= np.mean(p <= 0.1) <= 0.2
    assert 0.35 <= np.mean(p <= 0.5) <= 0.65
