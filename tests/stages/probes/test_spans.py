"""Segments hold every frame once; a segment's label follows its video's annotation."""

import numpy as np
import pytest

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
    ("interval", "expected"),
    [
        ([0, 1], [1, 0, 0]),
        ([23, 24], [1, 0, 0]),
        ([24, 25], [0, 1, 0]),
        ([23, 25], [1, 1, 0]),
        ([10, 60], [1, 1, 1]),
        ([47, 500], [0, 1, 1]),
    ],
)
def test_a_segment_is_anomalous_where_it_shares_a_frame_with_an_interval(interval, expected):
    spans = spans_of(columns(0, 24, 48, 60), "v")
    found = segment_labels("v", {"label": 1, "intervals": [interval]}, spans)
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
