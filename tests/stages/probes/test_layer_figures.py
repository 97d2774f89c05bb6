"""The figures of layers are the same to the bit whoever runs the tasks, and those of the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.errors import ConfigError, ItemError
from stages.probes.entropy import entropy_per_layer
from stages.probes.layer_figures import LayerFigures, layer_figures, moments_of_videos
from stages.probes.moments import merge_tree, moments_of
from stages.probes.states import ProbedStates
from tests.stages.probes.stored import videos

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def subset(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[ProbedStates], list[Array]]:
    """Videos of very different lengths, one of them with both labels."""
    generator = np.random.default_rng(0)
    lengths = (3, 700, 1, 40, 8300, 64)  # the longest is two blocks of one task each
    parts = [(5 + generator.normal(size=(n, 4, 6))).astype(np.float32) for n in lengths]
    labels = [np.full(n, number % 2) for number, n in enumerate(lengths)]
    labels[1] = generator.integers(0, 2, 700)
    return videos(tmp_path_factory.mktemp("subset"), parts, "float16"), labels


def figures(subset: tuple[list[ProbedStates], list[Array]], **more: Any) -> LayerFigures:
    return layer_figures(*subset, bins=32, eps=1e-6, **{"workers": 2, **more})


def bits(found: LayerFigures) -> list[bytes]:
    moments = found.moments
    arrays = (
        found.kl, found.ldr, found.entropy, moments.low, moments.high,
        moments.normal.mean, moments.normal.m2, moments.anomalous.mean, moments.anomalous.m2,
    )  # fmt: skip
    return [array.tobytes() for array in arrays]


@pytest.fixture(scope="module")
def alone(subset: tuple[list[ProbedStates], list[Array]]) -> list[bytes]:
    return bits(figures(subset, workers=1, scheduler="synchronous"))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_change_no_bit(subset: Any, alone: list[bytes], workers: int) -> None:
    assert bits(figures(subset, workers=workers)) == alone


def test_processes_change_no_bit(subset: Any, alone: list[bytes]) -> None:
    assert bits(figures(subset, scheduler="processes")) == alone


def test_a_cluster_changes_no_bit(subset: Any, alone: list[bytes]) -> None:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        assert bits(figures(subset, scheduler=client)) == alone


def test_they_are_those_of_the_stages(subset: Any, alone: list[bytes]) -> None:
    """Stage moments takes video by video, stage statistics merges them as a tree."""
    states, labels = subset
    parts = [moments_of(video, mine, 2) for video, mine in zip(states, labels, strict=True)]
    merged = merge_tree(len(parts), parts.__getitem__)
    draws = np.ones((3, len(states)), dtype=np.int64)
    found = entropy_per_layer(states, merged.low, merged.high, bins=32, draws=draws, workers=2)
    assert found.mean.tobytes() == alone[2]
    assert merged.normal.mean.tobytes() == alone[5]
    assert merged.anomalous.m2.tobytes() == alone[8]


@pytest.mark.parametrize(("value", "name"), [(0, "anomalous"), (1, "normal")])
def test_a_class_without_a_sample_is_a_clear_error(subset: Any, value: int, name: str) -> None:
    states, labels = subset
    one = [np.full_like(mine, value) for mine in labels]
    with pytest.raises(ConfigError, match=rf"no {name} sample"):
        figures((states, one))


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_an_error_of_a_task_is_the_error(tmp_path: Path, scheduler: str) -> None:
    rows = np.zeros((4, 2, 3), dtype=np.float32)
    rows[2, 1, 0] = np.nan
    states = videos(tmp_path, [np.zeros_like(rows), rows])
    with pytest.raises(ItemError, match=r"v1: .*segment 2, layer 1, dimension 0 is nan"):
        moments_of_videos(states, [np.zeros(4, dtype=np.int64)] * 2, workers=2, scheduler=scheduler)
