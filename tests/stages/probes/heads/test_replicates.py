"""Separability in the replicates of a bootstrap, against rows that are repeated as they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.probes.heads.replicates import drawn_runs, separability_replicates
from stages.probes.resampling import video_draws
from tests.stages.probes.heads.samples import centred


def naive(rows, labels, draw):
    """Of the rows of every video as often as it is drawn."""
    borders = np.cumsum([0, *(len(part) for part in labels)])
    parts = {0: [], 1: []}
    for video, times in enumerate(draw):
        for place in list(range(borders[video], borders[video + 1])) * times:
            parts[int(np.concatenate(labels)[place])].append(rows[place])
    if not parts[0] or not parts[1]:
        return np.nan
    normal, anomalous = (np.asarray(part) for part in parts.values())
    spread = normal.var(axis=0).sum() + anomalous.var(axis=0).sum()
    gap = ((normal.mean(axis=0) - anomalous.mean(axis=0)) ** 2).sum()
    return gap / spread if spread > 1e-20 else np.nan


@st.composite
def videos(draw):
    """Labels of some videos, of one class or mixed, and rows for all of them."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, dim = draw(st.integers(2, 6)), draw(st.integers(1, 5))
    labels = []
    for number in range(count):
        n = int(generator.integers(1, 7))
        mixed = draw(st.booleans())
        labels.append(generator.integers(2, size=n) if mixed else np.full(n, number % 2))
    total = sum(len(part) for part in labels)
    return labels, generator.normal(size=(total, dim)) * 3 + 50.0


@settings(max_examples=200, deadline=None)
@given(videos())
def test_a_replicate_is_that_of_the_repeated_rows(made):
    labels, rows = made
    draws = video_draws(labels, 5, 3)
    found = separability_replicates(centred(rows), drawn_runs(labels, draws))
    expected = [naive(rows, labels, draw) for draw in draws]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_every_video_once_is_the_figure_itself():
    labels = [np.zeros(5, dtype=np.int64), np.asarray([0, 1, 1]), np.ones(4, dtype=np.int64)]
    rows = np.random.default_rng(0).normal(size=(12, 3))
    drawn = drawn_runs(labels, np.ones((1, 3), dtype=np.int64))
    assert drawn.starts.tolist() == [0, 5, 6, 8]
    (found,) = separability_replicates(centred(rows), drawn)
    assert found == pytest.approx(naive(rows, labels, [1, 1, 1]))


def test_what_has_no_spread_or_no_class_has_no_figure():
    labels = [np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64)]
    drawn = drawn_runs(labels, np.asarray([[1, 1], [2, 0], [0, 2]]))
    assert np.isnan(separability_replicates(np.zeros((6, 2)), drawn)).all()
    rows = np.random.default_rng(0).normal(size=(6, 2))
    found = separability_replicates(centred(rows), drawn)
    assert np.isfinite(found).tolist() == [True, False, False]
    apart = np.repeat([[0.1], [7.7]], 3, axis=0)
    assert np.isnan(separability_replicates(centred(apart), drawn)).all()


def test_no_replicates_are_none():
    labels = [np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64)]
    drawn = drawn_runs(labels, video_draws(labels, 0, 0))
    assert separability_replicates(np.zeros((6, 2)), drawn).shape == (0,)
