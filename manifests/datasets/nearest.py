"""The known name that a mistyped one is nearest to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cached_property

_WINDOW = 100
"""Neighbours looked at on each side, in each order."""


class Names:
    """A set of known names, to find the nearest one in.

    Comparing with each of 100,000 names takes a second per question. Instead the neighbours of the
    name are compared in two orders, by its beginning and by its end: a slip of the pen leaves one of
    the two whole. Up to 100 names, every name is compared.
    """

    def __init__(self, known: Iterable[str], likeness: float = 0.6) -> None:
        self._known = known
        self._likeness = likeness

    def nearest(self, name: str) -> str | None:
        """The most similar known name, or None where none is alike."""
        forward = _around(self._forward, name)
        backward = [found[::-1] for found in _around(self._backward, name[::-1])]
        candidates = sorted({*forward, *backward})
        return next(iter(get_close_matches(name, candidates, 1, self._likeness)), None)

    def hint(self, name: str) -> str:
        """`; the nearest known name is ...`, or nothing, to put behind an error."""
        found = self.nearest(name)
        return "" if found is None else f"; the nearest known name is {found!r}"

    @cached_property
    def _forward(self) -> list[str]:
        return sorted(self._known)

    @cached_property
    def _backward(self) -> list[str]:
        return sorted(name[::-1] for name in self._known)


def _around(ordered: list[str], name: str) -> list[str]:
    place = bisect_left(ordered, name)
    return ordered[max(0, place - _WINDOW) : place + _WINDOW]
