"""Detected intervals against annotated ones."""

from __future__ import annotations

from collections.abc import Sequence

from stages.probes.frames import Range


def overlap(a: Range, b: Range) -> float:
    """Temporal intersection over union of two half-open intervals."""
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared)


def matched(detected: Sequence[Range], annotated: Sequence[Range], tiou: float) -> int:
    """Pairs that are matched one to one, the highest overlap first, each at least `tiou`.

    Of equal overlaps the earlier detection, then the earlier annotation, goes first.
    """
    pairs = sorted(
        (-overlap(d, a), i, j)
        for i, d in enumerate(detected)
        for j, a in enumerate(annotated)
        if overlap(d, a) >= tiou and overlap(d, a) > 0
    )
    taken: set[int] = set()
    used: set[int] = set()
    for _, i, j in pairs:
        if i not in taken and j not in used:
            taken.add(i)
            used.add(j)
    return len(taken)
