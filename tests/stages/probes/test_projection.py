"""Rows in the plane: components as linear algebra has them, neighbours as scikit-learn finds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from threadpoolctl import threadpool_limits

from stages.probes.projection import Projection, components_of, neighbours, principal
from stages.probes.spans import Floats


def tsne(rows: Floats, **changed: float) -> Projection:
    given = {"perplexity": 30.0, "iterations": 250, "seed": 0, **changed}
    return neighbours(
        components_of(rows),
        perplexity=given["perplexity"],
        iterations=int(given["iterations"]),
        seed=int(given["seed"]),
    )


def points_of(found: Projection) -> Floats:
    assert found.points is not None
    return found.points


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_components_are_those_of_scikit_learn_up_to_sign(n: int, dim: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(100, 3, size=(n, dim))
    rows[:, 0] *= 5
    found = principal(components_of(rows))
    model = PCA(n_components=min(2, n), svd_solver="full")
    expected = model.fit_transform(rows)
    points = points_of(found)
    assert points.shape == (n, 2)
    count = min(2, n - 1)  # of n rows the n-th component is a rounding
    np.testing.assert_allclose(
        np.abs(points[:, :count]), np.abs(expected[:, :count]), atol=1e-7 * np.abs(expected).max()
    )
    np.testing.assert_allclose(
        found.record["explained"][:count], model.explained_variance_ratio_[:count], rtol=1e-9
    )
    assert all(column[np.abs(column).argmax()] >= 0 for column in points.T)
    assert found.note == ""


@pytest.mark.parametrize("rows", [np.ones((6, 3)), np.full((2, 4), 1e300)])
def test_equal_rows_are_one_point_and_have_no_neighbours(rows: Floats) -> None:
    assert principal(components_of(rows)).record == {"explained": [0.0, 0.0]}
    assert points_of(principal(components_of(rows))).tolist() == [[0.0, 0.0]] * len(rows)
    assert tsne(rows).points is None
    assert tsne(rows).record == {"kl": None}


def test_one_dimension_has_one_component() -> None:
    rows = np.arange(8.0)[:, None]
    assert points_of(principal(components_of(rows)))[:, 1].tolist() == [0.0] * 8
    assert points_of(tsne(rows)).shape == (8, 2)


def test_neighbours_stay_neighbours_and_classes_apart() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 3
    rows = generator.normal(size=(120, 20)) + 6 * np.eye(3, 20)[labels]
    found = tsne(rows, iterations=500, perplexity=15)
    points = points_of(found)
    assert trustworthiness(rows, points, n_neighbors=10) > 0.9
    centres = np.stack([points[labels == n].mean(axis=0) for n in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.97
    assert 0 < found.record["kl"] < 2
    assert found.record["iterations"] <= 500
    assert found.record["perplexity"] == 15
    assert found.note == ""


def test_the_same_seed_gives_the_same_bits_on_any_threads() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 9))
    found = set()
    for threads in (1, 2, 2):
        with threadpool_limits(limits=threads):
            found.add(
                (
                    points_of(tsne(rows)).tobytes(),
                    points_of(principal(components_of(rows))).tobytes(),
                )
            )
    assert len(found) == 1


@pytest.mark.parametrize(("n", "perplexity"), [(5, 4 / 3), (10, 3.0), (91, 30.0), (90, 89 / 3)])
def test_the_perplexity_is_lowered_where_rows_are_few_and_this_is_said(
    n: int, perplexity: float
) -> None:
    found = tsne(np.random.default_rng(0).normal(size=(n, 4)))
    assert found.record["perplexity"] == pytest.approx(perplexity)
    expected = "" if n == 91 else f"perplexity {perplexity:.3g} instead of 30: there are {n} rows"
    assert found.note == expected
    assert np.isfinite(points_of(found)).all()


@pytest.mark.parametrize("n", [2, 4])
def test_of_very_few_rows_there_is_no_picture_of_neighbours(n: int) -> None:
    found = tsne(np.random.default_rng(0).normal(size=(n, 4)))
    assert found.points is None
    assert found.note == f"no t-SNE: {n} rows are too few"


def test_rows_that_repeat_do_no_harm() -> None:
    rows = np.repeat(np.random.default_rng(0).normal(size=(3, 4)), 20, axis=0)
    assert np.isfinite(points_of(tsne(rows))).all()
