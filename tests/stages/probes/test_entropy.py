"""Histogram entropy equals a count by hand, whatever the workers and groups of layers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.probes import entropy
from stages.probes.entropy import bin_counts, entropy_of, entropy_per_layer


def quiet(done, total):
    pass


def naive_counts(values, low, high, bins):
    counts = [0] * bins
    for value in values:
        at = math.floor((float(value) - low) * (bins / (high - low))) if high > low else 0
        counts[min(max(at, 0), bins - 1)] += 1
    return counts


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 4), st.integers(2, 70), st.integers(0, 2**32 - 1))
def test_counts_equal_a_loop_over_the_values(n, dim, bins, seed):
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    rows[:, 0] = np.round(rows[:, 0])  # values on the borders of bins
    low, high = rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64)
    found = bin_counts(rows, low, high, bins)
    for d in range(dim):
        assert found[d].tolist() == naive_counts(rows[:, d], low[d], high[d], bins)


def test_counts_agree_with_numpy_where_no_value_lies_on_a_border():
    rows = np.random.default_rng(3).normal(size=(500, 3)).astype(np.float32)
    low, high = np.full(3, -5.5), np.full(3, 5.7)
    found = bin_counts(rows, low, high, 64)
    for d in range(3):
        expected, _ = np.histogram(rows[:, d].astype(np.float64), bins=64, range=(-5.5, 5.7))
        np.testing.assert_array_equal(found[d], expected)


def test_entropy_of_known_histograms():
    counts = np.asarray([[4, 4, 0, 0], [8, 0, 0, 0], [2, 2, 2, 2], [4, 2, 1, 1]])
    np.testing.assert_allclose(entropy_of(counts), [1.0, 0.0, 2.0, 1.75], rtol=1e-15)


def make_videos(seed=0, lengths=(5, 40, 1, 33, 64), layers=5, dim=7):
    generator = np.random.default_rng(seed)
    videos = [generator.normal(size=(n, layers, dim)).astype(np.float32) for n in lengths]
    for video in videos:
        video[:, :, 2] = 3.25  # a constant dimension
    rows = np.concatenate(videos)
    reads = [lambda layer, v=v: v[:, layer] for v in videos]
    return reads, rows, rows.min(axis=0).astype(float), rows.max(axis=0).astype(float)


def test_the_mean_over_dimensions_counts_a_constant_one_as_zero():
    reads, rows, low, high = make_videos()
    found = entropy_per_layer(reads, range(5), low, high, bins=16, workers=2, progress=quiet)
    for layer in range(rows.shape[1]):
        per_dimension = []
        for d in range(rows.shape[2]):
            counts = naive_counts(rows[:, layer, d], low[layer, d], high[layer, d], 16)
            shares = [c / len(rows) for c in counts if c]
            per_dimension.append(-sum(p * math.log2(p) for p in shares))
        assert per_dimension[2] == 0
        assert found[layer] == pytest.approx(np.mean(per_dimension), rel=1e-9)
        assert found[layer] <= math.log2(min(16, len(rows)))


def test_workers_and_groups_of_layers_do_not_change_a_bit(monkeypatch):
    reads, _, low, high = make_videos(1)
    alone = entropy_per_layer(reads, range(5), low, high, bins=64, workers=1, progress=quiet)
    for workers, cells in ((2, 1 << 24), (5, 1 << 24), (3, 1), (2, 2 * 7 * 64)):
        monkeypatch.setattr(entropy, "CELLS", cells)
        found = entropy_per_layer(
            reads, range(5), low, high, bins=64, workers=workers, progress=quiet
        )
        assert found.tobytes() == alone.tobytes()


@pytest.mark.parametrize("cells", [1, 2 * 7 * 16, 1 << 24])
def test_layers_are_read_by_their_numbers(monkeypatch, cells):
    reads, _, low, high = make_videos(2)
    numbers = [3, 8, 9, 20, 31]
    by_number = [lambda number, read=read: read(numbers.index(number)) for read in reads]
    expected = entropy_per_layer(reads, range(5), low, high, bins=16, workers=1, progress=quiet)
    monkeypatch.setattr(entropy, "CELLS", cells)
    told = []
    found = entropy_per_layer(
        by_number, numbers, low, high, bins=16, workers=2,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert found.tobytes() == expected.tobytes()
    assert told[-1] == (5, 5)
    assert len(set(found.tolist())) == 5


def test_a_dimension_with_a_range_too_small_for_bins_is_counted_whole():
    rows = np.asarray([[0.0], [1e-45]], dtype=np.float32)
    found = bin_counts(rows, rows.min(axis=0).astype(float), rows.max(axis=0).astype(float), 4)
    assert found.tolist() == [[1, 0, 0, 1]]
