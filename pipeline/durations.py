"""Lengths of time as a person writes them: 30d, 12h, 10m, 90s."""

from __future__ import annotations

import re

from cache.errors import ConfigError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str, option: str) -> float:
    """Seconds of a length of time; `option` is named where it is none (ConfigError)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None:
        raise ConfigError(f"{option} {text}: expected a number with a unit, such as 30d, 12h, 10m")
    return float(found[1]) * UNITS[found[2]]
