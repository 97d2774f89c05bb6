"""The silhouette equals its definition where it is exact, and is sampled fairly where not."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import silhouette_samples, silhouette_score

from stages.probes import distances
from stages.probes.distances import distance_tiles
from stages.probes.resampling import video_draws
from stages.probes.silhouette import Silhouettes, silhouette_per_layer, stratified_rows

Array = NDArray[Any]


def quiet(done: float, total: float) -> None:
    pass


def of(
    videos: Sequence[Array], labels: Sequence[Array], layers: Sequence[int] = (0,), **changed: Any
) -> Silhouettes:
    """The silhouettes of videos [segments, layers, dim]."""
    given = {"most": 1000, "seed": 0, "draws": np.zeros((0, len(videos)), np.int64), "workers": 2}
    reads = [lambda layer, rows, v=v: v[rows, layer] for v in videos]
    return silhouette_per_layer(reads, labels, layers, progress=quiet, **{**given, **changed})


def naive_silhouette(rows: Array, labels: Array) -> float:
    values = []
    for i, row in enumerate(rows):
        distance = np.sqrt(((rows - row) ** 2).sum(axis=1))
        same = (labels == labels[i]) & (np.arange(len(rows)) != i)
        if not same.any():
            values.append(0.0)
            continue
        a, b = distance[same].mean(), distance[labels != labels[i]].mean()
        values.append((b - a) / max(a, b) if max(a, b) > 0 else 0.0)
    return float(np.mean(values))


def repeated(
    videos: Sequence[Array], labels: Sequence[Array], draw: Array, layer: int
) -> tuple[Array, Array]:
    """Rows of a layer, each as often as its video is drawn, with their labels."""
    rows = [np.tile(v[:, layer], (int(n), 1)) for v, n in zip(videos, draw, strict=True)]
    found = [np.tile(part, int(n)) for part, n in zip(labels, draw, strict=True)]
    return np.concatenate(rows).astype(np.float64), np.concatenate(found)


class TestExact:
    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.integers(1, 6), min_size=2, max_size=6),
        st.sampled_from([0.0, 1.0, 1e4]),
        st.sampled_from([1.0, 1e-2]),
        st.integers(1, 5),
        st.integers(0, 2**32 - 1),
    )
    def test_it_equals_the_definition_and_so_does_every_replicate(
        self, lengths: list[int], offset: float, spread: float, dim: int, seed: int
    ) -> None:
        generator = np.random.default_rng(seed)
        videos = [
            (offset + spread * generator.normal(i % 2, 1, size=(n, 2, dim))).astype(np.float32)
            for i, n in enumerate(lengths)
        ]
        videos[0][:, :, :] = videos[0][0]  # a video of equal rows
        labels = [np.full(n, i % 2) for i, n in enumerate(lengths)]
        labels[-1] = generator.integers(0, 2, lengths[-1])  # a video with both classes
        labels[0][:], labels[1][:] = 0, 1
        draws = generator.integers(0, 4, size=(6, len(videos)))
        draws[0] = 1
        found = of(videos, labels, range(2), draws=draws)
        assert found.samples == sum(lengths)
        assert found.error.tolist() == [0.0, 0.0]
        for layer in range(2):
            rows = np.concatenate(videos)[:, layer].astype(np.float64)
            expected = naive_silhouette(rows, np.concatenate(labels))
            assert found.mean[layer] == pytest.approx(expected, 1e-9, 1e-9)
            assert found.replicates[0, layer] == pytest.approx(expected, 1e-9, 1e-9)
            for value, draw in zip(found.replicates[:, layer], draws, strict=True):
                rows, own = repeated(videos, labels, draw, layer)
                if len(set(own.tolist())) < 2:
                    assert np.isnan(value)
                else:
                    assert value == pytest.approx(naive_silhouette(rows, own), 1e-9, 1e-9)

    def test_replicates_equal_scikit_learn_on_the_repeated_rows_of_the_sample(self) -> None:
        generator = np.random.default_rng(0)
        videos = [generator.normal(i % 2, 2, size=(30, 3, 20)).astype(np.float32) for i in range(9)]
        labels = [np.full(30, i % 2) for i in range(9)]
        draws = video_draws(labels, 300, seed=1)
        found = of(videos, labels, [2, 0], most=100, seed=5, draws=draws)
        assert found.samples == 100
        kept = stratified_rows(np.concatenate(labels), 100, 5)
        parts = [kept[kept // 30 == v] % 30 for v in range(9)]
        chosen = [v[part] for v, part in zip(videos, parts, strict=True)]
        own = [part[rows] for part, rows in zip(labels, parts, strict=True)]
        for place, layer in enumerate((2, 0)):
            rows, of_rows = repeated(chosen, own, np.ones(9), layer)
            assert found.mean[place] == pytest.approx(silhouette_score(rows, of_rows), rel=1e-9)
            for number in (0, 17, 299):
                rows, of_rows = repeated(chosen, own, draws[number], layer)
                expected = silhouette_score(rows, of_rows)
                # Between equal rows scikit-learn has distances of some 1e-7 instead of 0.
                assert found.replicates[number, place] == pytest.approx(expected, abs=1e-8)
                assert found.replicates[number, place] == pytest.approx(
                    naive_silhouette(rows, of_rows), rel=1e-9
                )

    def test_equal_rows_have_no_silhouette(self) -> None:
        same = np.ones((3, 1, 2), dtype=np.float32)
        labels = [np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64)]
        found = of([same, same], labels, draws=np.asarray([[1, 2]]))
        assert found.mean.tolist() == [0.0]
        assert found.replicates.tolist() == [[0.0]]
        assert of([same, same], labels, most=4).error.tolist() == [0.0]

    def test_one_row_of_each_class_has_silhouette_0_and_repeated_rows_have_1(self) -> None:
        videos = [np.full((1, 1, 2), v, dtype=np.float32) for v in (0, 9)]
        labels = [np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64)]
        draws = np.asarray([[1, 1], [2, 1], [2, 3], [0, 2], [0, 0]])
        found = of(videos, labels, draws=draws)
        assert found.mean.tolist() == [0.0]
        np.testing.assert_allclose(found.replicates[:, 0], [0, 2 / 3, 1, np.nan, np.nan])

    def test_what_is_not_finite_is_not_hidden(self) -> None:
        videos = [np.ones((2, 1, 2), dtype=np.float32), np.zeros((2, 1, 2), dtype=np.float32)]
        videos[0][0, 0, 0] = np.nan
        labels = [np.zeros(2, dtype=np.int64), np.ones(2, dtype=np.int64)]
        found = of(videos, labels, draws=np.ones((1, 2), dtype=np.int64))
        assert np.isnan(found.mean).all()
        assert np.isnan(found.replicates).all()


class TestDistances:
    """Tiles equal the differences, however near the rows and however far the origin."""

    @pytest.mark.parametrize("tile", [3, 7, 1000])
    @pytest.mark.parametrize("normal", [0, 1, 9, 20])
    def test_every_pair_once(self, tile: int, normal: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(distances, "TILE", tile)
        rows = np.random.default_rng(0).normal(size=(20, 3))
        rows[4] = rows[2]
        found = np.full((20, 20), np.nan)
        for part in distance_tiles(rows, normal):
            assert np.isnan(found[part.rows, part.columns]).all()
            found[part.rows, part.columns] = part.distances
            found[part.columns, part.rows] = part.distances.T
        expected = np.sqrt(((rows[:, None] - rows) ** 2).sum(axis=2))
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
        assert (np.diag(found) == 0).all()
        assert found[2, 4] == 0

    @pytest.mark.parametrize("apart", [1.0, 1e-3, 1e-5, 1e-7])
    @pytest.mark.parametrize("offset", [0.0, 1e4])
    def test_near_rows_far_from_each_other(self, apart: float, offset: float) -> None:
        """Two heaps in each class, as far apart as the rows of a heap are near."""
        generator = np.random.default_rng(0)
        centres = offset + generator.choice([-1.0, 1.0], size=(24, 1))
        rows = centres + apart * generator.normal(size=(24, 8))
        labels = np.repeat([0, 1], 12)
        found = np.zeros((24, 24))
        for part in distance_tiles(rows, 12):
            found[part.rows, part.columns] = part.distances
            found[part.columns, part.rows] = part.distances.T
        expected = np.sqrt(((rows[:, None] - rows) ** 2).sum(axis=2))
        np.testing.assert_allclose(found, expected, atol=3e-11)
        video = of([rows[:12, None], rows[12:, None]], [labels[:12], labels[12:]])
        assert video.mean[0] == pytest.approx(naive_silhouette(rows, labels), abs=1e-9)

    def test_of_classes_that_are_tight_and_far_apart_no_pair_needs_its_differences(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Which is slow: about the mean of its class a row is not near to the others of it."""
        monkeypatch.delattr(distances, "_near")
        rows = 1e-6 * np.random.default_rng(0).normal(size=(40, 8))
        rows[20:] += 1.0
        assert len([*distance_tiles(rows, 20)]) == 3

    def test_groups_go_on_over_tiles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        generator = np.random.default_rng(0)
        videos = [generator.normal(size=(n, 1, 4)).astype(np.float32) for n in (13, 2, 9, 1, 8)]
        labels = [(np.arange(len(v)) + i) // 3 % 2 for i, v in enumerate(videos)]
        draws = generator.integers(0, 3, size=(5, 5)) + 1
        whole = of(videos, labels, draws=draws)
        monkeypatch.setattr(distances, "TILE", 4)
        cut = of(videos, labels, draws=draws)
        np.testing.assert_allclose(cut.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(cut.replicates, whole.replicates, rtol=1e-12)
        monkeypatch.setattr(distances, "TILE", 1000)
        sampled = of(videos, labels, most=20)
        monkeypatch.setattr(distances, "TILE", 3)
        assert of(videos, labels, most=20).error[0] == pytest.approx(sampled.error[0], rel=1e-12)


class TestStandardError:
    @pytest.mark.parametrize(
        ("sizes", "gap", "most"),
        [((300, 300), 1.0, 100), ((520, 80), 0.6, 150), ((300, 300), 4.0, 300)],
    )
    def test_it_is_the_deviation_of_the_mean_over_samples(
        self, sizes: tuple[int, int], gap: float, most: int
    ) -> None:
        generator = np.random.default_rng(1)
        videos = [
            (place + generator.normal(size=(n, 1, 3))).astype(np.float32)
            for place, n in zip((0.0, gap), sizes, strict=True)
        ]
        labels = [np.zeros(sizes[0], dtype=np.int64), np.ones(sizes[1], dtype=np.int64)]
        found = [of(videos, labels, most=most, seed=seed) for seed in range(250)]
        means = np.asarray([one.mean[0] for one in found])
        errors = np.asarray([one.error[0] for one in found])
        # 250 samples know a deviation to about 4.5 per cent.
        assert np.sqrt((errors**2).mean()) == pytest.approx(means.std(ddof=1), rel=0.15)
        exact = of(videos, labels, most=10_000).mean[0]
        assert abs(means.mean() - exact) < 3 * errors.mean()

    def test_it_is_the_derivative_by_the_weight_of_every_row(self) -> None:
        """Against finite differences of the definition with weights, row by row."""
        generator = np.random.default_rng(3)
        labels = np.repeat([0, 1, 0], [60, 30, 10])
        rows = generator.normal(size=(100, 1, 4)).astype(np.float32)
        rows[labels == 1] += 0.7
        found = of([rows], [labels], most=40, seed=2)
        kept = stratified_rows(labels, 40, 2)
        x, y = rows[kept, 0].astype(np.float64), labels[kept]
        apart = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))

        def theta(weights: Array) -> float:
            total = 0.0
            for c in (0, 1):
                own, other = weights * (y == c), weights * (y != c)
                # A row is no neighbour of itself, whatever its weight.
                a = np.asarray(
                    [(own * d).sum() / (own.sum() - own[i]) for i, d in enumerate(apart)]
                )
                b = apart @ other / other.sum()
                s = (b - a) / np.maximum(a, b)
                total += (y == c).mean() * (own * s).sum() / own.sum()
            return total

        slopes = []
        for j in range(len(y)):
            step = np.zeros(len(y))
            step[j] = 1e-6
            slopes.append((theta(1 + step) - theta(1 - step)) / 2e-6)
        variance = 0.0
        for c in (0, 1):
            g = np.asarray(slopes)[y == c]
            n, population = len(g), (labels == c).sum()
            variance += (1 - n / population) * n / (n - 1) * ((g - g.mean()) ** 2).sum()
        assert found.error[0] == pytest.approx(np.sqrt(variance), rel=1e-5)

    def test_a_class_of_which_one_row_is_there_is_no_trouble(self) -> None:
        generator = np.random.default_rng(0)
        video = generator.normal(size=(50, 1, 3)).astype(np.float32)
        labels = (np.arange(50) == 7).astype(np.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for most in (2, 3, 10):
                found = of([video], [labels], most=most)
                assert np.isfinite(found.error).all()
                assert found.samples == most


def test_workers_do_not_change_a_bit() -> None:
    generator = np.random.default_rng(0)
    videos = [generator.normal(size=(n, 7, 5)).astype(np.float32) for n in (20, 31)]
    labels = [np.zeros(20, dtype=np.int64), np.ones(31, dtype=np.int64)]
    found = set()
    for workers in (1, 2, 9):
        one = of(
            videos, labels, range(7), most=30, draws=np.asarray([[1, 1], [2, 1]]), workers=workers
        )
        found.add((one.mean.tobytes(), one.error.tobytes(), one.replicates.tobytes()))
    assert len(found) == 1


def test_replicates_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    videos = [generator.normal(size=(5, 1, 3)).astype(np.float32) for _ in range(4)]
    labels = [np.full(5, i % 2) for i in range(4)]
    draws = video_draws(labels, 11, seed=0)
    whole = of(videos, labels, draws=draws)
    monkeypatch.setattr("stages.probes.silhouette.REPLICATES", 3)
    np.testing.assert_allclose(of(videos, labels, draws=draws).replicates, whole.replicates, 1e-13)
    assert whole.replicates.shape == (11, 1)
    assert of(videos, labels).replicates.shape == (0, 1)


def test_layers_are_read_by_their_numbers() -> None:
    generator = np.random.default_rng(0)
    videos = [generator.normal(size=(n, 3, 5)).astype(np.float32) for n in (20, 31)]
    labels = [np.zeros(20, dtype=np.int64), np.ones(31, dtype=np.int64)]
    numbers = [2, 16, 31]
    plain, by_number = (
        silhouette_per_layer(
            [lambda n, rows, v=v, order=order: v[rows, order.index(n)] for v in videos],
            labels, order, most=100, seed=0, draws=np.zeros((0, 2), np.int64), workers=2,
            progress=quiet,
        ).mean.tolist()
        for order in ([0, 1, 2], numbers)
    )  # fmt: skip
    assert by_number == plain
    assert len(set(plain)) == 3


class TestSample:
    def test_it_keeps_the_shares_and_is_the_same_for_a_seed(self) -> None:
        labels = np.repeat([0, 1, 0], [600, 100, 300])
        kept = stratified_rows(labels, 50, seed=4)
        assert len(kept) == len(set(kept.tolist())) == 50
        assert labels[kept].sum() == 5
        np.testing.assert_array_equal(kept, stratified_rows(labels, 50, seed=4))
        assert kept.tolist() != stratified_rows(labels, 50, seed=5).tolist()

    @pytest.mark.parametrize(
        ("n_anomalous", "most", "expected"),
        [(1, 10, 1), (3, 10, 2), (999, 10, 9), (997, 10, 8), (3, 3, 1), (3, 2, 1), (999, 2, 1)],
    )
    def test_it_holds_two_of_each_class_where_it_can(
        self, n_anomalous: int, most: int, expected: int
    ) -> None:
        labels = np.zeros(1000, dtype=np.int64)
        labels[:n_anomalous] = 1
        kept = stratified_rows(labels, most, seed=0)
        assert len(kept) == most
        assert labels[kept].sum() == expected

    def test_few_rows_are_all_taken(self) -> None:
        assert stratified_rows(np.asarray([0, 1, 0]), 3, seed=0).tolist() == [0, 1, 2]

    def test_it_reads_rows_across_videos(self) -> None:
        generator = np.random.default_rng(0)
        videos = [
            generator.normal(i, 0.1, size=(200, 1, 2)).astype(np.float32) for i in (0, 5, 5.1)
        ]
        labels = [np.zeros(200, dtype=np.int64), *[np.ones(200, dtype=np.int64)] * 2]
        kept = stratified_rows(np.concatenate(labels), 60, seed=1)
        rows = np.concatenate(videos)[kept, 0].astype(np.float64)
        own = silhouette_samples(rows, np.concatenate(labels)[kept])
        sampled = of(videos, labels, most=60, seed=1)
        assert sampled.mean[0] == pytest.approx(own.mean(), rel=1e-9)
        exact = of(videos, labels).mean[0]
        assert sampled.mean[0] == pytest.approx(exact, abs=4 * sampled.error[0])
        assert exact > 0.9
