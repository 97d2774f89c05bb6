"""Scores as probabilities: errors by frame, compared with scikit-learn and a loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from stages.probes.calibration import BINS, Calibration, calibration_of

scores = st.sampled_from([0.0, 1.0, *(k / BINS for k in range(1, BINS))]) | st.floats(0, 1)
pieces = st.lists(st.tuples(scores, st.booleans(), st.integers(1, 9)), min_size=1, max_size=30)


def by_hand(found):
    """Frame by frame, bin by bin."""
    frames = [(s, y) for s, y, n in found for _ in range(n)]
    error = 0.0
    for k in range(BINS):
        low, high = k / BINS, (k + 1) / BINS
        inside = [(s, y) for s, y in frames if low < s <= high or (k == 0 and s == 0)]
        if inside:
            said = sum(s for s, _ in inside) / len(inside)
            true = sum(y for _, y in inside) / len(inside)
            error += len(inside) / len(frames) * abs(said - true)
    rate = sum(y for _, y in frames) / len(frames)
    return error, sum((s - y) ** 2 for s, y in frames) / len(frames), rate * (1 - rate)


@settings(max_examples=150, deadline=None)
@given(pieces)
def test_the_errors_are_those_of_frames(found):
    said, labels, weights = (np.asarray(part) for part in zip(*found, strict=True))
    errors = calibration_of(said, labels, weights)
    ece, brier, base_rate = by_hand(found)
    assert errors.ece == pytest.approx(ece, abs=1e-12)
    assert errors.brier == pytest.approx(brier, abs=1e-12)
    assert errors.base_rate_brier == pytest.approx(base_rate, abs=1e-12)
    expected = brier_score_loss(np.repeat(labels, weights), np.repeat(said, weights))
    assert errors.brier == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    # 0.1 three times, one anomalous; 0.9 once, anomalous.
    said, labels = np.asarray([0.1, 0.1, 0.9]), np.asarray([False, True, True])
    found = calibration_of(said, labels, np.asarray([2, 1, 1]))
    assert found == Calibration(
        ece=pytest.approx(3 / 4 * (1 / 3 - 0.1) + 1 / 4 * 0.1),
        brier=pytest.approx((2 * 0.01 + 0.81 + 0.01) / 4),
        base_rate_brier=0.25,
    )


def test_the_base_rate_is_calibrated_and_tells_nothing_apart():
    labels = np.asarray([True, False, False, False])
    found = calibration_of(np.full(4, 0.25), labels, np.ones(4))
    assert found.ece == pytest.approx(0)
    assert found.brier == pytest.approx(found.base_rate_brier)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, 250.0])
def test_scores_that_are_no_probabilities_have_no_calibration(wrong):
    assert calibration_of(np.asarray([0.5, wrong]), np.asarray([True, False]), np.ones(2)) is None


def test_what_smoothing_adds_by_rounding_is_still_a_probability():
    said = np.asarray([1 + 3e-16, -1e-17])
    found = calibration_of(said, np.asarray([True, False]), np.ones(2))
    assert found == Calibration(0.0, 0.0, 0.25)
