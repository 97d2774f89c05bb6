"""Adam steps as torch's does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.probes.scorers import adam
from stages.probes.spans import Floats


def bowl(at: Floats, gradient: Floats) -> float:
    """(x0 - 3)^2 + 10 (x1 + 1)^4 + cos(x2)"""
    gradient[...] = (2 * (at[0] - 3), 40 * (at[1] + 1) ** 3, -np.sin(at[2]))
    return float((at[0] - 3) ** 2 + 10 * (at[1] + 1) ** 4 + np.cos(at[2]))


@pytest.mark.parametrize(("steps", "rate"), [(1, 0.1), (7, 0.3), (200, 0.05)])
def test_the_parameters_are_torchs(steps: int, rate: float) -> None:
    start = np.asarray([0.5, 0.25, 1.0])
    found, losses = adam.minimise(bowl, start, steps, rate)
    at = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.Adam([at], lr=rate)
    expected = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = (at[0] - 3) ** 2 + 10 * (at[1] + 1) ** 4 + torch.cos(at[2])
        loss.backward()
        expected.append(float(loss.detach()))
        optimiser.step()
    np.testing.assert_allclose(found, at.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(losses[:-1], expected, rtol=1e-10)
    assert losses[-1] == bowl(found, np.empty(3))
    assert start.tolist() == [0.5, 0.25, 1.0]  # left as it was


def test_it_comes_to_the_minimum() -> None:
    found, losses = adam.minimise(bowl, np.asarray([0.5, 0.25, 1.0]), 3000, 0.02)
    np.testing.assert_allclose(found, [3, -1, np.pi], atol=0.05)
    assert losses[-1] == pytest.approx(-1, abs=1e-4)
