"""Figures as text."""

from __future__ import annotations

import pytest

from stages.reporting import figures
from stages.reporting.page import clock
from stages.reporting.provenance import flatten, labels_of, probing_of, split_counts, text_of


@pytest.mark.parametrize(
    ("share", "text"), [(0.8672, "86.72"), (0.0, "0.00"), (1.0, "100.00"), (None, "")]
)
def test_shares_are_per_cent(share: float | None, text: str) -> None:
    assert figures.per_cent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3599.7, "1 h 00 min"), (7260, "2 h 01 min")],
)  # fmt: skip
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_zero_is_a_figure_and_null_is_not() -> None:
    metrics = {"auc": 0.0, "ap": None, "undefined": {"ap": "all frames are normal"}}
    zero = figures.row_of(metrics, "auc", "", "", "share")
    none = figures.row_of(metrics, "ap", "", "", "share")
    assert (zero.value, zero.reason) == ("0.00", "")
    assert (none.value, none.reason) == ("", "all frames are normal")


def test_a_figure_that_is_absent_says_so() -> None:
    row = figures.row_of({}, "anomalous_only.auc", "", "", "share")
    assert row.reason == "this run's metrics do not hold it"


def test_baselines_are_sorted_and_marked_where_they_are_ahead() -> None:
    metrics = {
        "auc": 0.8, "ap": 0.5, "ap_trapezoid": None,
        "baselines": {
            "inverse_length": {"auc": 0.6, "ap": 0.6, "ap_trapezoid": 0.1},
            "constant_oracle": {"auc": 0.9, "ap": 0.5, "ap_trapezoid": 0.9},
            "brand_new": {"auc": None, "ap": None, "ap_trapezoid": None},
        },
    }  # fmt: skip
    rivals = figures.rivals_of(metrics)
    assert [rival.short for rival in rivals] == ["video label", "1 / length", "brand new"]
    assert [rival.ahead for rival in rivals] == [
        (True, False, False), (False, True, False), (False, False, False),
    ]  # fmt: skip
    assert figures.verdict_of(rivals) == (
        "Of the 3 scores made from labels or lengths alone, without a pixel, 1 has a higher ROC AUC "
        "than this run and 1 has a higher average precision."
    )


def test_events_are_sorted_by_number() -> None:
    events = {str(t): {"matched": 0} for t in (0.5, 0.1, 1.0, 0.75)}
    assert [row["tiou"] for row in figures.events_of({"events": events})] == [
        "0.1",
        "0.5",
        "0.75",
        "1.0",
    ]


def test_counts_come_in_a_readable_order_and_none_is_lost() -> None:
    found = figures.counts_of({"counts": {"hours": 1.5, "zebras": 3, "videos": 1234567}})
    assert found == [("test videos", "1\u202f234\u202f567"), ("hours", "1.50"), ("zebras", "3")]


def test_the_figures_of_an_evaluation_all_have_a_place() -> None:
    evaluation = pytest.importorskip("stages.probes.evaluation")
    frames = pytest.importorskip("stages.probes.frames")
    import numpy as np

    from stages.probes.spans import Spans

    def video(name: str, label: int, intervals: tuple[tuple[int, int], ...]) -> object:
        spans = Spans(
            start_frame=np.asarray([0, 24]), end_frame=np.asarray([24, 48]),
            start_s=np.asarray([0.0, 1.0]), end_s=np.asarray([1.0, 2.0]),
        )  # fmt: skip
        columns = {"score": np.asarray([0.2, 0.7]), "smoothed": np.asarray([0.3, 0.6])}
        record = {
            "label": label, "class": "Fight", "intervals": [list(i) for i in intervals],
            "listed_frames": None,
        }  # fmt: skip
        truth = frames.read_truth(name, record, 48)
        return frames.evaluated_video(
            name, truth, spans, columns, 0.5, [frames.Detection(24, 48, 0.7)]
        )

    videos = [video("a", 1, ((20, 40),)), video("b", 0, ())]
    metrics = evaluation.metrics_of(videos, bootstrap=20, seed=0, tiou=(0.5,))
    metrics |= {"missing": {"count": 0, "videos": []}, "threshold": {}}
    assert figures.others_of(metrics) == []
    rows = [row for _, group in figures.groups_of(metrics) for row in group]
    assert [row.path for row in rows if not row.value] == []
    assert next(row for row in rows if row.path == "auc").interval


def test_nested_records_become_dotted_rows() -> None:
    record = {"b": {"d": [1, 2.5], "c": "x"}, "a": None, "e": {}, "f": (), "g": True}
    assert flatten(record) == [
        ("a", "null"), ("b.c", "x"), ("b.d", "1, 2.5"), ("e", "{}"), ("f", "(none)"), ("g", "true"),
    ]  # fmt: skip
    assert text_of("") == "(empty)"
    assert text_of([[18, 4], [23, 27]]) == "[18, 4], [23, 27]"


def test_labels_are_explained() -> None:
    assert labels_of({"labels": "frame"}).startswith("frame-level labels")
    assert labels_of({"labels": "guess"}) == "labels: guess"
    assert labels_of({}) == "labels: not recorded"


def test_splits_are_counted_by_label() -> None:
    videos = [
        {"split": s, "label": y} for s, y in (("test", 1), ("test", 0), ("", None), ("train", 1))
    ]
    assert split_counts(videos) == [("train", [0, 1, 0]), ("test", [1, 1, 0]), ("none", [0, 0, 1])]


def test_a_failure_after_the_fit_does_not_take_a_video_out_of_it() -> None:
    videos = [{"video_id": n, "subset": "probing"} for n in "ab"] + [
        {"video_id": "c", "subset": ""}
    ]
    failed = [{"video_id": "a", "stage": "forward"}, {"video_id": "b", "stage": "localize"}]
    used, lost = probing_of(videos, failed)
    assert [v["video_id"] for v in used] == ["b"]
    assert [v["video_id"] for v in lost] == ["a"]
