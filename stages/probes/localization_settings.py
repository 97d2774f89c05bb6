"""Section [localize]: how scores become intervals. Two stages read it, each its own fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cache.fields import at_least, between, recipe

FIXED = "fixed:"
OF_THRESHOLD = ("threshold", "kappa", "f1_step")
"""Fields that only the stage threshold reads."""
OF_INTERVALS = ("merge_s", "least_s")
"""Fields that only the stage localize reads."""
LEAST_STEP = 1e-4


def fixed_threshold(rule: str) -> float | None:
    """T of the rule fixed:T, None for any other text."""
    if not rule.startswith(FIXED):
        return None
    try:
        value = float(rule.removeprefix(FIXED))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def of_other_rules(rule: str) -> tuple[str, ...]:
    """Fields of the stage threshold that a rule does not look at."""
    return tuple(name for name, reader in (("kappa", "kappa"), ("f1_step", "f1")) if rule != reader)


def _threshold(value: Any) -> str | None:
    if value in ("kappa", "f1") or fixed_threshold(value) is not None:
        return None
    return 'must be "kappa", "f1", or "fixed:T" with a score such as "fixed:0.5"'


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
        "kappa",
        "kappa (from the probing scores), f1 (the best on held-out probing scores) or fixed:T such "
        "as fixed:0.5",
        check=_threshold,
    )
    f1_step: float = recipe(
        0.01,
        "f1 tries every multiple of it between 0 and 1 as a threshold",
        check=between(LEAST_STEP, 0.5),
    )
    merge_s: float = recipe(
        0.0,
        "intervals that lie at most so many seconds apart become one; 0 is none",
        check=at_least(0),
    )
    least_s: float = recipe(
        0.0, "then intervals that last less than so many seconds are dropped", check=at_least(0)
    )
