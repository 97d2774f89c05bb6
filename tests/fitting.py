"""Rows of two classes and the options of a fit, for the tests of scorers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.probes.scorers import FitOptions, Rows, SteerOptions
from stages.probes.scorers.chunks import Chunks
from stages.probes.spans import Ints


def options(**changed: Any) -> FitOptions:
    given = {"c": 1.0, "standardise": True, "balance": "weights", "max_iter": 1000, "seed": 0}
    return FitOptions(**{**given, **changed})


def steering(dim: int, **changed: Any) -> SteerOptions:
    """The second half of a row steers the first, which is one head."""
    small = {"gate": 8, "rank": 2, "epochs": 60}
    return SteerOptions(**{"heads": 1, "context": dim // 2, **small, **changed})


def options_of(kind: str, dim: int, epochs: int = 60, **changed: Any) -> FitOptions:
    """Options for rows of this width, whatever the kind."""
    steer = steering(dim, epochs=epochs) if kind == "steer" else None
    return options(steer=steer, **changed)


def samples(seed: int = 0, n: int = 90, dim: int = 6, share: float = 0.3) -> tuple[Rows, Ints]:
    """Rows [n, dim] far from the origin, shifted in dimension 0 where they are anomalous."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < share).astype(np.int64)
    labels[:2] = (0, 1)
    rows = generator.normal(10, 3, size=(n, dim)).astype(np.float32)
    rows[:, 0] += 2 * labels
    return rows, labels


def cut(rows: Rows, cuts: Sequence[int]) -> Chunks:
    """The same rows in pieces that end at these places, some of them empty."""
    return lambda: iter(np.split(rows, sorted(min(place, len(rows)) for place in cuts)))
