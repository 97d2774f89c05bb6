"""What the forward stages of a plan will cost, before they run: pure arithmetic over a plan."""

from __future__ import annotations


def operations(count: float) -> str:
    """Floating point operations as a person writes them, in three figures: 36.7 TFLOP."""
    for unit in ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} EFLOP"
