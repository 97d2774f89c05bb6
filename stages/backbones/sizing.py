"""The size in which Qwen's processors show the frames of a video: arithmetic alone.

The families resize by it, and a plan counts tokens by it before any model library is imported.
"""

from __future__ import annotations

import math


def fit(
    height: int, width: int, factor: int, limits: tuple[int, int], frames: int, counted: int
) -> tuple[int, int]:
    """The nearest size in multiples of `factor` whose pixels, over all frames, are within limits.

    `counted` frames decide whether a limit is passed, and `frames` how far: the library rounds the
    one and not the other.
    """
    rows, columns = round(height / factor), round(width / factor)
    pixels = counted * rows * columns * factor * factor
    fewest, most = limits
    if pixels > most:
        shrink = math.sqrt(frames * height * width / most)
        rows = max(1, math.floor(height / shrink / factor))
        columns = max(1, math.floor(width / shrink / factor))
    elif pixels < fewest:
        grow = math.sqrt(fewest / (frames * height * width))
        rows = math.ceil(height * grow / factor)
        columns = math.ceil(width * grow / factor)
    return rows * factor, columns * factor
