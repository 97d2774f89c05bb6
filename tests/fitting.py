"""Rows of two classes and the options of a fit, for the tests of scorers."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.probes.scorers import FitOptions, Rows
from stages.probes.spans import Ints


def options(**changed: Any) -> FitOptions:
    given = {"c": 1.0, "standardise": True, "balance": "weights", "max_iter": 1000, "seed": 0}
    return FitOptions(**{**given, **changed})


def samples(seed: int = 0, n: int = 90, dim: int = 6, share: float = 0.3) -> tuple[Rows, Ints]:
    """Rows [n, dim] far from the origin, shifted in dimension 0 where they are anomalous."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < share).astype(np.int64)
    labels[:2] = (0, 1)
    rows = generator.normal(10, 3, size=(n, dim)).astype(np.float32)
    rows[:, 0] += 2 * labels
    return rows, labels
