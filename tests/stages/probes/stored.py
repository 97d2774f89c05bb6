"""Hidden states on disk for tests of what is computed from them, and drawn ones that are awkward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from cache.arrays import States, shard_rows, write_states
from cache.shards import from_bfloat16_bits, to_bfloat16_bits
from stages.probes.states import ProbedStates

Array = NDArray[Any]
DTYPES = ("float32", "float16", "bfloat16")


def stored_of(values: Array, dtype: str) -> Array:
    """Float32 values as an array of a dtype holds them."""
    if dtype == "bfloat16":
        return to_bfloat16_bits(values)
    return values.astype(dtype)


def exact(values: Array, dtype: str) -> Array:
    """What is left of float32 values in a dtype, as float64."""
    stored = stored_of(values, dtype)
    return (from_bfloat16_bits(stored) if dtype == "bfloat16" else stored).astype(np.float64)


def video(
    folder: Path,
    values: Array,
    dtype: str = "float32",
    layers: Sequence[int] | None = None,
    name: str = "v",
    prompts: int = 1,
) -> ProbedStates:
    """Write values [segments, layers, dim] and open them; other questions have other numbers."""
    stored = stored_of(values, dtype)[:, None]
    others = [np.zeros_like(stored)] * (prompts - 1)
    stored = np.concatenate([*others, stored], axis=1)
    rows = shard_rows(len(values))
    numbers = range(values.shape[1]) if layers is None else layers
    path = folder / f"{name}.zarr"
    write_states(
        path,
        (stored[start : start + rows] for start in range(0, len(stored), rows)),
        segments=len(values), layers=numbers, dim=values.shape[2], logical_dtype=dtype,
        prompts=prompts,
    )  # fmt: skip
    return ProbedStates(name, States.open(path), prompts - 1)


def videos(folder: Path, parts: Sequence[Array], dtype: str = "float32") -> list[ProbedStates]:
    """One for each part, v0, v1, ..."""
    return [video(folder, part, dtype, name=f"v{n}") for n, part in enumerate(parts)]


@st.composite
def samples(draw: Any, most: int = 40) -> tuple[Array, Array, str]:
    """Rows [n, layers, dim], labels with both classes, and a dtype that holds them as they are.

    A dimension is plain, far from zero, constant, of whole numbers, tiny or subnormal; the classes
    differ in every one that varies.
    """
    n = draw(st.integers(2, most))
    layers, dim = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    dtype = draw(st.sampled_from(DTYPES))
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=dim, max_size=dim))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = generator.integers(0, 2, n)
    labels[:2] = (0, 1)
    noise = generator.normal(size=(n, layers, dim)) + labels[:, None, None]
    rows = np.stack([KINDS[kind](noise[:, :, d]) for d, kind in enumerate(kinds)], axis=2)
    return exact(rows.astype(np.float32), dtype).astype(np.float32), labels, dtype


KINDS: dict[str, Any] = {
    "plain": lambda noise: noise,
    "far": lambda noise: 1e4 + 1e-2 * noise,
    "outlier": lambda noise: -6e4 + 300 * noise,
    "constant": lambda noise: np.full_like(noise, 7.25),
    "zero": np.zeros_like,
    "whole": np.round,
    "tiny": lambda noise: 1e-3 * noise,
    "subnormal": lambda noise: np.round(noise) * 2.0**-24,
}
