"""Segments hold every frame once; a segment's label follows its video's annotation."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import ConfigError, ItemError
from manifests.schema import SEGMENTS
from manifests.table import write_table
from stages.probes.spans import (
    read_spans,
    require_both_classes,
    require_rows,
    segment_labels,
    spans_of,
)


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


def test_without_intervals_every_segment_has_the_videos_label():
    spans = spans_of(columns(0, 24, 48), "v")
    for label in (0, 1):
        entry = {"label": label, "intervals": None}
        assert segment_labels("v", entry, spans).tolist() == [label, label]


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([[0, 11]], [0, 0, 0]),
        ([[0, 12]], [1, 0, 0]),
        ([[13, 36]], [0, 1, 0]),
        ([[12, 54]], [1, 1, 1]),
        ([[47, 500]], [0, 0, 1]),
        ([[0, 8], [2, 10]], [0, 0, 0]),
        ([[2, 10], [0, 4], [9, 12]], [1, 0, 0]),
    ],
)
def test_a_segment_is_anomalous_where_half_of_its_frames_are(intervals, expected):
    spans = spans_of(columns(0, 24, 48, 60), "v")
    found = segment_labels("v", {"label": 1, "intervals": intervals}, spans)
    assert found.tolist() == expected


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 150), st.integers(1, 90)), min_size=1, max_size=5),
)
def test_labels_of_segments_are_those_of_counted_frames(lengths, drawn):
    borders = np.cumsum([0, *lengths])
    intervals = [[start, start + length] for start, length in drawn]
    mask = np.zeros(300, dtype=bool)
    for start, end in intervals:
        mask[start:end] = True
    expected = [int(mask[a:b].mean() >= 0.5) for a, b in pairwise(borders)]
    spans = spans_of(columns(*borders), "v")
    found = segment_labels("v", {"label": 1, "intervals": intervals}, spans)
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "entry",
    [
        {"label": 2, "intervals": None},
        {"label": None, "intervals": None},
        {"label": 1, "intervals": []},
        {"label": 0, "intervals": [[0, 5]]},
        {"label": 1, "intervals": [[5, 5]]},
        {"label": 1, "intervals": [[-1, 5]]},
    ],
)
def test_a_label_that_contradicts_itself_is_refused(entry):
    with pytest.raises(ConfigError, match=r"^v: "):
        segment_labels("v", entry, spans_of(columns(0, 24), "v"))


def test_the_class_without_a_sample_is_named():
    require_both_classes(1, 1)
    with pytest.raises(ConfigError, match=r"no anomalous sample.*add at least one anomalous"):
        require_both_classes(4, 0)
    with pytest.raises(ConfigError, match="no normal sample"):
        require_both_classes(0, 4)
