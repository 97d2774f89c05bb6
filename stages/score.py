"""Stage score (a video): the probability of an anomaly of every segment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cache.errors import ConfigError, ItemError
from cache.keys import differences
from manifests.schema import SEGMENT_SCORES, SEGMENTS
from stages.contract import Job, Result

VERSION = 1


@dataclass(frozen=True)
class Settings:
    """Nothing can be set."""


def compute(job: Job[Settings]) -> Result:
    """Write scores.parquet: one row per segment with its span and its score in [0, 1].

    Reads "states", "plan" and "scorer", and the values "features" and "question". Raises ConfigError
    where these features are not those the scorer was fitted on or its layer, or one of its heads,
    was not kept, ItemError where hidden states are not one row per segment or not finite.
    """
    import numpy as np

    from manifests.table import write_table
    from stages.probes.choice import choice_of
    from stages.probes.samples import probed_rows
    from stages.probes.scorers.loaded import loaded_scorer
    from stages.probes.spans import read_spans, require_rows

    loaded = loaded_scorer(job.inputs["scorer"])
    _require_same_features(loaded.record["features"], job.values["features"])
    choice = choice_of(loaded.record)
    rows = probed_rows(job.item, job.inputs["states"], job.values["question"], choice)
    spans = read_spans(job.inputs["plan"].file("segments.parquet"), SEGMENTS, job.item)
    require_rows(job.item, len(rows), spans)
    scores = loaded.scorer.score(rows)
    if not np.isfinite(scores).all():
        raise ItemError(
            f"{job.item}: the score of segment {int(np.flatnonzero(~np.isfinite(scores))[0])} is "
            "not finite because its hidden state is not; run the forward stage again"
        )
    columns = {**spans.columns(), "score": scores}
    write_table(job.out / "scores.parquet", SEGMENT_SCORES, columns)
    return Result(len(spans))


def _require_same_features(expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    wrong = differences(expected, found)
    if wrong:
        lines = "; ".join(f"{name}: expected {old!r}, found {new!r}" for name, old, new in wrong)
        raise ConfigError(
            f"the scorer was fitted on other features ({lines}); compute the features as it "
            "expects, or fit it again on these"
        )
