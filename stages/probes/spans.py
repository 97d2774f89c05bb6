"""The segments of a video as rows, and the label of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.errors import ConfigError, ItemError
from manifests.schema import TableSchema
from manifests.table import read_table

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SPAN_NAMES = ("segment", "start_frame", "end_frame", "start_s", "end_s")


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """The segments of one video, in order; together they hold every frame exactly once."""

    start_frame: Ints
    """[segments], first frame of each."""
    end_frame: Ints
    """[segments], one past the last frame of each."""
    start_s: Floats
    end_s: Floats

    def __len__(self) -> int:
        """How many segments the video has."""
        return len(self.start_frame)

    @property
    def frames(self) -> Ints:
        """Frames of every segment, [segments]."""
        return self.end_frame - self.start_frame

    @property
    def n_frames(self) -> int:
        """Frames of the video."""
        return int(self.end_frame[-1])

    def columns(self) -> dict[str, Any]:
        """The columns that every table with one row per segment begins with."""
        numbers = np.arange(len(self), dtype=np.int32)
        return dict(
            zip(
                SPAN_NAMES,
                (numbers, self.start_frame, self.end_frame, self.start_s, self.end_s),
                strict=True,
            )
        )


def read_columns(path: Path, schema: TableSchema) -> dict[str, Any]:
    """The columns of a table as NumPy arrays, by name."""
    table = read_table(path, schema)
    return {name: table.column(name).to_numpy() for name in schema.names}


def read_spans(path: Path, schema: TableSchema, item: str) -> Spans:
    """The segments in a table of `schema`.

    Raises ItemError unless they are numbered from 0 and hold every frame from 0 on exactly once.
    """
    return spans_of(read_columns(path, schema), item)


def spans_of(columns: Mapping[str, Any], item: str) -> Spans:
    """The same from columns that were read already."""
    spans = Spans(
        columns["start_frame"].astype(np.int64),
        columns["end_frame"].astype(np.int64),
        columns["start_s"].astype(np.float64),
        columns["end_s"].astype(np.float64),
    )
    if len(spans) == 0:
        raise ItemError(f"{item}: the plan has no segment, at least one is needed; sample it again")
    if not np.array_equal(columns["segment"], np.arange(len(spans))):
        raise ItemError(f"{item}: segments are not numbered 0 to {len(spans) - 1}; sample it again")
    expected = np.concatenate(([0], spans.end_frame[:-1]))
    wrong = np.flatnonzero((spans.start_frame != expected) | (spans.frames < 1))
    if len(wrong):
        at = int(wrong[0])
        raise ItemError(
            f"{item}: segment {at} spans frames {spans.start_frame[at]} to {spans.end_frame[at]}, "
            f"expected to start at {expected[at]} and hold a frame: every frame must lie in "
            "exactly one segment; sample the video again"
        )
    return spans


def require_rows(item: str, states: int, spans: Spans) -> None:
    """Raise ItemError unless there is one row of hidden states per segment."""
    if states != len(spans):
        raise ItemError(
            f"{item}: hidden states of {states} segments, but the plan has {len(spans)}; "
            "run the forward stage again for this video"
        )


def segment_labels(item: str, label: Any, spans: Spans) -> Ints:
    """Label of every segment, 0 normal or 1 anomalous, [segments].

    `label` is {"label": 0 | 1, "intervals": null | [[start_frame, end_frame], ...]}: with null
    every segment has the video's label, with a list a segment is anomalous where half or more of its
    frames lie in the half-open intervals. Raises ConfigError for a label that contradicts itself.
    """
    value, intervals = label["label"], label["intervals"]
    if value not in (0, 1):
        raise ConfigError(f"{item}: label is {value!r}, expected 0 (normal) or 1 (anomalous)")
    if intervals is None:
        return np.full(len(spans), value, dtype=np.int64)
    if bool(intervals) != bool(value):
        raise ConfigError(
            f"{item}: label is {value} and {len(intervals)} intervals are annotated; give an "
            'anomalous video its intervals and a normal one none, or use labels = "video"'
        )
    inside = np.zeros(len(spans), dtype=np.int64)
    done = 0
    for start, end in sorted(intervals):
        if not 0 <= start < end:
            raise ConfigError(f"{item}: the interval [{start}, {end}) holds no frame")
        # Where intervals overlap, a frame counts once.
        first = np.maximum(spans.start_frame, max(start, done))
        inside += np.maximum(np.minimum(spans.end_frame, end) - first, 0)
        done = max(done, end)
    labels: Ints = (2 * inside >= spans.end_frame - spans.start_frame).astype(np.int64)
    return labels


def label_of(item: str, labels: Mapping[str, Any]) -> Any:
    """The entry of one video; raises ConfigError where there is none."""
    if item not in labels:
        raise ConfigError(f"{item}: it is a probing video and has no label; add it to the labels")
    return labels[item]


def require_both_classes(n_normal: int, n_anomalous: int) -> None:
    """Raise ConfigError unless both classes have at least one probing sample."""
    for name, count in (("normal", n_normal), ("anomalous", n_anomalous)):
        if count == 0:
            raise ConfigError(
                f"the probing subset has no {name} sample ({n_normal} normal, {n_anomalous} "
                f"anomalous); add at least one {name} training video to it, or correct its labels"
            )
