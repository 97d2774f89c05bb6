"""Stage localize (a video): the smoothed curve and the anomalous intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cache.digest import write_json
from cache.fields import at_least, recipe
from manifests.schema import INTERVALS, SEGMENT_SCORES, SMOOTHED
from stages.contract import Job, Result

if TYPE_CHECKING:
    from stages.probes.localization import Interval
    from stages.probes.spans import Spans

VERSION = 1
FIXED = "fixed:"


def _threshold(value: Any) -> str | None:
    if value == "kappa" or _fixed(value) is not None:
        return None
    return 'must be "kappa", or "fixed:T" with a score such as "fixed:0.5"'


def _fixed(rule: str) -> float | None:
    """T of the rule fixed:T, None for any other text."""
    if not rule.startswith(FIXED):
        return None
    try:
        value = float(rule.removeprefix(FIXED))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Settings:
    """How scores become intervals."""

    sigma: float = recipe(0.4, "deviation of the Gaussian smoothing; 0 is none", check=at_least(0))
    sigma_unit: str = recipe(
        "segments", "unit of sigma: segments or seconds", choices=("segments", "seconds")
    )
    mode: str = recipe(
        "reflect",
        "what lies beyond the ends of a video: reflect, nearest or mirror",
        choices=("reflect", "nearest", "mirror"),
    )
    kappa: float = recipe(0.2, "the threshold lies so many deviations above the mean")
    threshold: str = recipe(
        "kappa", "kappa (from the probing scores) or fixed:T such as fixed:0.5", check=_threshold
    )


def compute(job: Job[Settings]) -> Result:
    """Write smoothed.parquet, intervals.parquet and threshold.json.

    Reads "scores" and "scorer". T = mu + kappa sigma of the scorer's probing scores (HiProbe-VAD,
    arXiv 2507.17394), or fixed; either way these scores must be of training rows alone, or
    LeakageError is raised. Segments strictly above T, as long as they follow one another, are
    one interval. Frames and seconds are those of the segments.
    """
    from manifests.table import write_table
    from stages.probes.localization import intervals_above, sigma_in_segments, smooth
    from stages.probes.spans import read_columns, spans_of
    from stages.probes.training import training_scores

    settings = job.settings
    columns = read_columns(job.inputs["scores"].file("scores.parquet"), SEGMENT_SCORES)
    spans = spans_of(columns, job.item)
    probing = training_scores(job.inputs["scorer"])
    fixed = _fixed(settings.threshold)
    threshold = probing.threshold(settings.kappa) if fixed is None else fixed
    sigma = sigma_in_segments(settings.sigma, settings.sigma_unit, spans, job.item)
    smoothed = smooth(columns["score"], sigma, settings.mode)
    columns["smoothed"] = smoothed
    write_table(job.out / "smoothed.parquet", SMOOTHED, columns)
    found = intervals_above(smoothed, spans, threshold)
    write_table(job.out / "intervals.parquet", INTERVALS, _columns(found, spans, threshold))
    rule = {
        "threshold": threshold,
        "rule": settings.threshold,
        "mu": probing.mu,
        "sigma": probing.sigma,
        "kappa": settings.kappa,
    }
    write_json(job.out / "threshold.json", rule)
    return Result(len(found))


def _columns(found: list[Interval], spans: Spans, threshold: float) -> dict[str, list[Any]]:
    """The columns of the intervals table."""
    return {
        "interval": list(range(len(found))),
        "start_frame": [int(spans.start_frame[i.first]) for i in found],
        "end_frame": [int(spans.end_frame[i.stop - 1]) for i in found],
        "start_s": [float(spans.start_s[i.first]) for i in found],
        "end_s": [float(spans.end_s[i.stop - 1]) for i in found],
        "peak": [i.peak for i in found],
        "mean": [i.mean for i in found],
        "threshold": [threshold] * len(found),
    }
