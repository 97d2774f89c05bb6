"""Segments hold every frame exactly once."""

import numpy as np
import pytest

from cache.errors import ItemError
from manifests.schema import SEGMENTS
from manifests.table import write_table
from stages.probes.spans import read_spans, require_rows, spans_of


def columns(*borders, numbers=None):
    starts, ends = np.asarray(borders[:-1]), np.asarray(borders[1:])
    return {
        "segment": np.arange(len(starts)) if numbers is None else np.asarray(numbers),
        "start_frame": starts,
        "end_frame": ends,
        "start_s": starts / 30,
        "end_s": ends / 30,
    }


def test_spans_are_read_from_a_segments_table(tmp_path):
    write_table(tmp_path / "segments.parquet", SEGMENTS, columns(0, 24, 48, 50))
    spans = read_spans(tmp_path / "segments.parquet", SEGMENTS, "v")
    assert len(spans) == 3
    assert spans.n_frames == 50
    assert spans.frames.tolist() == [24, 24, 2]
    assert list(spans.columns()) == ["segment", "start_frame", "end_frame", "start_s", "end_s"]


@pytest.mark.parametrize(
    "given",
    [
        columns(3, 24),
        {**columns(0, 24, 48), "start_frame": np.asarray([0, 25])},
        {**columns(0, 24, 48), "start_frame": np.asarray([0, 23])},
        columns(0, 24, 24),
        columns(0, 24, 48, numbers=[0, 2]),
        columns(0),
    ],
    ids=["starts late", "gap", "overlap", "empty segment", "wrong number", "no segment"],
)
def test_a_frame_in_no_segment_or_in_two_is_refused(given):
    with pytest.raises(ItemError, match=r"v: .*again"):
        spans_of(given, "v")


def test_a_count_of_states_that_is_not_the_plans_is_refused():
    spans = spans_of(columns(0, 24, 48), "v")
    require_rows("v", 2, spans)
    with pytest.raises(ItemError, match="3 segments, but the plan has 2"):
        require_rows("v", 3, spans)
