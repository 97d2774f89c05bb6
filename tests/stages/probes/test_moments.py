"""Moments equal a plain float64 computation, however the samples are cut into parts."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError, ItemError
from stages.probes.divergence import kl_per_layer, ldr_per_layer
from stages.probes.moments import merge_tree, moments_of, read_moments, write_moments


@st.composite
def samples(draw):
    """Rows [n, layers, dim] float32 with large means, and labels with both classes."""
    n = draw(st.integers(2, 40))
    layers, dim = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    offset = draw(st.sampled_from([0.0, 1.0, -300.0, 5000.0]))
    rows = (offset + generator.normal(size=(n, layers, dim))).astype(np.float32)
    labels = generator.integers(0, 2, n)
    labels[:2] = (0, 1)
    return rows, labels


@st.composite
def cut_samples(draw):
    """The same with the borders of consecutive parts."""
    rows, labels = draw(samples())
    borders = draw(st.sets(st.integers(1, len(rows) - 1), max_size=6))
    return rows, labels, [0, *sorted(borders), len(rows)]


def layers_of(rows):
    """Numbers for the layers of rows [n, layers, dim]."""
    return tuple(range(0, 8 * rows.shape[1], 8))


def parts_of(rows, labels, borders):
    for start, stop in pairwise(borders):
        yield moments_of([(0, rows[start:stop])], layers_of(rows), labels[start:stop], "v")


@settings(max_examples=60, deadline=None)
@given(cut_samples())
def test_merged_parts_equal_a_plain_computation_over_all_rows(case):
    rows, labels, borders = case
    parts = list(parts_of(rows, labels, borders))
    merged = merge_tree(len(parts), parts.__getitem__)
    for value, found in enumerate((merged.normal, merged.anomalous)):
        mine = rows[labels == value].astype(np.float64)
        assert found.n == len(mine)
        np.testing.assert_allclose(found.mean, mine.mean(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.variance, mine.var(axis=0), rtol=1e-9, atol=1e-15)
    assert merged.layers == layers_of(rows)
    np.testing.assert_array_equal(merged.low, rows.min(axis=0))
    np.testing.assert_array_equal(merged.high, rows.max(axis=0))


@settings(max_examples=40, deadline=None)
@given(cut_samples())
def test_blocks_of_one_video_equal_the_video_at_once(case):
    rows, labels, borders = case
    blocks = [(s, rows[s:e]) for s, e in pairwise(borders)]
    cut = moments_of(blocks, layers_of(rows), labels, "v")
    whole = moments_of([(0, rows)], layers_of(rows), labels, "v")
    np.testing.assert_allclose(cut.normal.mean, whole.normal.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(cut.anomalous.m2, whole.anomalous.m2, rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(samples(), st.sampled_from([1e-6, 1e-2]))
def test_kl_and_ldr_equal_the_formulas_dimension_by_dimension(case, eps):
    rows, labels = case
    moments = moments_of([(0, rows)], layers_of(rows), labels, "v")
    _, layers, dim = rows.shape
    for layer in range(layers):
        kl, ldr = [], []
        for d in range(dim):
            x = rows[:, layer, d].astype(np.float64)
            normal, anomalous = x[labels == 0], x[labels == 1]
            gap = (normal.mean() - anomalous.mean()) ** 2
            s2n, s2a = max(normal.var(), eps), max(anomalous.var(), eps)
            kl.append(0.5 * (np.log(s2a / s2n) + (s2n + gap) / s2a - 1))
            ldr.append(gap / (normal.var() + anomalous.var() + eps))
        assert kl_per_layer(moments, eps)[layer] == pytest.approx(np.mean(kl), rel=1e-9, abs=1e-12)
        assert ldr_per_layer(moments, eps)[layer] == pytest.approx(np.mean(ldr), rel=1e-9)


def test_kl_of_a_worked_example():
    rows = np.asarray([-1, 1, 1, 5], dtype=np.float32).reshape(4, 1, 1)
    moments = moments_of([(0, rows)], layers_of(rows), np.asarray([0, 0, 1, 1]), "v")
    # Means 0 and 3, variances 1 and 4.
    assert kl_per_layer(moments, 1e-6)[0] == pytest.approx(0.5 * (np.log(4) + 10 / 4 - 1))
    assert ldr_per_layer(moments, 0.0)[0] == pytest.approx(9 / 5)


def test_classes_that_agree_have_no_divergence_even_in_constant_dimensions():
    rows = np.full((4, 2, 3), 7.5, dtype=np.float32)
    moments = moments_of([(0, rows)], layers_of(rows), np.asarray([0, 1, 0, 1]), "v")
    np.testing.assert_array_equal(kl_per_layer(moments, 1e-6), 0.0)
    np.testing.assert_array_equal(ldr_per_layer(moments, 1e-6), 0.0)


def test_outlier_dimensions_keep_their_variance():
    generator = np.random.default_rng(1)
    rows = (60000 + generator.normal(size=(700, 1, 1))).astype(np.float32)
    found = moments_of([(0, rows)], layers_of(rows), np.zeros(700, dtype=np.int64), "v")
    assert found.normal.variance[0, 0] == pytest.approx(rows.astype(np.float64).var(), rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_and_located(bad):
    rows = np.zeros((5, 2, 3), dtype=np.float32)
    rows[3, 1, 2] = bad
    with pytest.raises(ItemError, match=r"v: .*segment 7, layer 24, dimension 2"):
        moments_of([(4, rows)], (20, 24), np.zeros(9, dtype=np.int64), "v")


def test_no_parts_are_refused():
    with pytest.raises(ItemError, match="no hidden states"):
        moments_of([], (0,), np.zeros(0, dtype=np.int64), "v")
    with pytest.raises(ConfigError, match="no probing video"):
        merge_tree(0, lambda number: None)


def test_moments_survive_their_file_with_the_same_bytes(tmp_path):
    rows = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    found = moments_of([(0, rows)], (16, 24), np.asarray([1, 1, 1, 1, 1, 1]), "v")
    for name in ("a", "b"):
        write_moments(tmp_path / name, found)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_moments(tmp_path / "a")
    assert (again.normal.n, again.anomalous.n) == (0, 6)
    assert (again.layers, again.dim) == ((16, 24), 3)
    np.testing.assert_array_equal(again.anomalous.m2, found.anomalous.m2)
    np.testing.assert_array_equal(again.low, found.low)
