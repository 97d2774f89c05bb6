"""What each patch of a picture shows: what vision learns from, long before words.

A patch is what the vision tower makes one token of. Its targets come from the strokes themselves,
not from pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.acts import KINDS, Kind
from demo.architecture import PATCHES
from demo.canvas import HEIGHT, PARTS, WIDTH, Drawing

NOBODY = len(KINDS)
"""Where a patch shows no act."""
SUBDIVISIONS = 4
"""Cells of a patch, along either side."""
CELLS = SUBDIVISIONS * SUBDIVISIONS * PARTS
_SIDE = PATCHES * SUBDIVISIONS
_ALONG = np.linspace(0, 1, 7, dtype=np.float32)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Targets of the patches of one or more pictures."""

    kinds: NDArray[np.int64]
    """[..., PATCHES * PATCHES]: number of the kind of act that a patch shows, or NOBODY."""
    parts: NDArray[np.uint8]
    """[..., PATCHES * PATCHES, CELLS]: 1 for each cell of a patch and each part (of a body, a car,
    a fire: see canvas) that is in it."""


def patches_of(drawn: Sequence[Drawing], kind: Kind) -> Patches:
    """Targets of one picture with these drawings, all of one act."""
    parts = np.zeros((_SIDE, _SIDE, PARTS), dtype=np.uint8)
    for drawing in drawn:
        x, y, x_end, y_end = drawing.strokes[:, :4].T
        x, y = x + _ALONG * (x_end - x), y + _ALONG * (y_end - y)
        column = np.floor(x / WIDTH * _SIDE).astype(np.intp)
        row = np.floor(y / HEIGHT * _SIDE).astype(np.intp)
        seen = (column >= 0) & (column < _SIDE) & (row >= 0) & (row < _SIDE)
        part = np.broadcast_to(drawing.strokes[:, 9].astype(np.intp), seen.shape)
        parts[row[seen], column[seen], part[seen]] = 1
    split = parts.reshape(PATCHES, SUBDIVISIONS, PATCHES, SUBDIVISIONS, PARTS)
    cells = split.swapaxes(1, 2).reshape(PATCHES * PATCHES, CELLS)
    return Patches(np.where(cells.any(axis=1), KINDS.index(kind), NOBODY), cells)


def stack(patches: Sequence[Patches]) -> Patches:
    """Those of several pictures."""
    return Patches(np.stack([p.kinds for p in patches]), np.stack([p.parts for p in patches]))


def join(patches: Sequence[Patches]) -> Patches:
    """Those of several stacks, one after another."""
    kinds = np.concatenate([p.kinds for p in patches])
    return Patches(kinds, np.concatenate([p.parts for p in patches]))
