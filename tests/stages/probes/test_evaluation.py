"""The figures of a data set equal those of expanded frames; what is undefined has a reason."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    auc,
    average_precision_score,
    brier_score_loss,
    precision_recall_curve,
    roc_auc_score,
)

from cache.keys import canonical
from stages.probes.evaluation import evaluation_of, metrics_of
from stages.probes.frames import Detection, evaluated_video, read_truth
from stages.probes.spans import Spans

THRESHOLD = 0.5


def make_video(name, n, intervals, seed, class_name="Abuse", detected=()):
    starts = np.arange(0, n, 24)
    ends = np.minimum(starts + 24, n)
    generator = np.random.default_rng(seed)
    score = np.round(generator.random(len(starts)), 1)
    columns = {"score": score, "smoothed": np.round(generator.random(len(starts)), 1)}
    entry = {
        "label": int(bool(intervals)),
        "class": class_name,
        "intervals": intervals,
        "listed_frames": None,
    }
    spans = Spans(starts, ends, starts / 30, ends / 30)
    truth = read_truth(name, entry, n)
    return evaluated_video(
        name, truth, spans, columns, THRESHOLD, [Detection(*d) for d in detected]
    )


def frames_of(videos):
    labels = np.concatenate([np.repeat(v.positive, v.frames) for v in videos])
    scores = np.concatenate([np.repeat(v.smoothed, v.frames) for v in videos])
    return labels, scores


def measure(videos, bootstrap=20):
    found = metrics_of(videos, bootstrap=bootstrap, seed=0, tiou=(0.1, 0.5))
    assert json.loads(canonical(found)) == found  # finite numbers and plain types only
    return found


def a_data_set():
    return [
        make_video("a", 130, [[20, 60]], 1, "Abuse", [(24, 48, 0.9), (100, 120, 0.6)]),
        make_video("b", 240, [[0, 30], [90, 300]], 2, "Fighting", [(90, 240, 0.8)]),
        make_video("c", 75, [[0, 75]], 3, "Fighting"),
        make_video("d", 300, [], 4, "Normal", [(0, 24, 0.7), (48, 72, 0.8)]),
        make_video("e", 61, [], 5, "Normal"),
    ]


def test_pooled_figures_equal_scikit_learns_on_frames():
    videos = a_data_set()
    found = measure(videos)
    labels, scores = frames_of(videos)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores), rel=1e-9)
    assert found["ap"] == pytest.approx(average_precision_score(labels, scores), rel=1e-9)
    assert found["ap_trapezoid"] == pytest.approx(auc(recall, precision), rel=1e-9)
    assert found["auc_thresholded"] == pytest.approx(roc_auc_score(labels, scores > THRESHOLD))
    binary = average_precision_score(labels, scores > THRESHOLD)
    assert found["ap_thresholded"] == pytest.approx(binary, rel=1e-9)
    raw = np.concatenate([np.repeat(v.score, v.frames) for v in videos])
    assert found["unsmoothed"]["auc"] == pytest.approx(roc_auc_score(labels, raw), rel=1e-9)
    labels, scores = frames_of(videos[:3])
    assert found["anomalous_only"]["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert found["undefined"] == {}


def test_figures_by_video_and_by_class():
    videos = a_data_set()
    found = measure(videos)
    within = [roc_auc_score(*frames_of([v])) for v in videos[:2]]  # c is anomalous throughout
    assert found["macro_within_video_auc"] == pytest.approx(np.mean(within), rel=1e-9)
    assert found["counts"]["within_videos"] == 2
    highest = [v.smoothed.max() for v in videos]
    assert found["video_level_auc"] == pytest.approx(roc_auc_score([1, 1, 1, 0, 0], highest))
    assert list(found["per_class"]) == ["Abuse", "Fighting"]
    fighting = found["per_class"]["Fighting"]
    assert fighting["auc"] == pytest.approx(roc_auc_score(*frames_of(videos[1:])), rel=1e-9)
    assert fighting["within_video_auc"] == pytest.approx(within[1], rel=1e-9)
    assert (fighting["videos"], fighting["within_videos"]) == (2, 1)
    assert fighting["positive_frames"] == 30 + 150 + 75


def test_events_alarms_and_counts():
    found = measure(a_data_set())
    # (24, 48) in (20, 60): 0.6; (90, 240) on (90, 300) clipped to 240: 1.
    # By peak: 0.9 hits in a, 0.8 hits in b and misses in d, 0.7 misses in d, 0.6 misses in a.
    # Steps of 1/4 at precisions 1 and 2/3; Abuse has one event, Fighting three.
    for tiou in ("0.1", "0.5"):
        assert found["events"][tiou] == {
            "matched": 2,
            "precision": 2 / 5,
            "recall": 2 / 4,
            "f1": 4 / 9,
            "ap": pytest.approx((1 + 2 / 3) / 4),
            "map": pytest.approx((1 + (1 / 2) / 3) / 2),
        }
    assert found["event_ap"] == pytest.approx((1 + 2 / 3) / 4)
    assert found["event_map"] == pytest.approx((1 + (1 / 2) / 3) / 2)
    assert found["per_class"]["Abuse"]["event_ap"] == {"0.1": 1.0, "0.5": 1.0}
    assert found["per_class"]["Fighting"]["event_ap"]["0.5"] == pytest.approx((1 / 2) / 3)
    hours = (300 + 61) / 30 / 3600
    assert found["false_alarms_per_hour"] == pytest.approx(2 / hours)
    assert found["counts"]["frames"] == 130 + 240 + 75 + 300 + 61
    assert found["counts"]["positive_frames"] == 40 + 30 + 150 + 75
    assert found["counts"]["clipped"] == 1
    assert found["clipped"] == [
        {"video_id": "b", "start_frame": 90, "end_frame": 300, "n_frames": 240, "listed": None}
    ]


def test_bands_hold_the_figure_and_repeat_for_a_seed():
    videos = a_data_set()
    found = measure(videos, bootstrap=400)
    for name in ("auc", "ap", "ap_trapezoid", "macro_within_video_auc"):
        band = found["bootstrap"][name]
        assert band["low"] <= found[name] <= band["high"]
        assert 0 < band["replicates"] <= 400
    assert canonical(found) == canonical(measure(videos, bootstrap=400))


def test_baselines_stand_beside_the_figures():
    found = measure(a_data_set())
    assert set(found["baselines"]) == {
        "constant_oracle",
        "constant_oracle_x_centre_gaussian",
        "centre_gaussian",
        "inverse_length",
    }
    labels, _ = frames_of(a_data_set())
    oracle = np.repeat([1, 1, 1, 0, 0], [130, 240, 75, 300, 61])
    expected = roc_auc_score(labels, oracle)
    assert found["baselines"]["constant_oracle"]["auc"] == pytest.approx(expected, rel=1e-9)


def test_without_anomalous_videos_every_figure_is_null_with_its_reason():
    found = measure([make_video("d", 50, [], 1), make_video("e", 30, [], 2)])
    nulls = ("auc", "ap", "ap_trapezoid", "auc_thresholded", "ap_thresholded", "video_level_auc")
    for name in (*nulls, "macro_within_video_auc"):
        assert found[name] is None
        assert found["undefined"][name]
    assert found["undefined"]["auc"] == "all frames are normal"
    assert found["undefined"]["anomalous_only.auc"] == "there are no frames"
    assert found["undefined"]["bootstrap.auc"] == "it is defined in no replicate"
    assert found["undefined"]["baselines.centre_gaussian.ap"] == "all frames are normal"
    assert found["undefined"]["events.0.1.recall"] == "no interval is annotated"
    assert found["false_alarms_per_hour"] == 0
    assert found["per_class"] == {}


def test_without_normal_videos_false_alarms_are_undefined():
    found = measure([make_video("a", 50, [[0, 50]], 1)], bootstrap=0)
    assert found["auc"] is None
    assert found["undefined"]["auc"] == "all frames are anomalous"
    assert found["undefined"]["false_alarms_per_hour"] == "there is no normal video"
    assert found["undefined"]["events.0.1.precision"] == "no interval was detected"
    assert found["undefined"]["per_class.Abuse.within_video_auc"]
    assert found["bootstrap"]["auc"] is None
    assert "bootstrap = 0" in found["undefined"]["bootstrap.auc"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 120), st.lists(st.tuples(st.integers(0, 119), st.integers(1, 50)))
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 1000),
)
def test_every_null_has_a_reason_and_every_reason_a_null(shapes, seed):
    videos = [
        make_video(f"v{i}", n, [[s, s + m] for s, m in pairs if s < n], seed + i)
        for i, (n, pairs) in enumerate(shapes)
    ]
    found = measure(videos, bootstrap=5)
    nulls = set()

    def walk(value, path):
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, f"{path}.{name}" if path else name)
        elif value is None:
            nulls.add(path)

    walk({name: value for name, value in found.items() if name != "undefined"}, "")
    assert nulls == set(found["undefined"])


def test_neither_the_order_of_videos_nor_that_of_detections_matters():
    videos = a_data_set()
    found = evaluation_of(videos, bootstrap=20, seed=0, tiou=(0.1,))
    again = evaluation_of(videos[::-1], bootstrap=20, seed=0, tiou=(0.1,))
    assert canonical(found.metrics) == canonical(again.metrics)
    for name, values in found.replicates.items():
        np.testing.assert_array_equal(again.replicates[name], values)


def test_replicate_k_draws_the_same_videos_whatever_the_scores():
    """What a paired comparison rests on: of one sample, the same replicates are undefined."""
    videos = [make_video("a", 50, [[3, 9]], 1), *(make_video(n, 50, [], 2) for n in "bcd")]
    others = [make_video("a", 50, [[3, 9]], 8), *(make_video(n, 50, [], 9) for n in "bcd")]
    one, two = (evaluation_of(v, bootstrap=60, seed=1, tiou=()) for v in (videos, others))
    assert one.metrics["bootstrap"]["sample"] == two.metrics["bootstrap"]["sample"]
    without = np.isnan(one.replicates["auc"])
    np.testing.assert_array_equal(without, np.isnan(two.replicates["auc"]))
    assert 5 < without.sum() < 40
    assert [c is None for c in one.replicate_columns()["auc"]] == without.tolist()


def test_without_a_threshold_what_rests_on_one_is_undefined_and_the_rest_is_not():
    videos = [
        dataclasses.replace(video, threshold=None, detected=(), seconds=None)
        for video in a_data_set()
    ]
    found, with_both = measure(videos), measure(a_data_set())
    no_threshold = "no threshold is given, so nothing is detected"
    for name in ("auc_thresholded", "false_alarms_per_hour", "events.0.5.f1", "event_map"):
        assert found["undefined"][name] == no_threshold
    assert found["undefined"]["per_class.Abuse.event_ap.0.1"] == no_threshold
    assert found["undefined"]["counts.hours"] == "the length of a video is not known"
    for name in ("auc", "ap", "per_class", "video_level_auc", "baselines", "calibration"):
        if name == "per_class":
            for figures in (*found[name].values(), *with_both[name].values()):
                del figures["event_ap"]
        assert found[name] == with_both[name]


def test_without_a_length_only_rates_are_undefined():
    found = measure([dataclasses.replace(video, seconds=None) for video in a_data_set()])
    assert set(found["undefined"]) == {
        "false_alarms_per_hour",
        "counts.hours",
        "counts.normal_hours",
    }


def test_calibration_is_that_of_the_frames_of_the_smoothed_curve():
    videos = a_data_set()
    labels, scores = frames_of(videos)
    found = measure(videos)["calibration"]
    assert found["brier"] == pytest.approx(brier_score_loss(labels, scores), rel=1e-12)
    beyond = [dataclasses.replace(video, smoothed=4 * video.smoothed - 1) for video in videos]
    found = measure(beyond)
    assert found["calibration"] == {"ece": None, "brier": None, "base_rate_brier": None}
    assert found["undefined"]["calibration.ece"] == "scores from -1 to 3 are no probabilities"
