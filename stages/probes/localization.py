"""From segment scores to a smoothed curve and anomalous intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from cache.errors import ItemError
from stages.probes.spans import Floats, Spans


@dataclass(frozen=True, slots=True)
class Interval:
    """Consecutive segments above the threshold."""

    first: int
    """Number of its first segment."""
    stop: int
    """One past its last segment."""
    peak: float
    """Highest smoothed score."""
    mean: float
    """Mean smoothed score over its frames."""


def sigma_in_segments(sigma: float, unit: str, spans: Spans, item: str) -> float:
    """Standard deviation of the smoothing in segments, from segments or seconds.

    Seconds are divided by the median length of the video's segments. Raises ItemError where that
    length is not positive.
    """
    if unit == "segments":
        return sigma
    length = float(np.median(spans.end_s - spans.start_s))
    if not length > 0:
        raise ItemError(
            f"{item}: its segments last {length} s, expected more than 0; the presentation times "
            'are unusable: set sigma_unit = "segments"'
        )
    return sigma / length


def smooth(scores: Floats, sigma: float, mode: str) -> Floats:
    """Gaussian smoothing of a series of segment scores, sigma in segments, [segments].

    Cut off at 4 sigma; `mode` is SciPy's rule for the ends. Sigma 0 changes nothing.
    """
    if sigma == 0:
        return scores.copy()
    return np.asarray(gaussian_filter1d(scores, sigma, mode=mode, truncate=4.0), dtype=np.float64)


def intervals_above(smoothed: Floats, spans: Spans, threshold: float) -> list[Interval]:
    """The longest runs of segments whose smoothed score is strictly above the threshold."""
    above = np.concatenate(([False], smoothed > threshold, [False]))
    borders = np.flatnonzero(above[1:] != above[:-1])
    return [
        _interval(int(first), int(stop), smoothed, spans)
        for first, stop in zip(borders[::2], borders[1::2], strict=True)
    ]


def _interval(first: int, stop: int, smoothed: Floats, spans: Spans) -> Interval:
    peak = float(smoothed[first:stop].max())
    mean = float(np.average(smoothed[first:stop], weights=spans.frames[first:stop]))
    # The rounding of a weighted mean of equal scores can exceed them.
    return Interval(first, stop, peak, min(mean, peak))
