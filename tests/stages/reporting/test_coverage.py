"""What the figures rest on is said in words, with every number."""

import pytest

from stages.probes.frames import VIEWS
from stages.reporting.coverage import VIEWS as EXPLAINED
from stages.reporting.coverage import Remark, remarks_of, view_of


def test_a_whole_test_set_needs_no_remark():
    metrics = {
        "missing": {"count": 0, "videos": []},
        "absent": {"train": {"count": 0, "videos": []}, "test": {"count": 0, "videos": []}},
        "frame_counts": [],
        "clipped": [],
        "counts": {"left_out": 0},
    }
    assert remarks_of(metrics) == []
    assert remarks_of({}) == []


def test_test_videos_that_are_left_out_come_first_and_are_an_alarm():
    absent = {"train": {"count": 1, "videos": ["t"]}, "test": {"count": 2, "videos": ["x", "y"]}}
    found = remarks_of({"absent": absent, "missing": {"count": 1, "videos": ["z"]}})
    assert found == [
        Remark("1 test video failed and is not in these figures", ("z",), True),
        Remark(
            "2 test videos that the lists name are not there, and so not in these figures",
            ("x", "y"),
            True,
        ),
        Remark("1 training video that the lists name is not there", ("t",), False),
    ]


def test_frames_are_compared_with_both_numbers():
    clipped = {"video_id": "a", "start_frame": 90, "end_frame": 150, "n_frames": 148}
    found = remarks_of(
        {
            "frame_counts": [{"video_id": "a", "decoded": 148, "listed": 150}],
            "clipped": [{**clipped, "listed": 150}, {**clipped, "video_id": "b", "listed": None}],
            "counts": {"left_out": 1},
        }
    )
    assert [remark.text for remark in found] == [
        "1 video has another number of frames than the lists say",
        "2 annotated intervals end after the video and were clipped",
        "1 annotated interval lies in frames that are not evaluated",
    ]
    assert found[0].items == ("a: 148 decoded, 150 listed",)
    assert found[1].items == (
        "a: frames 90 to 150, the video has 148 (150 by its list)",
        "b: frames 90 to 150, the video has 148",
    )


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_explained(view):
    assert view_of({"labels": view}).startswith(f"{view}: an annotation s e is")
    assert set(EXPLAINED) == set(VIEWS)
    assert view_of({}) == ""
