"""Stage evaluate: from localised test videos and their annotations to metrics.json."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cache.digest import read_json, write_json
from cache.errors import ConfigError, ItemError
from cache.fields import notes
from manifests.schema import CURVES, INTERVALS, REPLICATES, SMOOTHED
from manifests.table import read_table, write_table
from stages import evaluate
from stages.contract import Job
from tests.payload import Folder
from tests.training import write_scores

THRESHOLD = 0.5
TRUTH = {
    "a": {"label": 1, "class": "Abuse", "intervals": [[30, 80]], "listed_frames": None},
    "b/c.d": {"label": 1, "class": "Riot", "intervals": [[0, 10], [90, 150]], "listed_frames": 150},
    "n": {"label": 0, "class": "Normal", "intervals": [], "listed_frames": None},
}
FRAMES = {"a": 100, "b/c.d": 148, "n": 75}


def make_video(folder, n, seed, length=24, **rule):
    folder.mkdir(parents=True)
    starts = np.arange(0, n, length)
    ends = np.minimum(starts + length, n)
    score, smoothed = np.random.default_rng(seed).random((2, len(starts)))
    spans = {
        "start_frame": starts,
        "end_frame": ends,
        "start_s": starts / 25,
        "end_s": ends / 25,
    }
    columns = {"segment": np.arange(len(starts)), **spans, "score": score, "smoothed": smoothed}
    write_table(folder / "smoothed.parquet", SMOOTHED, columns)
    above = np.flatnonzero(smoothed > THRESHOLD)  # each segment by itself is enough here
    found = {name: values[above] for name, values in spans.items()}
    found |= {"interval": np.arange(len(above)), "peak": smoothed[above], "mean": smoothed[above]}
    found["threshold"] = np.full(len(above), THRESHOLD)
    write_table(folder / "intervals.parquet", INTERVALS, found)
    record = {"threshold": THRESHOLD, "rule": "kappa", "mu": 0.4, "sigma": 0.5, "kappa": 0.2}
    write_json(folder / "threshold.json", {**record, **rule})
    return np.repeat(smoothed, ends - starts), np.repeat(score, ends - starts), len(above)


ABSENT = {"test": [], "train": []}


def make_job(tmp_path, truth=TRUTH, missing=(), absent=ABSENT, frames=FRAMES, out="out", **changed):
    scores = {}
    for number, (name, n) in enumerate(frames.items()):
        if not (tmp_path / name).exists():
            scores[name] = make_video(tmp_path / name, n, number)
    (tmp_path / out).mkdir(exist_ok=True)
    chosen = evaluate.Settings(**{"bootstrap": 50, **changed})
    many = {"intervals": {name: Folder(tmp_path / name) for name in sorted(frames)}}
    write_scores(tmp_path / "scorer", [("train/n", "train", "0f", 0, 0.2)])
    values = {"truth": truth, "missing": list(missing), "absent": absent}
    values["tested"] = {name: f"bytes of {name}" for name in frames}
    inputs = {"scorer": Folder(tmp_path / "scorer")}
    return Job("set", chosen, tmp_path / out, inputs, many, values), scores


def labels_of(name):
    labels = np.zeros(FRAMES[name], dtype=int)
    for start, end in TRUTH[name]["intervals"]:
        labels[start:end] = 1
    return labels


def test_metrics_equal_those_of_frames(tmp_path):
    job, scores = make_job(tmp_path)
    assert evaluate.compute(job).rows == 3
    found = read_json(job.out / "metrics.json")
    labels = np.concatenate([labels_of(name) for name in FRAMES])
    smoothed = np.concatenate([scores[name][0] for name in FRAMES])
    raw = np.concatenate([scores[name][1] for name in FRAMES])
    assert found["auc"] == pytest.approx(roc_auc_score(labels, smoothed), rel=1e-9)
    assert found["ap"] == pytest.approx(average_precision_score(labels, smoothed), rel=1e-9)
    assert found["unsmoothed"]["ap"] == pytest.approx(average_precision_score(labels, raw))
    binary = roc_auc_score(labels, smoothed > THRESHOLD)
    assert found["auc_thresholded"] == pytest.approx(binary, rel=1e-9)
    assert found["counts"]["positive_frames"] == labels.sum() == 50 + 10 + 58
    assert found["false_alarms_per_hour"] == pytest.approx(scores["n"][2] / (75 / 25 / 3600))
    assert found["clipped"] == [
        {
            "video_id": "b/c.d",
            "start_frame": 90,
            "end_frame": 150,
            "n_frames": 148,
            "listed": 150,
        }
    ]
    assert found["frame_counts"] == [{"video_id": "b/c.d", "decoded": 148, "listed": 150}]
    assert found["missing"] == {"count": 0, "videos": []}
    assert found["labels"] == "exact"
    assert found["threshold"]["rule"] == "kappa"
    assert list(found["events"]) == ["0.1", "0.3", "0.5"]
    assert found["undefined"] == {}


def test_curves_run_from_end_to_end_in_few_points(tmp_path):
    frames = {"a": 100, "b/c.d": 148, "n": 75}
    make_video(tmp_path / "a", 100, 0, length=1)  # one-frame segments: many thresholds
    make_video(tmp_path / "b/c.d", 148, 1, length=1)
    job, _ = make_job(tmp_path, frames=frames)
    evaluate.compute(job)
    curves = read_table(job.out / "curves.parquet", CURVES).to_pandas()
    roc, pr = (curves[curves["curve"] == name] for name in ("roc", "pr"))
    assert max(len(roc), len(pr)) <= 500
    assert tuple(roc.iloc[0][["x", "y"]]) == (0, 0)
    assert tuple(roc.iloc[-1][["x", "y"]]) == (1, 1)
    assert (pr["x"].iloc[0], pr["y"].iloc[0], pr["x"].iloc[-1]) == (0, 1, 1)
    auc = read_json(job.out / "metrics.json")["auc"]
    assert np.trapezoid(roc["y"], roc["x"]) == pytest.approx(auc, abs=1e-9)


def test_missing_videos_are_reported(tmp_path):
    job, _ = make_job(tmp_path, missing=["z", "y"])
    result = evaluate.compute(job)
    missing = read_json(job.out / "metrics.json")["missing"]
    assert missing == {"count": 2, "videos": ["y", "z"]}
    assert result.notes == (
        "2 test videos failed and are not in these figures",
        "1 video has another number of frames than the lists say",
        "1 annotated interval ends after the video and was clipped",
    )


def test_videos_that_the_lists_name_and_that_are_not_there_are_reported(tmp_path):
    job, _ = make_job(tmp_path, absent={"test": ["y", "x"], "train": ["t"]})
    result = evaluate.compute(job)
    assert read_json(job.out / "metrics.json")["absent"] == {
        "test": {"count": 2, "videos": ["x", "y"]},
        "train": {"count": 1, "videos": ["t"]},
    }
    assert result.notes[:2] == (
        "2 test videos that the lists name are not there, and so not in these figures",
        "1 training video that the lists name is not there",
    )


@pytest.mark.parametrize("view", ["exact", "inclusive", "floor16"])
def test_annotations_are_read_in_the_view_that_is_asked_for(tmp_path, view):
    job, scores = make_job(tmp_path, labels=view)
    evaluate.compute(job)
    found = read_json(job.out / "metrics.json")
    labels, smoothed = [], []
    for name, n in FRAMES.items():
        kept = n // 16 * 16 if view == "floor16" else n
        spans = TRUTH[name]["intervals"]
        last = 0 if view == "inclusive" else -1
        labels += [any(s <= frame <= e + last for s, e in spans) for frame in range(kept)]
        smoothed += scores[name][0][:kept].tolist()
    assert found["labels"] == view
    assert found["counts"]["frames"] == len(labels)
    assert found["counts"]["positive_frames"] == sum(labels)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, smoothed), rel=1e-12)


def test_replicates_are_kept_and_are_what_the_intervals_are_made_of(tmp_path):
    job, _ = make_job(tmp_path, bootstrap=80)
    result = evaluate.compute(job)
    assert result.auxiliary == {"replicates.parquet"}
    found = read_json(job.out / "metrics.json")["bootstrap"]
    table = read_table(job.out / "replicates.parquet", REPLICATES).to_pandas()
    assert table["replicate"].tolist() == list(range(80))
    for name in ("auc", "ap", "ap_trapezoid", "macro_within_video_auc"):
        defined = table[name].dropna()
        assert len(defined) == found[name]["replicates"]
        low, high = np.quantile(defined, [0.025, 0.975])
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high))
    assert table["auc"].isna().any()  # some replicates draw the normal video alone


def test_one_label_gives_nulls_with_reasons_and_no_curve(tmp_path):
    job, _ = make_job(tmp_path, truth={"n": TRUTH["n"]}, frames={"n": 75})
    evaluate.compute(job)
    text = (job.out / "metrics.json").read_text()
    assert "NaN" not in text
    found = json.loads(text)
    assert found["auc"] is None
    assert found["undefined"]["auc"] == "all frames are normal"
    assert read_table(job.out / "curves.parquet", CURVES).num_rows == 0


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    outs = []
    for name in ("one", "two"):
        job, _ = make_job(tmp_path, out=name)
        evaluate.compute(job)
        outs.append({path.name: path.read_bytes() for path in job.out.iterdir()})
    assert outs[0] == outs[1]
    assert set(outs[0]) == {"metrics.json", "curves.parquet", "replicates.parquet"}


@pytest.mark.parametrize(
    ("truth", "missing", "message"),
    [
        ({"a": TRUTH["a"], "n": TRUTH["n"]}, [], r"1 test videos \(b/c.d\) have no annotation"),
        ({**TRUTH, "q": TRUTH["n"]}, [], r"1 test videos \(q\) are annotated and were not"),
        (TRUTH, ["a"], r"1 test videos \(a\) are given both as evaluated and as missing"),
        (
            {
                **TRUTH,
                "a": {
                    "label": 1,
                    "class": "Abuse",
                    "intervals": [[100, 120]],
                    "listed_frames": None,
                },
            },
            [],
            r"a: the annotated interval \[100, 120\) starts past the end, the video has 100",
        ),
        (
            {**TRUTH, "a": {"label": 1, "class": "Abuse", "intervals": [], "listed_frames": None}},
            [],
            r"a: label is 1 and 0 intervals",
        ),
    ],
)
def test_annotations_that_do_not_fit_are_refused(tmp_path, truth, missing, message):
    job, _ = make_job(tmp_path, truth=truth, missing=missing)
    with pytest.raises(ConfigError, match=message):
        evaluate.compute(job)


def test_no_video_and_two_thresholds_are_refused(tmp_path):
    job, _ = make_job(tmp_path, truth={}, frames={}, missing=["z"], out="none")
    with pytest.raises(ConfigError, match=r"no test video to evaluate \(1 failed before\)"):
        evaluate.compute(job)
    make_video(tmp_path / "a", 100, 0, threshold=0.7)
    job, _ = make_job(tmp_path)
    with pytest.raises(ConfigError, match="one threshold must hold for all"):
        evaluate.compute(job)


def test_a_frame_without_a_score_is_refused(tmp_path):
    job, _ = make_job(tmp_path)
    path = tmp_path / "n/smoothed.parquet"
    columns = read_table(path, SMOOTHED).to_pydict()
    columns["start_frame"][1] += 1
    write_table(path, SMOOTHED, columns)
    with pytest.raises(ItemError, match=r"n: segment 1 .*exactly one segment"):
        evaluate.compute(job)


@pytest.mark.parametrize("given", [(0.0,), (1.1,), (0.5, 0.5)])
def test_overlaps_that_mean_nothing_are_refused(given):
    assert "above 0" in notes(evaluate.Settings)["tiou"].check(given)
    assert notes(evaluate.Settings)["tiou"].check((0.1, 1.0)) is None
