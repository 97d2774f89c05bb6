"""Figures that cannot be computed: null, with the reason, and never a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

NO_THRESHOLD = "no threshold is given, so nothing is detected"
NO_SECONDS = "the length of a video is not known"


@dataclass(frozen=True, slots=True)
class Undefined:
    """The reasons found so far, by the dotted name of the figure in metrics.json."""

    reasons: dict[str, str] = field(default_factory=dict)

    def keep(self, name: str, value: float | None, reason: str) -> float | None:
        """Pass a value through and note the reason where there is none."""
        if value is None:
            self.reasons[name] = reason
        return value

    def nulls(self, name: str, figures: Sequence[str], reason: str) -> dict[str, float | None]:
        """The `figures` of a group of this name, each null for the one reason."""
        for figure in figures:
            self.reasons[f"{name}.{figure}"] = reason
        return dict.fromkeys(figures, None)


def share(part: float, whole: float) -> float | None:
    """part / whole, None where the whole is nothing."""
    return part / whole if whole else None


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are defined, None where none is."""
    defined = [value for value in values if value is not None]
    return share(sum(defined), len(defined))
