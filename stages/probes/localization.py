"""From segment scores to a smoothed curve and anomalous intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from cache.errors import ItemError
from stages.probes.localization_settings import Settings
from stages.probes.spans import Floats, Spans

INSTANT = 1e-6
"""Seconds. Far less than a frame lasts, far more than the rounding of a difference of two times: a
gap of two segments of 0.8 s is one of 1.6 s wherever in the video it lies."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Consecutive segments: a run above the threshold, or several that were merged."""

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

    Seconds are divided by the median length of the video's segments, of all but the last where
    there are others: the last may be cut short. Where frames come at irregular times this one
    length stands for all of them, since the series is smoothed by its numbers. Raises ItemError
    where it is not positive.
    """
    if unit == "segments":
        return sigma
    lengths = spans.end_s - spans.start_s
    length = float(np.median(lengths[: max(len(lengths) - 1, 1)]))
    if not length > 0:
        raise ItemError(
            f"{item}: its segments last {length} s, expected more than 0; the presentation times "
            'are unusable: set sigma_unit = "segments"'
        )
    return sigma / length


def smooth(scores: Floats, sigma: float, mode: str) -> Floats:
    """Gaussian smoothing of a series of segment scores, sigma in segments, [segments].

    Cut off at 4 sigma; `mode` is SciPy's rule for the ends. Sigma 0 changes nothing. Raises
    ItemError for scores that are not finite: one of them would spoil its whole neighbourhood.
    """
    if not np.isfinite(scores).all():
        at = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ItemError(
            f"the score of segment {at} is {scores[at]}, expected a finite number: score the video "
            "again"
        )
    if sigma == 0:
        return scores.copy()
    return np.asarray(gaussian_filter1d(scores, sigma, mode=mode, truncate=4.0), dtype=np.float64)


def smooth_video(scores: Floats, spans: Spans, settings: Settings, item: str) -> Floats:
    """The one smoothing of a video's segment scores, by section [localize], [segments].

    Whatever is said of a threshold is said of scores smoothed by this very function.
    """
    sigma = sigma_in_segments(settings.sigma, settings.sigma_unit, spans, item)
    return smooth(scores, sigma, settings.mode)


def intervals_above(smoothed: Floats, spans: Spans, threshold: float) -> list[Interval]:
    """The longest runs of segments whose smoothed score is strictly above the threshold."""
    above = np.concatenate(([False], smoothed > threshold, [False]))
    borders = np.flatnonzero(above[1:] != above[:-1])
    return [
        _interval(int(first), int(stop), smoothed, spans)
        for first, stop in zip(borders[::2], borders[1::2], strict=True)
    ]


def require_times(spans: Spans, item: str) -> None:
    """Raise ItemError for a video without a length: by seconds all of its intervals would be gone."""
    length = float(spans.end_s[-1] - spans.start_s[0])
    if not length > 0:
        raise ItemError(
            f"{item}: it lasts {length} s, expected more than 0; the presentation times are "
            "unusable: set merge_s = 0 and least_s = 0"
        )


def merged(found: list[Interval], smoothed: Floats, spans: Spans, gap: float) -> list[Interval]:
    """The intervals, joined where at most `gap` seconds lie between two; 0 joins none.

    A gap runs from the end of one interval's last frame to the first frame of the next. Peak and
    mean are those of all that now lies inside, the gap with it.
    """
    joined: list[tuple[int, int]] = []
    for interval in found:
        if joined and gap > 0:
            first, stop = joined[-1]
            if spans.start_s[interval.first] - spans.end_s[stop - 1] <= gap + INSTANT:
                joined[-1] = (first, interval.stop)
                continue
        joined.append((interval.first, interval.stop))
    return [_interval(first, stop, smoothed, spans) for first, stop in joined]


def lasting(found: list[Interval], spans: Spans, least: float) -> list[Interval]:
    """Those that last `least` seconds or more, from their first frame to the end of their last.

    0 drops none, whatever the presentation times are.
    """
    if least == 0:
        return found
    return [i for i in found if spans.end_s[i.stop - 1] - spans.start_s[i.first] >= least - INSTANT]


def _interval(first: int, stop: int, smoothed: Floats, spans: Spans) -> Interval:
    peak = float(smoothed[first:stop].max())
    mean = float(np.average(smoothed[first:stop], weights=spans.frames[first:stop]))
    # The rounding of a weighted mean of equal scores can exceed them.
    return Interval(first, stop, peak, min(mean, peak))
