"""Section [localize]: how scores become intervals. Two stages read it, each its own fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cache.fields import at_least, recipe

FIXED = "fixed:"
OF_THRESHOLD = ("threshold", "kappa")
"""Fields that only the stage threshold reads."""


def fixed_threshold(rule: str) -> float | None:
    """T of the rule fixed:T, None for any other text."""
    if not rule.startswith(FIXED):
        return None
    try:
        value = float(rule.removeprefix(FIXED))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _threshold(value: Any) -> str | None:
    if value == "kappa" or fixed_threshold(value) is not None:
        return None
    return 'must be "kappa", or "fixed:T" with a score such as "fixed:0.5"'


@dataclass(frozen=True)
class Settings:
    """How scores become intervals."""

    sigma: float = recipe(0.4, "deviation of the Gaussian smoothing; 0 is none", check=at_least(0))
    sigma_unit: str = recipe(
        "segments", "unit of sigma: segments or seconds", choices=("segments", "seconds")
    )
    mode: str = recipe(
        "reflect",
        "what lies beyond the ends of a video: reflect, nearest or mirror",
        choices=("reflect", "nearest", "mirror"),
    )
    kappa: float = recipe(0.2, "the threshold lies so many deviations above the mean")
    threshold: str = recipe(
        "kappa", "kappa (from the probing scores) or fixed:T such as fixed:0.5", check=_threshold
    )
