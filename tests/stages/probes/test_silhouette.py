"""The silhouette equals its definition where it is exact, and is sampled fairly where not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.probes.silhouette import silhouette_per_layer, stratified_rows


def quiet(done, total):
    pass


def naive_silhouette(rows, labels):
    values = []
    for i, row in enumerate(rows):
        distance = np.sqrt(((rows - row) ** 2).sum(axis=1))
        same = (labels == labels[i]) & (np.arange(len(rows)) != i)
        if not same.any():
            values.append(0.0)
            continue
        a, b = distance[same].mean(), distance[labels != labels[i]].mean()
        values.append((b - a) / max(a, b) if max(a, b) > 0 else 0.0)
    return np.mean(values)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=4), st.integers(0, 2**32 - 1))
def test_it_equals_the_definition(lengths, seed):
    generator = np.random.default_rng(seed)
    videos = [generator.normal(size=(n, 2, 3)).astype(np.float32) for n in lengths]
    labels = [np.full(n, i % 2) for i, n in enumerate(lengths)]
    found = silhouette_per_layer(
        [lambda layer, v=v: v[:, layer] for v in videos],
        labels, range(2), most=100, seed=0, workers=2, progress=quiet,
    )  # fmt: skip
    for layer in range(2):
        rows = np.concatenate(videos)[:, layer].astype(np.float64)
        assert found[layer] == pytest.approx(naive_silhouette(rows, np.concatenate(labels)), 1e-9)


def test_equal_rows_have_no_silhouette():
    same = np.ones((3, 1, 2), dtype=np.float32)
    reads = [lambda layer: same[:, layer]] * 2
    labels = [np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64)]
    assert silhouette_per_layer(
        reads, labels, [0], most=10, seed=0, workers=2, progress=quiet
    ).tolist() == [0.0]


def test_workers_do_not_change_a_bit():
    generator = np.random.default_rng(0)
    videos = [generator.normal(size=(n, 7, 5)).astype(np.float32) for n in (20, 31)]
    reads = [lambda layer, v=v: v[:, layer] for v in videos]
    labels = [np.zeros(20, dtype=np.int64), np.ones(31, dtype=np.int64)]
    found = {
        silhouette_per_layer(
            reads, labels, range(7), most=30, seed=0, workers=workers, progress=quiet
        ).tobytes()
        for workers in (1, 2, 9)
    }
    assert len(found) == 1


def test_layers_are_read_by_their_numbers():
    generator = np.random.default_rng(0)
    videos = [generator.normal(size=(n, 3, 5)).astype(np.float32) for n in (20, 31)]
    labels = [np.zeros(20, dtype=np.int64), np.ones(31, dtype=np.int64)]
    numbers = [2, 16, 31]
    plain, by_number = (
        silhouette_per_layer(
            [lambda n, v=v, order=order: v[:, order.index(n)] for v in videos],
            labels, order, most=100, seed=0, workers=2, progress=quiet,
        ).tolist()
        for order in ([0, 1, 2], numbers)
    )  # fmt: skip
    assert by_number == plain
    assert len(set(plain)) == 3


def test_a_sample_keeps_the_shares_and_is_the_same_for_a_seed():
    labels = np.repeat([0, 1, 0], [600, 100, 300])
    kept = stratified_rows(labels, 50, seed=4)
    assert len(kept) == len(set(kept.tolist())) == 50
    assert labels[kept].sum() == 5
    np.testing.assert_array_equal(kept, stratified_rows(labels, 50, seed=4))
    assert kept.tolist() != stratified_rows(labels, 50, seed=5).tolist()


@pytest.mark.parametrize(("n_anomalous", "expected"), [(1, 1), (999, 9)])
def test_a_sample_holds_at_least_one_of_each_class(n_anomalous, expected):
    labels = np.zeros(1000, dtype=np.int64)
    labels[:n_anomalous] = 1
    assert labels[stratified_rows(labels, 10, seed=0)].sum() == expected


def test_few_rows_are_all_taken():
    assert stratified_rows(np.asarray([0, 1, 0]), 3, seed=0).tolist() == [0, 1, 2]


def test_a_sample_reads_rows_across_videos():
    generator = np.random.default_rng(0)
    videos = [generator.normal(i, 0.1, size=(200, 1, 2)).astype(np.float32) for i in (0, 5, 5.1)]
    labels = [np.zeros(200, dtype=np.int64), *[np.ones(200, dtype=np.int64)] * 2]
    reads = [lambda layer, v=v: v[:, layer] for v in videos]
    sampled = silhouette_per_layer(reads, labels, [0], most=60, seed=1, workers=2, progress=quiet)[
        0
    ]
    exact = silhouette_per_layer(reads, labels, [0], most=600, seed=1, workers=2, progress=quiet)[0]
    assert sampled == pytest.approx(exact, abs=0.02)
    assert exact > 0.9
