"""Stage localize: the smoothed curve, the threshold and the intervals above it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from cache.digest import read_json, write_json
from cache.errors import ItemError
from manifests.schema import INTERVALS, SEGMENT_SCORES, SMOOTHED
from manifests.table import read_table, write_table
from stages import localize
from stages.contract import Job
from tests.payload import Folder


def make_job(tmp_path, scores, fps=30.0, out="out", last=5, threshold=0.5, **changed):
    n = len(scores)
    for part in ("scores", "threshold", out):
        (tmp_path / part).mkdir(exist_ok=True)
    starts = 24 * np.arange(n)
    ends = starts + np.append(np.full(n - 1, 24), last)
    columns = {
        "segment": np.arange(n),
        "start_frame": starts,
        "end_frame": ends,
        "start_s": starts / fps,
        "end_s": ends / fps,
        "score": np.asarray(scores, dtype=np.float64),
    }
    write_table(tmp_path / "scores/scores.parquet", SEGMENT_SCORES, columns)
    write_json(tmp_path / "threshold/threshold.json", {"threshold": threshold, "rule": "a rule"})
    inputs = {part: Folder(tmp_path / part) for part in ("scores", "threshold")}
    return Job("v", localize.Settings(**changed), tmp_path / out, inputs)


def outputs(job):
    return (
        read_table(job.out / "smoothed.parquet", SMOOTHED).to_pydict(),
        read_table(job.out / "intervals.parquet", INTERVALS).to_pydict(),
        read_json(job.out / "threshold.json"),
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 24))
def test_intervals_are_the_runs_of_frames_above_the_threshold(tmp_path_factory, scores, last):
    job = make_job(tmp_path_factory.mktemp("localize"), scores, last=last)
    result = localize.compute(job)
    smoothed, intervals, rule = outputs(job)
    expected = gaussian_filter1d(np.asarray(scores), 0.4, mode="reflect")
    np.testing.assert_allclose(smoothed["smoothed"], expected, rtol=1e-12)
    assert smoothed["score"] == scores
    lengths = np.subtract(smoothed["end_frame"], smoothed["start_frame"])
    frames = np.repeat(smoothed["smoothed"], lengths)
    above = frames > rule["threshold"]
    covered = np.zeros(len(frames), dtype=bool)
    for number in range(result.rows):
        start, end = intervals["start_frame"][number], intervals["end_frame"][number]
        assert not covered[start:end].any()
        covered[start:end] = True
        assert start == 0 or not above[start - 1]
        assert end == len(frames) or not above[end]
        assert intervals["peak"][number] == frames[start:end].max()
        assert intervals["mean"][number] == pytest.approx(frames[start:end].mean(), rel=1e-9)
        assert intervals["start_s"][number] == start / 30
        assert intervals["end_s"][number] == end / 30
        assert intervals["threshold"][number] == rule["threshold"]
    np.testing.assert_array_equal(covered, above)
    assert intervals["interval"] == list(range(result.rows))


def test_the_threshold_is_strict(tmp_path):
    job = make_job(tmp_path, [0.5, 0.75, 0.5, 1.0], sigma=0)
    localize.compute(job)
    _, intervals, rule = outputs(job)
    assert intervals["start_frame"] == [24, 72]
    assert intervals["end_frame"] == [48, 77]
    assert rule == {"threshold": 0.5, "rule": "a rule"}  # as the stage threshold has it


def test_sigma_in_seconds_is_that_of_as_many_segments(tmp_path):
    scores = [0.1, 0.9, 0.3, 0.2, 0.8, 0.4]
    found = []
    for out, changed in (("a", {"sigma": 3.2, "sigma_unit": "seconds"}), ("b", {"sigma": 4.0})):
        job = make_job(tmp_path, scores, out=out, mode="nearest", **changed)
        localize.compute(job)
        found.append(outputs(job)[0]["smoothed"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)  # 24 frames at 30 fps: 0.8 s


def test_intervals_are_merged_and_what_is_still_short_is_dropped(tmp_path):
    scores = [0.9, 0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.9]  # 0.8 s each, the last 0.1667
    found = {}
    for out, changed in {
        "none": {}, "merged": {"merge_s": 0.8}, "both": {"merge_s": 0.8, "least_s": 0.9},
        "dropped": {"least_s": 0.8}, "all": {"merge_s": 1e9, "least_s": 7.3},
    }.items():  # fmt: skip
        job = make_job(tmp_path, scores, out=out, sigma=0.0, **changed)
        localize.compute(job)
        smoothed, intervals, _ = outputs(job)
        assert smoothed["smoothed"] == scores  # the curve stays what it is
        assert intervals["interval"] == list(range(len(intervals["interval"])))
        found[out] = list(zip(intervals["start_frame"], intervals["end_frame"], strict=True))
    assert found["none"] == [(0, 24), (48, 72), (120, 144), (216, 221)]
    assert found["merged"] == [(0, 72), (120, 144), (216, 221)]
    assert found["both"] == [(0, 72)]  # dropped first, nothing would be left
    assert found["dropped"] == [(0, 24), (48, 72), (120, 144)]
    assert found["all"] == [(0, 221)]
    assert intervals["peak"] == [0.9]
    assert intervals["mean"][0] == pytest.approx((3 * 24 * 0.9 + 5 * 0.9 + 6 * 24 * 0.1) / 221)
    assert (intervals["start_s"], intervals["end_s"]) == ([0.0], [221 / 30])


@pytest.mark.parametrize("changed", [{"merge_s": 1.0}, {"least_s": 1.0}])
def test_a_video_without_a_length_is_refused_where_seconds_count(tmp_path, changed):
    job = make_job(tmp_path, [0.9, 0.1, 0.9], fps=np.inf, **changed)
    with pytest.raises(ItemError, match=r"^v: it lasts 0\.0 s, .* merge_s = 0 and least_s = 0"):
        localize.compute(job)
    assert localize.compute(make_job(tmp_path, [0.9, 0.1, 0.9], fps=np.inf, out="b")).rows == 2


def test_a_score_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(ItemError, match="the score of segment 1 is nan"):
        localize.compute(make_job(tmp_path, [0.1, float("nan"), 0.2]))


def test_nothing_above_the_threshold_is_no_interval(tmp_path):
    job = make_job(tmp_path, [0.1, 0.2])
    assert localize.compute(job).rows == 0
    assert outputs(job)[1]["interval"] == []


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    outs = []
    for name in ("one", "two"):
        job = make_job(tmp_path, [0.2, 0.9, 0.8, 0.1], out=name)
        localize.compute(job)
        outs.append([path.read_bytes() for path in sorted(job.out.iterdir())])
    assert outs[0] == outs[1]
    assert len(outs[0]) == 3
