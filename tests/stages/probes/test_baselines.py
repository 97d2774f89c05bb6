"""Label-only baselines: the formula, and the published table on the real test lists."""

import csv
from pathlib import Path

import numpy as np
import pytest

from stages.probes.baselines import BASELINES, centre_gaussian
from stages.probes.evaluation import within_video_auc
from stages.probes.frames import evaluated_video, read_truth
from stages.probes.spans import Spans

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
TABLE = {
    "ucf_crime": {
        "constant_oracle": (81.57, 18.19, 59.09),
        "constant_oracle_x_centre_gaussian": (86.52, 24.02, 24.04),
        "centre_gaussian": (61.88, 10.00, 10.02),
        "inverse_length": (65.12, 10.32, 10.16),
    },
    "xd_violence": {
        "constant_oracle": (84.89, 49.77, 74.89),
        "constant_oracle_x_centre_gaussian": (87.02, 54.16, 54.17),
        "centre_gaussian": (54.59, 25.08, 25.10),
        "inverse_length": (58.86, 28.56, 28.47),
    },
}
FACTS = {
    "ucf_crime": (290, 140, 1_111_808, 84_182, 63.27),
    "xd_violence": (800, 500, 2_335_801, 538_324, 65.24),
}


def intervals_of(row):
    if "intervals" in row:
        # start end pairs, however they are separated
        numbers = [int(n) for n in row["intervals"].replace(";", " ").replace("-", " ").split()]
        return list(zip(numbers[::2], numbers[1::2], strict=True))
    pairs = ((int(row["s1"]), int(row["e1"])), (int(row["s2"]), int(row["e2"])))
    return [pair for pair in pairs if pair[0] >= 0]


def read_videos(name, one_segment=True):
    path = DATA / name / "test_frame_counts.csv"
    if not path.is_file():
        pytest.skip(f"the real list {name}/{path.name} is not here")
    videos = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            n, fps, intervals = int(row["n_frames"]), float(row["fps"]), intervals_of(row)
            starts = np.asarray([0]) if one_segment else np.arange(n)
            ends = np.append(starts[1:], n)
            score = centre_gaussian(n)[starts]
            entry = {"label": int(bool(intervals)), "class": "x", "intervals": intervals}
            spans = Spans(starts, ends, starts / fps, ends / fps)
            columns = {"score": score, "smoothed": score}
            truth = read_truth(row["video"], entry, n)
            videos.append(evaluated_video(row["video"], truth, spans, columns, 0.5, []))
    return videos


def test_the_centre_gaussian_is_the_formula():
    for n in (1, 2, 7, 24):
        expected = [np.exp(-(((x - n // 2) / (n / 2)) ** 2) / 2) for x in range(n)]
        np.testing.assert_allclose(centre_gaussian(n), expected, rtol=1e-15)


@pytest.mark.parametrize("name", list(TABLE))
def test_the_real_test_lists_give_the_published_table(name):
    videos = read_videos(name)
    count, anomalous, frames, positive, _ = FACTS[name]
    assert len(videos) == count
    assert sum(v.truth.label for v in videos) == anomalous
    assert sum(v.n_frames for v in videos) == frames
    assert sum(int(v.frames[v.positive].sum()) for v in videos) == positive
    for baseline, expected in TABLE[name].items():
        found = BASELINES[baseline](videos)
        rounded = tuple(round(100 * f, 2) for f in (found.auc, found.ap, found.ap_trapezoid))
        assert rounded == pytest.approx(expected, abs=0.0051), baseline


@pytest.mark.parametrize("name", list(FACTS))
def test_the_centre_gaussian_within_real_videos(name):
    found = within_video_auc(read_videos(name, one_segment=False))
    defined = found[~np.isnan(found)]
    assert 100 * defined.mean() == pytest.approx(FACTS[name][-1], abs=0.0051)


def test_ucf_has_five_annotations_that_end_past_their_video():
    clipped = [c for v in read_videos("ucf_crime") for c in v.truth.clipped]
    assert len(clipped) == 5
