"""Rows of a head that the tests of its figures look at, small and awkward ones among them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sample(n: int = 30, dim: int = 5, seed: int = 0, gap: float = 1.0) -> tuple[Floats, Ints]:
    """Rows [n, dim] whose classes lie apart, off the origin, and their labels."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < 0.4).astype(np.int64)
    labels[:2] = 0, 1
    rows = generator.normal(size=(n, dim)) @ generator.normal(size=(dim, dim)) + 7.0
    return rows + gap * labels[:, None] * generator.normal(size=dim), labels


@st.composite
def heads(draw: st.DrawFn) -> tuple[Floats, Ints]:
    """Float32 rows as a store holds them: 2 to 40 of them, 1 to 12 wide, classes of any size.

    Some rows may be repeated, some dimensions constant, and all of it far from the origin or scaled.
    """
    n, dim = draw(st.integers(2, 40)), draw(st.integers(1, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    anomalous = draw(st.integers(1, n - 1))
    labels = np.zeros(n, dtype=np.int64)
    labels[generator.permutation(n)[:anomalous]] = 1
    rows = generator.normal(size=(n, dim)) + labels[:, None] * draw(
        st.sampled_from([0.0, 0.3, 3.0])
    )
    if draw(st.booleans()):
        rows = rows[generator.integers(n, size=n)]
    rows[:, : draw(st.integers(0, dim - 1))] = 0.5
    rows = rows * draw(st.sampled_from([1.0, 1e-3, 1e4])) + draw(st.sampled_from([0.0, 100.0]))
    return rows.astype(np.float32).astype(np.float64), labels


def centred(rows: Floats) -> Floats:
    """Rows about their mean, exactly zero where all are the same."""
    rest = rows - rows[0]
    return rest - rest.mean(axis=0)
