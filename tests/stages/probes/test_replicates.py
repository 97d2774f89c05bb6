"""KL and LDR of replicates are those of the rows of the drawn videos, each as often as it is drawn."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.probes.moments import ClassMoments
from stages.probes.replicates import divergence_replicates
from stages.probes.resampling import video_draws

Array = np.ndarray[Any, Any]
EPS = 1e-6


def moments_of(rows: Array) -> ClassMoments:
    """Of rows [n, dim]; zero where there are none, as the stage moments has it."""
    if not len(rows):
        return ClassMoments(0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1]))
    return ClassMoments(len(rows), rows.mean(axis=0), rows.var(axis=0) * len(rows))


def read(rows: Array, labels: Array, layer: int) -> tuple[ClassMoments, ClassMoments]:
    return moments_of(rows[labels == 0, layer]), moments_of(rows[labels == 1, layer])


def naive(rows: Array, labels: Array) -> tuple[float, float]:
    """KL and LDR of rows [n, dim], NaN without both classes."""
    if len(set(labels.tolist())) < 2:
        return float("nan"), float("nan")
    normal, anomalous = rows[labels == 0], rows[labels == 1]
    gap = (normal.mean(axis=0) - anomalous.mean(axis=0)) ** 2
    s2n, s2a = (np.maximum(part.var(axis=0), EPS) for part in (normal, anomalous))
    kl = 0.5 * (np.log(s2a / s2n) + (s2n + gap) / s2a - 1)
    ldr = gap / (normal.var(axis=0) + anomalous.var(axis=0) + EPS)
    return float(kl.mean()), float(ldr.mean())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 3), st.integers(1, 4), st.integers(0, 6),
    st.sampled_from([0.0, 300.0, -1e4]), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_replicate_equals_a_plain_computation_over_its_rows(
    count: int, layers: int, dim: int, replicates: int, offset: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    parts = []
    for number in range(count):
        n = int(generator.integers(1, 9))
        labels = generator.integers(0, 2, n) if number % 3 == 2 else np.full(n, number % 2)
        rows = offset + generator.normal(size=(n, layers, dim)) + labels[:, None, None]
        rows[:, :, 0] = 7.5  # a constant dimension
        parts.append((rows, labels))
    draws = generator.integers(0, 3, (replicates, count))
    reads = [functools.partial(read, *part) for part in parts]
    kl, ldr = divergence_replicates(reads, layers, draws, EPS)
    assert kl.shape == ldr.shape == (replicates, layers)
    for replicate, times in enumerate(draws):
        rows, labels = (
            np.concatenate([np.repeat(p[k], t, axis=0) for p, t in zip(parts, times, strict=True)])
            for k in (0, 1)
        )
        for layer in range(layers):
            expected = naive(rows[:, layer], labels)
            found = kl[replicate, layer], ldr[replicate, layer]
            np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


def test_a_draw_of_every_video_once_is_the_figure_itself() -> None:
    generator = np.random.default_rng(1)
    rows, labels = generator.normal(size=(30, 2, 5)), np.arange(30) % 2
    parts = [(rows[a : a + 10], labels[a : a + 10]) for a in (0, 10, 20)]
    reads = [functools.partial(read, *part) for part in parts]
    kl, ldr = divergence_replicates(reads, 2, np.ones((1, 3), dtype=np.int64), EPS)
    for layer in range(2):
        assert (kl[0, layer], ldr[0, layer]) == pytest.approx(naive(rows[:, layer], labels))


def test_where_the_classes_are_videos_every_replicate_has_both() -> None:
    labels = [np.full(n, n % 2) for n in range(1, 9)]
    rows = [np.random.default_rng(n).normal(size=(n, 1, 2)) for n in range(1, 9)]
    reads = [functools.partial(read, *part) for part in zip(rows, labels, strict=True)]
    kl, ldr = divergence_replicates(reads, 1, video_draws(labels, 50, 0), EPS)
    assert np.isfinite(kl).all()
    assert np.isfinite(ldr).all()
    assert len(set(kl[:, 0].tolist())) > 10
