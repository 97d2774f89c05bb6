"""Stage score: one score per segment, from the features that the scorer was fitted on."""

import dataclasses

import numpy as np
import pytest

from cache.digest import write_json
from cache.errors import ConfigError, DamagedArtifact, ItemError
from manifests.schema import SEGMENT_SCORES, SEGMENTS
from manifests.table import read_table, write_table
from stages import score
from stages.contract import Job
from stages.probes.scorers import SCORERS, LogisticScorer, save_scorer
from tests.fitting import options_of
from tests.payload import Folder
from tests.states import OTHER, QUESTION, write_artifact, write_heads_artifact

FEATURES = {"backbone": {"identity": "abc", "dtype": "float32"}, "keyframes": 8}


def make_job(tmp_path, rows, segments=None, features=FEATURES, layer=1, out="out", **states):
    n = len(rows) if segments is None else segments
    for part in ("states", "plan", "scorer", out):
        (tmp_path / part).mkdir(exist_ok=True)
    write_artifact(tmp_path / "states", rows, **states)
    starts = 24 * np.arange(n)
    ends = starts + np.append(np.full(n - 1, 24), 5)
    columns = {
        "segment": np.arange(n),
        "start_frame": starts,
        "end_frame": ends,
        "start_s": starts / 7,
        "end_s": ends / 7,
    }
    write_table(tmp_path / "plan/segments.parquet", SEGMENTS, columns)
    scorer = LogisticScorer(
        np.asarray([1.0, -2.0, 0.5]), np.asarray([0.25]), np.full(3, 2.0), np.full(3, 4.0)
    )
    save_scorer(tmp_path / "scorer/scorer.safetensors", scorer)
    record = {"kind": "logistic", "layer": layer, "features": FEATURES}
    write_json(tmp_path / "scorer/scorer.json", record)
    inputs = {part: Folder(tmp_path / part) for part in ("states", "plan", "scorer")}
    values = {"features": features, "question": QUESTION}
    return Job("v", score.Settings(), tmp_path / out, inputs, values=values)


def rows_of(n=6):
    return np.random.default_rng(0).normal(size=(n, 3, 3)).astype(np.float32)


def test_scores_are_those_of_the_formula_with_the_plans_spans(tmp_path):
    rows = rows_of()
    job = make_job(tmp_path, rows)
    assert score.compute(job).rows == 6
    found = read_table(job.out / "scores.parquet", SEGMENT_SCORES).to_pydict()
    expected = []
    for row in rows[:, 1].astype(np.float64):
        logit = sum(w * (x - 2) / 4 for w, x in zip((1.0, -2.0, 0.5), row, strict=True)) + 0.25
        expected.append(1 / (1 + np.exp(-logit)))
    np.testing.assert_allclose(found["score"], expected, rtol=1e-12)
    assert found["segment"] == list(range(6))
    assert found["end_frame"] == [24, 48, 72, 96, 120, 125]
    assert found["end_s"][-1] == 125 / 7
    covered = [
        f
        for s, e in zip(found["start_frame"], found["end_frame"], strict=True)
        for f in range(s, e)
    ]
    assert covered == list(range(125))  # every frame has exactly one score


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    outs = []
    for name in ("one", "two"):
        job = make_job(tmp_path, rows_of(), out=name)
        score.compute(job)
        outs.append((job.out / "scores.parquet").read_bytes())
    assert outs[0] == outs[1]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {"backbone": {"identity": "xyz", "dtype": "float32"}, "keyframes": 8},
            r"backbone.identity: expected 'abc', found 'xyz'",
        ),
        ({"backbone": FEATURES["backbone"]}, r"keyframes: expected 8, found "),
        ({**FEATURES, "keyframes": 16}, r"keyframes: expected 8, found 16"),
        ({**FEATURES, "prompt": "p"}, r"prompt: expected .*, found 'p'"),
    ],
)
def test_other_features_are_refused_field_by_field(tmp_path, features, message):
    with pytest.raises(ConfigError, match=message):
        score.compute(make_job(tmp_path, rows_of(), features=features))


def test_states_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ItemError, match="hidden states of 6 segments, but the plan has 7"):
        score.compute(make_job(tmp_path, rows_of(), segments=7))
    with pytest.raises(ConfigError, match=r"v: layer 3 is needed, .* layers 0 to 2; keep that"):
        score.compute(make_job(tmp_path, rows_of(), layer=3, out="b"))


def test_the_layer_is_read_by_its_number_at_the_question_that_is_probed(tmp_path):
    tables = []
    for name, layer, states in (
        ("plain", 1, {}),
        ("some", 20, {"layers": [16, 20, 24], "questions": (OTHER, QUESTION)}),
        ("one", 20, {"layers": [20]}),
    ):
        rows = rows_of()[:, 1:2] if name == "one" else rows_of()
        (tmp_path / name).mkdir()
        job = make_job(tmp_path / name, rows, layer=layer, **states)
        score.compute(job)
        tables.append((job.out / "scores.parquet").read_bytes())
    assert len(set(tables)) == 1


def test_heads_are_read_in_the_order_of_the_record(tmp_path):
    rows = np.random.default_rng(0).normal(size=(6, 1, 2, 4, 1)).astype(np.float32)
    job = make_job(tmp_path, rows_of())
    write_heads_artifact(tmp_path / "states", rows)
    record = {"kind": "logistic", "heads": [[1, 3], [0, 0], [1, 0]], "features": FEATURES}
    write_json(tmp_path / "scorer/scorer.json", record)
    score.compute(job)
    found = read_table(job.out / "scores.parquet", SEGMENT_SCORES).to_pydict()["score"]
    chosen = np.stack([rows[:, 0, 1, 3, 0], rows[:, 0, 0, 0, 0], rows[:, 0, 1, 0, 0]], axis=1)
    logits = ((chosen.astype(np.float64) - 2) / 4) @ np.asarray([1.0, -2.0, 0.5]) + 0.25
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-12)


def test_a_hidden_state_that_is_not_finite_has_no_score(tmp_path):
    rows = rows_of()
    rows[4, 1, 2] = np.nan
    with pytest.raises(ItemError, match="v: the score of segment 4 is not finite"):
        score.compute(make_job(tmp_path, rows))


def fitted(tmp_path, kind):
    """A job over rows that a scorer of this kind was fitted on, and these rows."""
    rows = rows_of(40)
    labels = (np.arange(40) % 3 == 0).astype(np.int64)
    job = make_job(tmp_path, rows)
    scorer, _ = SCORERS[kind].fit(rows[:, 1], labels, options_of(kind, 3))
    save_scorer(tmp_path / "scorer/scorer.safetensors", scorer)
    record = {"kind": kind, "layer": 1, "features": FEATURES}
    write_json(tmp_path / "scorer/scorer.json", record)
    return job, rows[:, 1], scorer


@pytest.mark.parametrize("kind", SCORERS)
def test_every_kind_scores_with_the_bits_that_were_saved(tmp_path, kind):
    job, rows, scorer = fitted(tmp_path, kind)
    score.compute(job)
    found = read_table(job.out / "scores.parquet", SEGMENT_SCORES)["score"].to_numpy()
    assert found.tobytes() == scorer.score(rows).tobytes()


@pytest.mark.parametrize("kind", SCORERS)
@pytest.mark.parametrize(
    ("features", "named"),
    [
        ({**FEATURES, "keyframes": 16}, "keyframes: expected 8, found 16"),
        ({**FEATURES, "backbone": {"identity": "abc", "dtype": "bfloat16"}}, "backbone.dtype"),
        ({}, "backbone.*keyframes"),
    ],
)
def test_every_kind_refuses_other_features_by_name(tmp_path, kind, features, named):
    job, _, _ = fitted(tmp_path, kind)
    values = {**job.values, "features": features}
    with pytest.raises(ConfigError, match=f"fitted on other features .*{named}"):
        score.compute(dataclasses.replace(job, values=values))


@pytest.mark.parametrize("kind", SCORERS)
def test_every_kind_refuses_rows_of_another_width(tmp_path, kind):
    job, _, _ = fitted(tmp_path, kind)
    wide = np.zeros((40, 3, 4), dtype=np.float32)
    write_artifact(tmp_path / "wide", wide)
    inputs = {**job.inputs, "states": Folder(tmp_path / "wide")}
    with pytest.raises(ConfigError, match=r"fitted on \[n, 3\], hidden states are \[40, 4\]"):
        score.compute(dataclasses.replace(job, inputs=inputs))


@pytest.mark.parametrize("kind", SCORERS)
def test_the_tensors_of_one_kind_are_refused_under_the_name_of_another(tmp_path, kind):
    job, _, _ = fitted(tmp_path, kind)
    for other in set(SCORERS) - {kind}:
        record = {"kind": other, "layer": 1, "features": FEATURES}
        write_json(tmp_path / "scorer/scorer.json", record)
        with pytest.raises(DamagedArtifact, match=f"a scorer of kind {other} holds"):
            score.compute(job)
