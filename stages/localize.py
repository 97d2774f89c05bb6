"""Stage localize (a video): the smoothed curve and the anomalous intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cache.digest import read_json, write_json
from manifests.schema import INTERVALS, SEGMENT_SCORES, SMOOTHED
from stages.contract import Job, Result
from stages.probes.localization_settings import Settings as Settings

if TYPE_CHECKING:
    from stages.probes.localization import Interval
    from stages.probes.spans import Spans

VERSION = 3


def compute(job: Job[Settings]) -> Result:
    """Write smoothed.parquet, intervals.parquet and threshold.json.

    Reads "scores" and "threshold", whose record is repeated in threshold.json. Segments strictly
    above the threshold, as long as they follow one another, are one interval. Intervals at most
    merge_s apart become one, and then those shorter than least_s are dropped: the other way round
    an event with a dip in it would be gone in pieces. Frames and seconds are those of the segments.
    Raises ItemError for scores that are not finite, and for presentation times that are unusable
    where a setting is in seconds.
    """
    from manifests.table import write_table
    from stages.probes.localization import (
        intervals_above,
        lasting,
        merged,
        require_times,
        smooth_video,
    )
    from stages.probes.spans import read_columns, spans_of

    settings = job.settings
    columns = read_columns(job.inputs["scores"].file("scores.parquet"), SEGMENT_SCORES)
    spans = spans_of(columns, job.item)
    rule = read_json(job.inputs["threshold"].file("threshold.json"))
    threshold = float(rule["threshold"])
    smoothed = smooth_video(columns["score"], spans, settings, job.item)
    columns["smoothed"] = smoothed
    write_table(job.out / "smoothed.parquet", SMOOTHED, columns)
    if settings.merge_s or settings.least_s:
        require_times(spans, job.item)
    runs = intervals_above(smoothed, spans, threshold)
    found = lasting(merged(runs, smoothed, spans, settings.merge_s), spans, settings.least_s)
    write_table(job.out / "intervals.parquet", INTERVALS, _columns(found, spans, threshold))
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
