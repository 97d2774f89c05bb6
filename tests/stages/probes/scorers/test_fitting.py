"""Standardisation, resampling, and one thread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from stages.probes.scorers.fitting import fitted_rows, one_thread, standard
from tests.fitting import options, samples


def test_standardisation_gives_mean_0_and_deviation_1_or_changes_nothing() -> None:
    rows, _ = samples()
    mean, scale = standard(rows, options())
    changed = (rows - mean) / scale
    np.testing.assert_allclose(changed.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose((changed**2).mean(axis=0), 1, rtol=1e-12)
    mean, scale = standard(rows, options(standardise=False))
    assert (mean.tolist(), scale.tolist()) == ([0.0] * 6, [1.0] * 6)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_resampled_classes_are_equally_frequent_and_no_row_is_favoured(
    normal: int, anomalous: int, seed: int
) -> None:
    labels = np.repeat(np.asarray([0, 1], dtype=np.int64), [normal, anomalous])
    rows = fitted_rows(labels, options(balance="resample", seed=seed))
    times = np.bincount(rows, minlength=len(labels))
    assert np.bincount(labels[rows]).tolist() == [max(normal, anomalous)] * 2
    for k in (0, 1):
        assert np.ptp(times[labels == k]) <= 1
    assert times.min() >= 1


@pytest.mark.parametrize("balance", ["weights", "none"])
def test_without_resampling_every_row_is_fitted_once(balance: str) -> None:
    _, labels = samples()
    assert fitted_rows(labels, options(balance=balance)).tolist() == list(range(90))


def test_one_thread_is_one_thread() -> None:
    with one_thread():
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
