"""Histogram entropy equals a count by hand, whatever the workers, schedulers and units of work."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import shards
from stages.probes import entropy, kernels
from stages.probes.entropy import Entropies, entropy_of, entropy_per_layer
from stages.probes.kernels import FUZZ, Bins, Workspace, add_counts, folded
from stages.probes.states import ProbedStates
from tests.stages.probes.stored import DTYPES, exact, samples, videos

Array = np.ndarray[Any, Any]
NONE = np.zeros((0, 1), dtype=np.int64)


def counts_of(rows: Array, low: Array, high: Array, bins: int) -> Array:
    """Counts of rows [n, dim], [dim, bins]."""
    cells = torch.zeros((rows.shape[1], bins + 1), dtype=torch.int64)
    add_counts(Workspace(), torch.from_numpy(rows), Bins.over(low, high, bins), cells)
    found: Array = folded(cells).numpy()
    return found


def range_of(rows: Array) -> tuple[Array, Array]:
    """Lowest and highest value of rows [n, ...], float64."""
    return rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64)


def naive_bins(x: Array, low: float, high: float, bins: int) -> Array:
    """The bin of every value of x, by the definition in float64."""
    if high <= low:
        return np.zeros(len(x), dtype=np.int64)
    codes = np.floor((x.astype(np.float64) - low) * (bins / (high - low)) + 2.0**-20)
    return np.clip(codes, 0, bins - 1).astype(np.int64)


def naive_entropy(
    x: Array, bins: int, low: float | None = None, high: float | None = None
) -> float:
    """Entropy of values x, one bin at a time."""
    low = float(x.min()) if low is None else low
    high = float(x.max()) if high is None else high
    codes = naive_bins(x, low, high, bins).tolist()
    shares = [codes.count(code) / len(codes) for code in set(codes)]
    return -math.fsum(p * math.log2(p) for p in shares)


def exact_bin(x: float, low: float, high: float, bins: int) -> int:
    """The bin of a value by rational arithmetic, which rounds nothing."""
    if high <= low:
        return 0
    place = (Fraction(x) - Fraction(low)) * bins / (Fraction(high) - Fraction(low))
    return min(math.floor(place + Fraction(FUZZ)), bins - 1)


class TestBins:
    @settings(max_examples=80, deadline=None)
    @given(samples(), st.integers(2, 70))
    def test_counts_equal_the_definition_value_by_value(
        self, case: tuple[Array, Array, str], bins: int
    ) -> None:
        rows = case[0][:, 0]
        low, high = range_of(rows)
        found = counts_of(rows, low, high, bins)
        for d in range(rows.shape[1]):
            expected = np.bincount(naive_bins(rows[:, d], low[d], high[d], bins), minlength=bins)
            assert found[d].tolist() == expected.tolist()

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.floats(width=16, allow_nan=False, allow_infinity=False), min_size=1, max_size=12
        ),
        st.sampled_from([2, 3, 7, 10, 64, 100]),
    )
    def test_bins_are_those_of_rational_arithmetic(self, values: list[float], bins: int) -> None:
        rows = np.asarray(values, dtype=np.float32)[:, None]
        low, high = range_of(rows)
        expected = np.zeros(bins, dtype=np.int64)
        for x in rows[:, 0]:
            expected[exact_bin(float(x), low[0], high[0], bins)] += 1
        assert counts_of(rows, low, high, bins)[0].tolist() == expected.tolist()

    @pytest.mark.parametrize("bins", [2, 3, 7, 10, 49, 64, 100])
    @pytest.mark.parametrize("low", [0.0, -1.0, 0.1, 1e4, -3e-5, 2.0**-24])
    @pytest.mark.parametrize("step", [1.0, 0.1, 3.0, 1e-2])
    def test_a_value_on_an_edge_is_in_the_bin_above_and_its_neighbours_where_they_belong(
        self, bins: int, low: float, step: float
    ) -> None:
        low = float(np.float32(low))
        high = float(np.float32(low + bins * step))
        edges = (low + (high - low) / bins * np.arange(bins + 1)).astype(np.float32)
        up, down = np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))
        rows = np.concatenate([edges, up, down]).clip(np.float32(low), np.float32(high))[:, None]
        for x in rows:
            counts = counts_of(x[None], np.asarray([low]), np.asarray([high]), bins)[0]
            assert counts.argmax() == exact_bin(float(x[0]), low, high, bins), x

    def test_a_value_just_below_an_edge_counts_as_on_it_and_one_further_down_does_not(self) -> None:
        low, high = np.asarray([0.0]), np.asarray([64.0])
        for below, bin_ in ((2.0**-21, 1), (2.0**-20, 1), (2.0**-19, 0)):
            rows = np.asarray([[1 - below]], dtype=np.float32)
            assert counts_of(rows, low, high, 64)[0].argmax() == bin_

    def test_counts_agree_with_numpy_where_no_value_lies_on_an_edge(self) -> None:
        rows = np.random.default_rng(3).normal(size=(5000, 3)).astype(np.float32)
        found = counts_of(rows, np.full(3, -5.5), np.full(3, 5.7), 64)
        for d in range(3):
            expected, _ = np.histogram(rows[:, d].astype(np.float64), bins=64, range=(-5.5, 5.7))
            np.testing.assert_array_equal(found[d], expected)

    def test_the_smallest_range_and_the_largest_are_counted_whole(self) -> None:
        smallest = np.asarray([[0.0], [1e-45]], dtype=np.float32)
        assert counts_of(smallest, *range_of(smallest), 4).tolist() == [[1, 0, 0, 1]]
        most = np.finfo(np.float32).max
        largest = np.asarray([[-most], [0], [most]], dtype=np.float32)
        assert counts_of(largest, *range_of(largest), 4).tolist() == [[1, 0, 1, 1]]

    def test_a_dimension_without_a_range_has_all_in_its_first_bin(self) -> None:
        rows = np.full((5, 1), -7.5, dtype=np.float32)
        assert counts_of(rows, *range_of(rows), 4).tolist() == [[5, 0, 0, 0]]

    def test_many_rows_and_columns_are_many_tiles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = np.random.default_rng(0).normal(size=(700, 50)).astype(np.float32)
        expected = counts_of(rows, *range_of(rows), 16)
        monkeypatch.setattr(kernels, "TILE", 60)
        assert counts_of(rows, *range_of(rows), 16).tolist() == expected.tolist()


def test_entropy_of_known_histograms() -> None:
    counts = np.asarray([[4, 4, 0, 0], [8, 0, 0, 0], [2, 2, 2, 2], [4, 2, 1, 1]])
    np.testing.assert_allclose(entropy_of(counts), [1.0, 0.0, 2.0, 1.75], rtol=1e-15)
    assert entropy_of(counts)[1] == 0.0
    assert not np.signbit(entropy_of(counts)).any()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return lambda: tmp_path_factory.mktemp("states")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows are several shards, blocks, units and batches."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 5)
    for name, value in (
        ("CELLS", 40),
        ("LAYERS", 2),
        ("ROWS", 8),
        ("BLOCK_ROWS", 12),
        ("DRAWN", 50),
    ):
        monkeypatch.setattr(entropy, name, value)


def entropies(parts: list[ProbedStates], rows: Array, bins: int, **more: Any) -> Entropies:
    more = {"workers": 1, "draws": np.zeros((0, len(parts)), dtype=np.int64), **more}
    return entropy_per_layer(parts, *range_of(rows), bins=bins, **more)


@pytest.mark.usefixtures("small")
@settings(max_examples=60, deadline=None)
@given(case=samples(), bins=st.integers(2, 20), data=st.data())
def test_the_mean_over_dimensions_equals_a_naive_computation(
    folder: Any, case: tuple[Array, Array, str], bins: int, data: st.DataObject
) -> None:
    rows, _, dtype = case
    borders = [0, *sorted(data.draw(st.sets(st.integers(1, len(rows) - 1), max_size=5))), len(rows)]
    parts = videos(folder(), [rows[a:b] for a, b in pairwise(borders)], dtype)
    found = entropies(parts, rows, bins).mean
    for layer in range(rows.shape[1]):
        naive = [naive_entropy(rows[:, layer, d], bins) for d in range(rows.shape[2])]
        assert found[layer] == pytest.approx(np.mean(naive), rel=1e-9, abs=1e-15)
        assert found[layer] <= math.log2(min(bins, len(rows))) + 1e-12


def made_parts(dtype: str = "float32", seed: int = 0) -> list[Array]:
    generator = np.random.default_rng(seed)
    parts = [generator.normal(size=(n, 5, 7)).astype(np.float32) for n in (5, 40, 1, 33, 64)]
    for part in parts:
        part[:, :, 2] = 3.25  # a constant dimension
    return [exact(part, dtype).astype(np.float32) for part in parts]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dtype", DTYPES)
def test_replicates_are_those_of_rows_repeated_as_their_videos_are_drawn(
    tmp_path: Path, dtype: str
) -> None:
    parts = made_parts(dtype)
    rows = np.concatenate(parts)
    draws = np.asarray([[1, 1, 1, 1, 1], [0, 3, 0, 1, 1], [0, 0, 5, 0, 0], [2, 0, 2, 1, 0]])
    found = entropies(videos(tmp_path, parts, dtype), rows, 6, draws=draws)
    low, high = range_of(rows)
    for times, per_layer in zip(draws, found.replicates, strict=True):
        drawn = np.concatenate([np.repeat(p, n, axis=0) for p, n in zip(parts, times, strict=True)])
        for layer in range(5):
            naive = [
                naive_entropy(drawn[:, layer, d], 6, low[layer, d], high[layer, d])
                for d in range(7)
            ]
            assert per_layer[layer] == pytest.approx(np.mean(naive), rel=1e-9, abs=1e-15)
    np.testing.assert_allclose(found.replicates[0], found.mean, rtol=1e-12)
    assert (found.replicates[2] == 0).all()


@pytest.mark.parametrize("rows", [300, 70_001])
def test_no_count_of_a_long_video_overflows(tmp_path: Path, rows: int) -> None:
    parts = [np.zeros((rows, 1, 2), dtype=np.float32), np.ones((1, 1, 2), dtype=np.float32)]
    draws = np.asarray([[1, 1], [3, 1], [301, 2]])  # 21 million rows: more than float32 counts
    found = entropies(videos(tmp_path, parts), np.concatenate(parts), 4, draws=draws)
    for times, entropy_ in zip(draws.tolist(), found.replicates[:, 0], strict=True):
        rare = times[1] / (times[0] * rows + times[1])
        expected = -(rare * math.log2(rare) + (1 - rare) * math.log1p(-rare) / math.log(2))
        assert entropy_ == pytest.approx(expected, rel=1e-9, abs=0)
    assert found.mean[0] == found.replicates[0, 0]


def test_no_unit_of_work_and_no_worker_changes_a_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = made_parts(seed=1)
    stored, rows = videos(tmp_path, parts), np.concatenate(parts)
    for draws in (np.zeros((0, 5), dtype=np.int64), np.asarray([[2, 0, 1, 1, 1], [0, 0, 0, 4, 1]])):
        alone = entropies(stored, rows, 64, draws=draws)
        changes = [("ROWS", 3), ("BLOCK_ROWS", 1), ("LAYERS", 1), ("EXACT", 1)]
        for workers, (name, value) in enumerate([("ROWS", 512), *changes], start=1):
            monkeypatch.setattr(entropy, name, value)
            found = entropies(stored, rows, 64, draws=draws, workers=workers)
            assert found.mean.tobytes() == alone.mean.tobytes()
            assert found.replicates.tobytes() == alone.replicates.tobytes()


@pytest.mark.usefixtures("small")
def test_layers_come_in_their_order_and_progress_ends_at_its_end(tmp_path: Path) -> None:
    parts = made_parts(seed=2)
    told: list[tuple[float, float]] = []
    found = entropies(
        videos(tmp_path, parts), np.concatenate(parts), 16, workers=1,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert len(set(found.mean.tolist())) == 5
    assert told[-1][0] == told[-1][1] > 4
    assert told == sorted(told)
