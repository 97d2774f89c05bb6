"""Label-only baselines: the formula, and the published table on the real test lists."""

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from stages.probes.baselines import BASELINES, centre_gaussian
from stages.probes.evaluation import metrics_of, within_video_auc
from stages.probes.frames import evaluated_runs, frame_labels, read_truth
from tests.real_tests import entries_of

TABLE = {  # AUC, AP and AP by trapezoids, in percent
    "ucf_crime": {
        "constant_oracle": "81.57 18.19 59.09",
        "constant_oracle_x_centre_gaussian": "86.52 24.02 24.04",
        "centre_gaussian": "61.88 10.00 10.02",
        "inverse_length": "65.12 10.32 10.16",
    },
    "xd_violence": {
        "constant_oracle": "84.89 49.77 74.89",
        "constant_oracle_x_centre_gaussian": "87.02 54.16 54.17",
        "centre_gaussian": "54.59 25.08 25.10",
        "inverse_length": "58.86 28.56 28.47",
    },
}
FACTS = {  # videos, anomalous ones, frames, anomalous frames, videos with both, centre within
    "ucf_crime": (290, 140, 1_111_808, 84_182, 140, "63.27"),
    "xd_violence": (800, 500, 2_335_801, 538_324, 500, "65.24"),
}


def real_videos(name):
    """The real test set with the centre Gaussian as the score of every frame."""
    videos = []
    for video, entry in entries_of(name).items():
        n = entry["listed_frames"]
        truth, score = read_truth(video, entry, n), centre_gaussian(n)
        starts = np.arange(n)
        videos.append(evaluated_runs(video, truth, starts, n, score, score, None, [], None))
    return videos


def short_videos():
    lengths = {"a": (30, [(4, 11)]), "b": (57, [(0, 20), (50, 57)]), "n": (41, []), "m": (8, [])}
    videos = []
    for name, (n, intervals) in lengths.items():
        entry = {
            "label": int(bool(intervals)),
            "class": "x",
            "intervals": intervals,
            "listed_frames": None,
        }
        truth, starts = read_truth(name, entry, n), np.arange(0, n, 7)
        zeros = np.zeros(len(starts))
        videos.append(evaluated_runs(name, truth, starts, n, zeros, zeros, None, [], None))
    return videos


NAIVE = {
    "constant_oracle": lambda label, x, n: label,
    "constant_oracle_x_centre_gaussian": lambda label, x, n: label * gaussian(x, n),
    "centre_gaussian": lambda label, x, n: gaussian(x, n),
    "inverse_length": lambda label, x, n: 1 / n,
}


def gaussian(x, n):
    return np.exp(-(((x - n // 2) / (n / 2)) ** 2) / 2)


def test_the_centre_gaussian_is_the_formula():
    for n in (1, 2, 7, 24):
        np.testing.assert_allclose(
            centre_gaussian(n), [gaussian(x, n) for x in range(n)], rtol=1e-15
        )


@pytest.mark.parametrize("name", list(BASELINES))
def test_a_baseline_is_its_score_on_every_frame(name):
    videos = short_videos()
    labels = np.concatenate([frame_labels(v.truth, v.n_frames) for v in videos])
    scores = [NAIVE[name](v.truth.label, x, v.n_frames) for v in videos for x in range(v.n_frames)]
    precision, recall, _ = precision_recall_curve(labels, scores)
    found = BASELINES[name](videos)
    assert found.auc == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
    assert found.ap == pytest.approx(average_precision_score(labels, scores), rel=1e-12)
    assert found.ap_trapezoid == pytest.approx(auc(recall, precision), rel=1e-12)


@pytest.mark.parametrize("name", list(TABLE))
def test_the_real_test_lists_give_the_published_table(name):
    videos = real_videos(name)
    count, anomalous, frames, positive, _, _ = FACTS[name]
    assert len(videos) == count
    assert sum(v.truth.label for v in videos) == anomalous
    assert sum(v.n_frames for v in videos) == frames
    assert sum(int(v.frames[v.positive].sum()) for v in videos) == positive
    for baseline, expected in TABLE[name].items():
        found = BASELINES[baseline](videos)
        shown = f"{100 * found.auc:.2f} {100 * found.ap:.2f} {100 * found.ap_trapezoid:.2f}"
        assert shown == expected, baseline


@pytest.mark.parametrize("name", list(FACTS))
def test_the_centre_gaussian_within_real_videos(name):
    found = within_video_auc(real_videos(name))
    defined = found[~np.isnan(found)]
    *_, with_both, expected = FACTS[name]
    assert len(defined) == with_both
    assert f"{100 * defined.mean():.2f}" == expected


def test_metrics_of_a_real_test_set_show_the_published_table():
    """UCF-Crime with the centre Gaussian as the score: it is its own baseline."""
    videos = real_videos("ucf_crime")
    found = metrics_of(videos, bootstrap=0, seed=0, tiou=())
    assert found["auc"] == pytest.approx(found["baselines"]["centre_gaussian"]["auc"], rel=1e-12)
    assert f"{100 * found['auc']:.2f}" == "61.88"
    assert len(found["per_class"]) == 13
    assert found["counts"]["clipped"] == 5
