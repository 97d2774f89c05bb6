"""Folds hold whole videos, of both classes, as evenly as whole numbers allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.probes.folds import NONE, video_folds

VIDEO = st.lists(st.sampled_from([0, 1]), min_size=1, max_size=4)
VIDEOS = st.lists(VIDEO, min_size=0, max_size=40)


def _labels(videos: list[list[int]]) -> list[np.ndarray]:
    return [np.asarray(one, dtype=np.int64) for one in videos]


@given(videos=VIDEOS, folds=st.integers(0, 12), seed=st.integers(0, 2**40))
def test_every_fold_and_what_is_left_without_it_has_both_classes(
    videos: list[list[int]], folds: int, seed: int
) -> None:
    found = video_folds(_labels(videos), folds, seed)
    kinds = [1 in one for one in videos]
    expected = min(folds, kinds.count(True), kinds.count(False))
    assert found.dtype == np.int64
    if expected < 2:
        assert found.tolist() == [NONE] * len(videos)
        return
    assert set(found.tolist()) == set(range(expected))
    for kind in (True, False):
        sizes = [sum(f == k and a == kind for f, a in zip(found, kinds, strict=True))
                 for k in range(expected)]  # fmt: skip
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
    sizes = np.bincount(found).tolist()
    assert max(sizes) - min(sizes) <= 1


def test_an_anomalous_segment_makes_a_video_anomalous() -> None:
    """Three videos with an anomaly, whatever its length, and two without: two folds."""
    labels = _labels([[0, 0, 1], [1], [0, 1], [0], [0, 0, 0]])
    assert set(video_folds(labels, 5, 0).tolist()) == {0, 1}


@pytest.mark.parametrize("videos", [[], [[1]], [[0], [0], [0]], [[0], [0], [1, 1]]])
def test_without_two_videos_of_each_class_there_are_no_folds(videos: list[list[int]]) -> None:
    assert video_folds(_labels(videos), 5, 0).tolist() == [NONE] * len(videos)


@pytest.mark.parametrize("folds", [0, 1])
def test_fewer_than_two_folds_are_none(folds: int) -> None:
    assert video_folds(_labels([[0], [0], [1], [1]]), folds, 0).tolist() == [NONE] * 4


def test_the_seed_decides() -> None:
    labels = _labels([[k % 2] for k in range(20)])
    same = [video_folds(labels, 5, 3).tolist() for _ in range(2)]
    assert same[0] == same[1]
    assert len({tuple(video_folds(labels, 5, seed).tolist()) for seed in range(8)}) == 8


def test_a_draw_stays_what_it_was() -> None:
    """Another draw would change every held-out score with no change of a setting or a version."""
    labels = _labels([[0], [0], [0], [0], [1], [1], [1]])
    assert video_folds(labels, 3, 7).tolist() == [0, 2, 1, 0, 0, 1, 2]
