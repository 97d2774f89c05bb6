"""The segments of a video as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.errors import ItemError
from manifests.columns import TableSchema
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


def require_rows(item: str, states: int, spans: Sized) -> None:
    """Raise ItemError unless there is one row of hidden states per segment."""
    if states != len(spans):
        raise ItemError(
            f"{item}: hidden states of {states} segments, but the plan has {len(spans)}; "
            "run the forward stage again for this video"
        )
