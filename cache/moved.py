"""What became of one artifact that was to be pushed or pulled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MOVED = "moved"
PRESENT = "present"
"""It is there already, with the same content."""
DIFFERS = "differs"
"""The key is there with other content: the first stays."""
EVICTED = "evicted"
"""Only its record was kept where it should come from."""
ABSENT = "absent"
"""It is not where it should come from: it was not made, or not pushed."""
DAMAGED = "damaged"
"""It is not what its record says, and was refused."""
OUTCOMES = (MOVED, PRESENT, DIFFERS, EVICTED, ABSENT, DAMAGED)

Tick = Callable[[int], None]
"""Told after every piece how many bytes have passed; it may raise, to stop."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One artifact, and what became of it."""

    stage: str
    key: str
    outcome: str
    bytes: int = 0
    """Of payload and record, where it was moved or would be."""
    message: str = ""
