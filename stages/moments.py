"""Stage moments (a probing video): mergeable moments of its hidden states, per class."""

from __future__ import annotations

import time

from stages.contract import Job, Result
from stages.probes.statistics_settings import Settings as Settings

VERSION = 4


def compute(job: Job[Settings]) -> Result:
    """Write moments.safetensors: count, mean and squared deviations per class, and the range.

    Reads "states" and "plan", and the values "label" {"split": "train", "label": 0 | 1, "intervals":
    null | [[start, end], ...]} and "question". Arrays are [layers, dim] float64, for the kept layers; `layers` holds
    their numbers. Raises ItemError for hidden states that are not finite or are not one row per
    segment, LeakageError for a video that is no training video, ConfigError for a label that
    contradicts itself or a question that was not asked.
    """
    from manifests.schema import SEGMENTS
    from stages.probes.moments import moments_of, write_moments
    from stages.probes.spans import read_spans, require_rows
    from stages.probes.states import probed_states
    from stages.probes.training import segment_labels

    begin = time.perf_counter()
    states = probed_states(job.item, job.inputs["states"], job.values["question"])
    spans = read_spans(job.inputs["plan"].file("segments.parquet"), SEGMENTS, job.item)
    require_rows(job.item, states.segments, spans)
    labels = segment_labels(job.item, job.values["label"], spans)
    moments = moments_of(states, labels, job.settings.workers)
    write_moments(job.out / "moments.safetensors", moments)
    return Result(len(spans), seconds={"compute": time.perf_counter() - begin})
