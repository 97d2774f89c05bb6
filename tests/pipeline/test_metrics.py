"""What `hiprobe show` prints: every figure once, and what the figures leave out in words."""

import numpy as np
import pytest

from pipeline.metrics import metrics_text, percent
from stages.probes.evaluation import metrics_of
from stages.probes.frames import Detection, evaluated_runs, read_truth


def video(name, n, intervals, detected=(), threshold=0.5, view="exact", listed=None, **change):
    starts = np.arange(0, n, 24)
    scores = np.random.default_rng(len(name) + n).random(len(starts))
    entry = {"label": int(bool(intervals)), "class": "Riot", "intervals": intervals, **change}
    truth = read_truth(name, {**entry, "listed_frames": listed}, n, view)
    return evaluated_runs(name, truth, starts, n, scores, scores, threshold, detected, n / 25)


def lines_of(videos, **more):
    metrics = metrics_of(videos, bootstrap=50, seed=7, tiou=(0.1, 0.5))
    return metrics, metrics_text({**metrics, **more}).splitlines()


def row(lines, start):
    return next(line for line in lines if line.strip().startswith(start))


def test_it_shows_the_run_above_what_labels_alone_give():
    metrics, lines = lines_of(
        [video("a", 200, [[20, 90]], [Detection(24, 96, 0.9)]), video("n", 150, [])]
    )
    names = ("auc", "ap", "ap_trapezoid")
    assert row(lines, "this run").split()[2:] == [percent(metrics[n]) for n in names]
    oracle = metrics["baselines"]["constant_oracle"]
    assert row(lines, "knows the video's label ").split()[4:] == [percent(oracle[n]) for n in names]
    band = metrics["bootstrap"]["auc"]
    assert f"{100 * band['low']:.1f} to {100 * band['high']:.1f}" in row(lines, "95 % interval")
    assert row(lines, "intervals, IoU 0.1").split()[3:] == ["1", *["100.00"] * 5]
    assert row(lines, "false alarms").split()[-1] == "0.0"
    assert row(lines, "Brier").split()[-1] == f"{metrics['calibration']['brier']:.4f}"
    assert "2 test videos (1 anomalous), 350 frames, 70 of them anomalous" in lines[-1]
    assert "50 replicates, seed 7" in lines[-1]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"rule": "kappa", "kappa": 0.2}, "threshold: 0.6500, kappa 0.2"),
        (
            {"rule": "f1", "kappa": 0.3},
            "threshold: 0.6500, the best F1 of held-out frames of train",
        ),
        ({"rule": "fixed:0.65", "kappa": None}, "threshold: 0.6500, set by hand"),
        ({"rule": "given"}, "threshold: 0.6500, given"),
    ],
)
@pytest.mark.parametrize(
    ("scores", "rows"),
    [
        ("held_out", "; F1 of the frames of training videos held out of the fit: 81.25"),
        ("fitted", "; F1 of the frames of training videos that were fitted on: 81.25"),
        (None, ""),
    ],
)
def test_the_threshold_and_how_it_was_set_are_shown(record, said, scores, rows):
    record = {"threshold": 0.65, "training_rows": None, **record}
    if scores:
        record["training_rows"] = {"scores": scores, "f1": 0.8125}
    _, lines = lines_of([video("a", 200, [[20, 90]]), video("n", 150, [])], threshold=record)
    line = row(lines, "threshold: ")
    assert line.startswith(said)
    assert line.endswith(rows)
    assert (";" in line) == bool(rows)


def test_without_a_threshold_none_is_shown():
    videos = [video("a", 200, [[20, 90]]), video("n", 150, [])]
    for more in ({}, {"threshold": {"threshold": None, "rule": "given"}}):
        assert not any(line.startswith("threshold:") for line in lines_of(videos, **more)[1])


def test_classes_are_shown_where_there_are_several():
    videos = [video("a", 200, [[20, 90]]), video("n", 150, [])]
    assert not any(line.startswith("class") for line in lines_of(videos)[1])
    metrics, lines = lines_of([*videos, video("b", 90, [[0, 30]], **{"class": "Fight"})])
    figures = metrics["per_class"]["Fight"]
    assert row(lines, "Fight").split() == [
        "Fight", "1", percent(figures["auc"]), percent(figures["ap"]),
        percent(figures["ap_trapezoid"]), percent(figures["within_video_auc"]),
    ]  # fmt: skip


def test_what_is_left_out_is_said_beside_the_figures():
    videos = [
        video("a", 200, [[20, 90], [180, 205]], view="floor16", listed=205),
        video("n", 150, [], view="floor16"),
    ]
    absent = {"test": {"count": 12, "videos": [f"v{i}" for i in range(12)]}, "train": {"count": 0}}
    missing = {"count": 1, "videos": ["z"]}
    _, lines = lines_of(videos, labels="floor16", absent=absent, missing=missing)
    assert row(lines, "labels: floor16:")
    assert "NOT COMPLETE: 1 test video failed and is not in these figures: z" in lines
    test = row(lines, "NOT COMPLETE: 12 test videos that the lists name are not there")
    assert test.endswith("v0; v1; v2; v3; v4; v5; v6; v7; v8; v9 and 2 more")
    assert (
        "1 video has another number of frames than the lists say: a: 200 decoded, 205 listed"
        in lines
    )
    clipped = row(lines, "1 annotated interval ends after the video and was clipped")
    assert clipped.endswith(": a: frames 180 to 205, the video has 200 (205 by its list)")


def test_what_is_not_defined_is_a_dash_with_its_reason():
    _, lines = lines_of(
        [video("a", 200, [[20, 90]], threshold=None), video("n", 150, [], threshold=None)]
    )
    assert row(lines, "thresholded curve").split()[2:] == ["-", "-"]
    assert not any(line.startswith(("event-level", "intervals")) for line in lines)
    found = row(lines, "undefined (no threshold is given, so nothing is detected)")
    assert "auc_thresholded" in found
    assert "false_alarms_per_hour" in found
    assert found.endswith("and 9 more")


@pytest.mark.parametrize(
    "name", ["calibration", "event_ap", "ap_thresholded", "frame_counts", "labels"]
)
def test_metrics_of_an_earlier_version_can_still_be_read(name):
    metrics, _ = lines_of([video("a", 200, [[20, 90]]), video("n", 150, [])])
    metrics.pop(name, None)
    assert "this run" in metrics_text(metrics)
