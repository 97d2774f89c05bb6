"""Sorted numbers as people say them: "0 to 8, 16"."""

from __future__ import annotations

from collections.abc import Sequence


def ranges_of(numbers: Sequence[int]) -> str:
    """Strictly increasing numbers as text, three or more in a row as "first to last"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(parts)
