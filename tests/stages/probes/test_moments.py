"""Moments equal a plain float64 computation, however the samples are cut into parts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import shards
from cache.errors import ConfigError, DamagedArtifact, ItemError
from stages.probes import kernels, moments
from stages.probes.divergence import kl_per_layer, ldr_per_layer
from stages.probes.moments import (
    Moments,
    blocks_of,
    merge_tree,
    moments_of,
    read_layer,
    read_moments,
    write_moments,
)
from tests.stages.probes.stored import DTYPES, samples, video

Array = np.ndarray[Any, Any]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows are several shards, blocks and tiles."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 5)
    monkeypatch.setattr(moments, "BLOCK", 2)
    monkeypatch.setattr(kernels, "TILE", 20)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return lambda: tmp_path_factory.mktemp("states")


def of(folder: Path, rows: Array, labels: Array, dtype: str = "float32") -> Moments:
    return moments_of(video(folder, rows, dtype), labels)


def same(a: Moments, b: Moments) -> bool:
    """Whether both are equal to the bit."""
    arrays = [
        (part.low, part.high, *(x for c in (part.normal, part.anomalous) for x in (c.mean, c.m2)))
        for part in (a, b)
    ]
    counts = [(part.layers, part.normal.n, part.anomalous.n) for part in (a, b)]
    return counts[0] == counts[1] and all(
        x.tobytes() == y.tobytes() for x, y in zip(*arrays, strict=True)
    )


def require_plain(found: Moments, rows: Array, labels: Array) -> None:
    """Require what NumPy says of float64 rows, of means up to the rounding of their summands."""
    for value, part in enumerate((found.normal, found.anomalous)):
        mine = rows[labels == value].astype(np.float64)
        assert part.n == len(mine)
        if len(mine):
            assert (abs(part.mean - mine.mean(axis=0)) <= 1e-14 * abs(mine).max(axis=0)).all()
            np.testing.assert_allclose(part.variance, mine.var(axis=0), rtol=1e-9, atol=0)
    np.testing.assert_array_equal(found.low, rows.min(axis=0))
    np.testing.assert_array_equal(found.high, rows.max(axis=0))


@pytest.mark.usefixtures("small_shards")
@settings(max_examples=80, deadline=None)
@given(case=samples(), workers=st.integers(1, 4))
def test_a_video_in_many_shards_equals_a_plain_computation_over_its_rows(
    folder: Any, case: tuple[Array, Array, str], workers: int
) -> None:
    rows, labels, dtype = case
    stored = video(folder(), rows, dtype, layers=[3, 8, 20][: rows.shape[1]])
    found = moments_of(stored, labels, workers)
    require_plain(found, rows, labels)
    assert (found.layers, found.dim) == (stored.layers, rows.shape[2])
    assert same(found, moments_of(stored, labels))


@settings(max_examples=60, deadline=None)
@given(case=samples(), data=st.data())
def test_merged_videos_equal_a_plain_computation_over_all_rows(
    folder: Any, case: tuple[Array, Array, str], data: st.DataObject
) -> None:
    rows, labels, dtype = case
    borders = data.draw(st.sets(st.integers(1, len(rows) - 1), max_size=6))
    parts = [
        of(folder(), rows[start:stop], labels[start:stop], dtype)
        for start, stop in pairwise([0, *sorted(borders), len(rows)])
    ]
    require_plain(merge_tree(len(parts), parts.__getitem__), rows, labels)


def naive_figures(rows: Array, labels: Array, eps: float) -> tuple[list[float], list[float]]:
    """KL and LDR by METHOD's formulas, one number at a time, in extended precision."""
    kl, ldr = [], []
    for layer in range(rows.shape[1]):
        mine: list[list[float]] = [[], []]
        for d in range(rows.shape[2]):
            x = rows[:, layer, d].astype(np.longdouble)
            normal, anomalous = x[labels == 0], x[labels == 1]
            gap = (normal.mean() - anomalous.mean()) ** 2
            s2n, s2a = max(normal.var(), eps), max(anomalous.var(), eps)
            mine[0].append(0.5 * (np.log(s2a / s2n) + (s2n + gap) / s2a - 1))
            mine[1].append(gap / (normal.var() + anomalous.var() + eps))
        kl.append(float(np.mean(mine[0])))
        ldr.append(float(np.mean(mine[1])))
    return kl, ldr


@pytest.mark.usefixtures("small_shards")
@settings(max_examples=80, deadline=None)
@given(case=samples(), eps=st.sampled_from([1e-6, 1e-2]))
def test_kl_and_ldr_equal_the_formulas_dimension_by_dimension(
    folder: Any, case: tuple[Array, Array, str], eps: float
) -> None:
    rows, labels, dtype = case
    found = of(folder(), rows, labels, dtype)
    kl, ldr = naive_figures(rows, labels, eps)
    np.testing.assert_allclose(kl_per_layer(found, eps), kl, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(ldr_per_layer(found, eps), ldr, rtol=1e-9, atol=1e-15)


def test_kl_of_a_worked_example(tmp_path: Path) -> None:
    rows = np.asarray([-1, 1, 1, 5], dtype=np.float32).reshape(4, 1, 1)
    found = of(tmp_path, rows, np.asarray([0, 0, 1, 1]))
    # Means 0 and 3, variances 1 and 4.
    assert kl_per_layer(found, 1e-6)[0] == pytest.approx(0.5 * (np.log(4) + 10 / 4 - 1))
    assert ldr_per_layer(found, 0.0)[0] == pytest.approx(9 / 5)


def test_classes_that_agree_have_no_divergence_even_in_constant_dimensions(tmp_path: Path) -> None:
    rows = np.full((4, 2, 3), 7.5, dtype=np.float32)
    found = of(tmp_path, rows, np.asarray([0, 1, 0, 1]))
    np.testing.assert_array_equal(kl_per_layer(found, 1e-6), 0.0)
    np.testing.assert_array_equal(ldr_per_layer(found, 1e-6), 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rows_far_from_zero_keep_their_variance(tmp_path: Path, dtype: str) -> None:
    rows = np.random.default_rng(1).normal(size=(1300, 2, 3)).astype(np.float32)
    rows = (50000 + 2000 * rows if dtype == "bfloat16" else 5000 + 30 * rows).astype(np.float32)
    if dtype != "bfloat16":
        rows = rows.astype(dtype).astype(np.float32)
    else:
        rows = np.round(rows / 256) * np.float32(256)
    labels = (np.arange(1300) // 7) % 2
    require_plain(of(tmp_path, rows, labels, dtype), rows, labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("small_shards")
def test_a_value_that_is_not_finite_is_refused_and_located(
    tmp_path: Path, bad: float, dtype: str
) -> None:
    rows = np.zeros((9, 3, 40), dtype=np.float32)
    rows[7, 1, 32] = bad
    rows[8, 1, 2] = rows[5, 2, 0] = bad  # a later row, a later layer
    stored = video(tmp_path, rows, dtype, layers=[20, 24, 28])
    for workers in (1, 2):
        with pytest.raises(
            ItemError, match=rf"v: .*segment 7, layer 24, dimension 32 is {bad}, expected a finite"
        ):
            moments_of(stored, np.zeros(9, dtype=np.int64), workers)


def test_a_damaged_shard_is_an_error_in_any_thread(tmp_path: Path) -> None:
    stored = video(tmp_path, np.zeros((9, 3, 40), dtype=np.float32))
    shard = tmp_path / "v.zarr" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[2 * (9 * 160 + 4) + 5] ^= 1  # in the last layer
    shard.write_bytes(content)
    for workers in (1, 3):
        with pytest.raises(DamagedArtifact, match="check sum"):
            moments_of(stored, np.zeros(9, dtype=np.int64), workers)


def test_only_the_states_of_the_question_are_read(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    found = moments_of(video(tmp_path, rows, prompts=3), np.asarray([0, 1, 1, 0]))
    require_plain(found, rows, np.asarray([0, 1, 1, 0]))


def test_a_task_takes_some_shards_of_a_long_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 1)
    stored = video(tmp_path, np.zeros((35, 1, 1), dtype=np.float32))
    assert [list(block) for block in blocks_of(stored)] == [
        list(range(16)), list(range(16, 32)), [32, 33, 34],
    ]  # fmt: skip


def test_no_parts_are_refused() -> None:
    def none(number: int) -> Moments:
        raise AssertionError(number)

    with pytest.raises(ConfigError, match="no probing video"):
        merge_tree(0, none)


def test_moments_survive_their_file_with_the_same_bytes(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    found = moments_of(video(tmp_path, rows, layers=[16, 24]), np.ones(6, dtype=np.int64))
    for name in ("a", "b"):
        write_moments(tmp_path / name, found)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = read_moments(tmp_path / "a")
    assert same(again, found)
    assert (again.layers, again.dim) == ((16, 24), 3)
    for place in (0, 1):
        normal, anomalous = read_layer(tmp_path / "a", place)
        assert (normal.n, anomalous.n) == (0, 6)
        np.testing.assert_array_equal(anomalous.m2, found.anomalous.m2[place])
        np.testing.assert_array_equal(anomalous.mean, found.anomalous.mean[place])
        np.testing.assert_array_equal(normal.mean, 0)
