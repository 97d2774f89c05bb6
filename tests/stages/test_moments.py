"""Stage moments: from a video's hidden states and label to mergeable moments."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from cache.errors import ConfigError, ItemError
from manifests.schema import SEGMENTS
from manifests.table import write_table
from stages import moments
from stages.contract import Job
from tests.payload import Folder
from tests.states import OTHER, QUESTION, write_artifact


def make_job(tmp_path, rows, label, segments=None, name="out", question=QUESTION, **states):
    n = len(rows) if segments is None else segments
    starts = 24 * np.arange(n)
    for part in ("states", "plan", name):
        (tmp_path / part).mkdir(exist_ok=True)
    write_artifact(tmp_path / "states", rows, **states)
    columns = {
        "segment": np.arange(n),
        "start_frame": starts,
        "end_frame": starts + 24,
        "start_s": starts / 30,
        "end_s": (starts + 24) / 30,
    }
    write_table(tmp_path / "plan/segments.parquet", SEGMENTS, columns)
    inputs = {part: Folder(tmp_path / part) for part in ("states", "plan")}
    values = {"split": "train", "label": label, "question": question}
    return Job("v", moments.Settings(), tmp_path / name, inputs, values=values)


def rows_of(n=7, layers=3, dim=5):
    return np.random.default_rng(0).normal(40, 2, size=(n, layers, dim)).astype(np.float32)


def test_frame_labels_part_the_segments(tmp_path):
    rows = rows_of()
    job = make_job(
        tmp_path, rows, {"split": "train", "label": 1, "intervals": [[30, 60], [144, 168]]}
    )
    result = moments.compute(job)
    found = load_file(job.out / "moments.safetensors")
    anomalous = np.asarray([1, 2, 6])
    normal = np.asarray([0, 3, 4, 5])
    assert result.rows == 7
    assert sorted(path.name for path in job.out.iterdir()) == ["moments.safetensors"]
    for name, chosen in (("normal", normal), ("anomalous", anomalous)):
        mine = rows[chosen].astype(np.float64)
        assert found[f"{name}.n"].tolist() == [len(chosen)]
        assert found[f"{name}.n"].dtype == np.int64
        np.testing.assert_allclose(found[f"{name}.mean"], mine.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found[f"{name}.m2"], mine.var(axis=0) * len(mine), rtol=1e-9)
    np.testing.assert_array_equal(found["min"], rows.min(axis=0))
    np.testing.assert_array_equal(found["max"], rows.max(axis=0))
    assert found["layers"].tolist() == [0, 1, 2]
    counts = ("layers", "normal.n", "anomalous.n")
    assert {found[name].dtype for name in counts} == {np.dtype(np.int64)}
    assert {found[name].dtype for name in set(found) - set(counts)} == {np.dtype(np.float64)}


def test_layers_keep_their_numbers_and_another_question_its_own_moments(tmp_path):
    rows = rows_of()
    kept = {"layers": [16, 20, 24], "questions": (OTHER, QUESTION)}
    found = {}
    for question in kept["questions"]:
        label = {"split": "train", "label": 1, "intervals": None}
        job = make_job(tmp_path, rows, label, name=question, question=question, **kept)
        moments.compute(job)
        found[question] = load_file(job.out / "moments.safetensors")
    mine, other = found[QUESTION], found[OTHER]
    assert mine["layers"].tolist() == [16, 20, 24]
    np.testing.assert_allclose(mine["anomalous.mean"], rows.astype(float).mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(other["min"], (rows + np.float32(1000)).min(axis=0))
    with pytest.raises(ConfigError, match=rf"v: .*'{OTHER[:-1]}.*expected 'Why\?' among them"):
        moments.compute(make_job(tmp_path, rows, label, name="why", question="Why?", **kept))


def test_video_labels_leave_the_other_class_empty(tmp_path):
    job = make_job(tmp_path, rows_of(), {"split": "train", "label": 0, "intervals": None})
    moments.compute(job)
    found = load_file(job.out / "moments.safetensors")
    assert found["normal.n"].tolist() == [7]
    assert found["anomalous.n"].tolist() == [0]
    assert not found["anomalous.mean"].any()


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    outs = []
    for name in ("one", "two"):
        job = make_job(
            tmp_path, rows_of(), {"split": "train", "label": 1, "intervals": None}, name=name
        )
        moments.compute(job)
        outs.append((job.out / "moments.safetensors").read_bytes())
    assert outs[0] == outs[1]


def test_states_of_another_length_and_nan_are_refused(tmp_path):
    with pytest.raises(ItemError, match=r"v: hidden states of 7 segments, but the plan has 6"):
        moments.compute(
            make_job(tmp_path, rows_of(), {"split": "train", "label": 0, "intervals": None}, 6)
        )
    bad = rows_of()
    bad[2, 1, 0] = np.nan
    (tmp_path / "nan").mkdir()
    with pytest.raises(ItemError, match=r"segment 2, layer 20, dimension 0 is nan"):
        moments.compute(
            make_job(
                tmp_path / "nan",
                bad,
                {"split": "train", "label": 0, "intervals": None},
                layers=[16, 20, 24],
            )
        )


def test_an_anomalous_video_without_an_interval_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"v: label is 1 and 0 intervals"):
        moments.compute(
            make_job(tmp_path, rows_of(), {"split": "train", "label": 1, "intervals": []})
        )
