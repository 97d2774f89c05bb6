"""Stage fit: the scorer of the probing rows at the chosen layer, and what is recorded of it."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cache.digest import read_json, write_json
from cache.errors import ConfigError
from cache.fields import notes
from manifests.schema import PROBING_SCORES
from manifests.table import read_table
from stages import fit
from stages.probes.choice import choice_of
from stages.probes.fit_settings import read_by
from stages.probes.scorers import SCORERS, FitOptions, SteerOptions, load_scorer
from tests.fit_jobs import FEATURES, LABELS, make_job, make_videos, write_steered
from tests.states import OTHER, QUESTION, write_heads_artifact


def rows_and_labels(videos, layer=2):
    rows = np.concatenate([videos[name][:, layer] for name in sorted(videos)]).astype(np.float64)
    return rows, np.concatenate([np.zeros(40), [0], np.ones(14), np.ones(9)]).astype(int)


def test_the_scorer_is_that_of_the_chosen_layer(tmp_path):
    videos = make_videos()
    job = make_job(tmp_path, videos)
    result = fit.compute(job)
    rows, labels = rows_and_labels(videos)
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    ).fit(rows, labels)
    scorer = load_scorer(job.out)
    np.testing.assert_allclose(scorer.weight, reference[-1].coef_[0], rtol=1e-6)
    expected = reference.predict_proba(rows)[:, 1]
    np.testing.assert_allclose(scorer.score(rows.astype(np.float32)), expected, rtol=1e-6)
    assert (result.rows, result.notes) == (64, ())


def test_the_record_and_the_probing_scores(tmp_path):
    videos = make_videos()
    job = make_job(tmp_path, videos, c=0.5)
    fit.compute(job)
    record = read_json(job.out / "scorer.json")
    table = read_table(job.out / "probing_scores.parquet", PROBING_SCORES).to_pydict()
    rows, labels = rows_and_labels(videos)
    assert table["video_id"] == ["a"] * 40 + ["b"] * 15 + ["c/d.e"] * 9
    assert table["segment"] == [*range(40), *range(15), *range(9)]
    assert table["label"] == labels.tolist()
    scores = np.asarray(table["score"])
    np.testing.assert_array_equal(scores, load_scorer(job.out).score(rows.astype(np.float32)))
    assert record["mu"] == pytest.approx(scores.mean(), rel=1e-12)
    assert record["sigma"] == pytest.approx(np.std(scores), rel=1e-12)
    assert record["train_auc"] == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
    assert table["split"] == ["train"] * 64
    assert table["digest"] == [f"bytes of {name}" for name in table["video_id"]]
    assert record["loss"] > 0
    assert 0 < record["gradient"] < 1e-4
    for name in ("mu", "sigma", "train_auc", "iterations", "files", "loss", "gradient"):
        del record[name]
    assert record == {
        "kind": "logistic", "layer": 2, "dim": 6, "n_normal": 41, "n_anomalous": 23,
        "converged": True, "unit": "video", "labels": "frame", "held_out_auc": None, "folds": 0,
        "features": FEATURES,
        "settings": {
            "scorer": "logistic", "solver": "memory", "c": 0.5, "standardise": True,
            "balance": "weights", "max_iter": 1000, "seed": 0, "folds": 0,
        },
    }  # fmt: skip
    assert table["held_out"] == [None] * 64


@pytest.mark.parametrize("balance", ["weights", "resample", "none"])
def test_the_same_inputs_give_the_same_bytes(tmp_path, balance):
    outs = []
    for name in ("one", "two"):
        job = make_job(tmp_path, make_videos(), out=name, balance=balance)
        fit.compute(job)
        outs.append({path.name: path.read_bytes() for path in job.out.iterdir()})
    assert outs[0] == outs[1]
    assert set(outs[0]) == {"scorer.safetensors", "scorer.json", "probing_scores.parquet"}


def test_mu_and_sigma_are_of_the_rows_themselves_not_of_resampled_ones(tmp_path):
    job = make_job(tmp_path, make_videos(), balance="resample")
    fit.compute(job)
    record = read_json(job.out / "scorer.json")
    scores = read_table(job.out / "probing_scores.parquet", PROBING_SCORES)["score"].to_numpy()
    assert len(scores) == 64
    assert record["mu"] == pytest.approx(scores.mean(), rel=1e-12)


def test_a_fit_that_did_not_converge_is_noted(tmp_path):
    job = make_job(tmp_path, make_videos(), max_iter=1)
    result = fit.compute(job)
    assert "not converged after 1 iterations" in result.notes[0]
    assert read_json(job.out / "scorer.json")["converged"] is False


def test_what_does_not_fit_is_refused(tmp_path):
    videos = make_videos()
    normal = {**LABELS, "b": LABELS["a"], "c/d.e": LABELS["a"]}
    with pytest.raises(ConfigError, match="no anomalous sample"):
        fit.compute(make_job(tmp_path, videos, labels=normal, out="one"))
    with pytest.raises(ConfigError, match=r"b: .*no label"):
        fit.compute(make_job(tmp_path, videos, labels={"a": LABELS["a"]}, out="two"))
    other = {**videos, "x": np.zeros((2, 4, 5), dtype=np.float32)}
    labels = {**LABELS, "x": LABELS["a"]}
    with pytest.raises(ConfigError, match=r"x: hidden states have 5 numbers, .* other .* 6"):
        fit.compute(make_job(tmp_path, other, labels=labels, out="three"))
    with pytest.raises(ConfigError, match=r"a: layer 7 is needed, .* have layers 0 to 3; keep"):
        fit.compute(make_job(tmp_path, videos, layer=7, out="four"))


def test_the_layer_is_read_by_its_number_at_the_question_that_is_probed(tmp_path):
    videos, scorers = make_videos(), []
    kept = {"layers": [8, 16, 20, 24], "questions": (OTHER, QUESTION)}
    for folder, layer, states, question in (
        ("plain", 2, {}, QUESTION), ("some", 20, kept, QUESTION), ("other", 20, kept, OTHER)
    ):  # fmt: skip
        (tmp_path / folder).mkdir()
        job = make_job(tmp_path / folder, videos, layer=layer, states=states, question=question)
        fit.compute(job)
        scorers.append(load_scorer(job.out))
        assert read_json(job.out / "scorer.json")["layer"] == layer
    np.testing.assert_array_equal(scorers[0].weight, scorers[1].weight)
    np.testing.assert_allclose(scorers[2].mean, scorers[1].mean + 1000, rtol=1e-6)


def test_chosen_heads_are_concatenated_and_recorded(tmp_path):
    videos = make_videos()
    job = make_job(tmp_path, videos)
    heads = {name: rows.reshape(len(rows), 1, 4, 2, 3) for name, rows in videos.items()}
    for name, rows in heads.items():
        write_heads_artifact(tmp_path / name / "states", rows)
    write_json(tmp_path / "choice/choice.json", {"heads": [[0, 1], [3, 0]]})
    fit.compute(job)
    record = read_json(job.out / "scorer.json")
    assert record["heads"] == [[0, 1], [3, 0]]
    assert record["dim"] == 6
    assert "layer" not in record
    rows = np.concatenate(
        [
            np.concatenate([heads[n][:, 0, 0, 1], heads[n][:, 0, 3, 0]], axis=1)
            for n in sorted(heads)
        ]
    )
    _, labels = rows_and_labels(videos)
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    ).fit(rows.astype(np.float64), labels)
    expected = reference.predict_proba(rows.astype(np.float64))[:, 1]
    np.testing.assert_allclose(load_scorer(job.out).score(rows), expected, rtol=1e-6)


def test_heads_that_are_not_kept_are_named(tmp_path):
    job = make_job(tmp_path, make_videos())
    write_json(tmp_path / "choice/choice.json", {"heads": [[0, 1]]})
    with pytest.raises(ConfigError, match=r"a: attention heads .* set forward\.heads"):
        fit.compute(job)


CHANGED = {"c": 0.3, "balance": "resample", "standardise": False, "max_iter": 500, "seed": 3}


@pytest.mark.parametrize("kind", SCORERS)
def test_every_scorer_is_fitted_with_the_settings_recorded_and_found_again(tmp_path, kind):
    videos, outs = make_videos(dim=70), []  # more dimensions than rows
    rows, labels = rows_and_labels(videos)
    steer = None
    given = {
        **CHANGED, "mlp_hidden": 5, "mlp_activation": "relu", "steer": "additive", "steer_gate": 7,
        "steer_rank": 2, "steer_epochs": 40, "steer_rate": 0.02, "steer_decay": 0.1,
        "steer_lambda": 0.3,
    }  # fmt: skip
    for name in ("one", "two"):
        job = make_job(tmp_path, videos, out=name, scorer=kind, **given)
        if kind == "steer":
            _, rows = write_steered(tmp_path, videos)
            steer = SteerOptions(heads=2, context=70, ablation="additive", gate=7, rank=2,
                                 epochs=40, rate=0.02, decay=0.1, penalty=0.3)  # fmt: skip
        assert fit.compute(job).rows == 64
        outs.append({path.name: path.read_bytes() for path in job.out.iterdir()})
    assert outs[0] == outs[1]
    options = FitOptions(**CHANGED, hidden=5, activation="relu", steer=steer)
    direct, report = SCORERS[kind].fit(rows.astype(np.float32), labels, options)
    found = load_scorer(job.out)
    assert {k: v.tobytes() for k, v in found.tensors().items()} == {
        k: v.tobytes() for k, v in direct.tensors().items()
    }
    scores = read_table(job.out / "probing_scores.parquet", PROBING_SCORES)["score"].to_numpy()
    np.testing.assert_array_equal(scores, found.score(rows.astype(np.float32)))
    record = read_json(job.out / "scorer.json")
    assert record["mu"] == pytest.approx(scores.mean(), rel=1e-12)
    assert (record["kind"], record["dim"]) == (kind, rows.shape[1])
    for name in ("iterations", "converged", "loss", "gradient"):
        assert record[name] == getattr(report, name)
    assert record["settings"] == {
        name: {**given, "solver": "memory", "folds": 0, "scorer": kind}[name]
        for name in read_by(kind)
    }


def test_heads_and_the_context_are_recorded_with_a_steered_scorer(tmp_path):
    videos = make_videos()
    job = make_job(tmp_path, videos, scorer="steer", steer_epochs=20)
    choice, rows = write_steered(tmp_path, videos)
    result = fit.compute(job)
    record = read_json(job.out / "scorer.json")
    assert {name: record[name] for name in ("heads", "context", "dim")} == {**choice, "dim": 12}
    assert rows.shape == (64, 12)
    assert choice_of(record) == choice_of(choice)
    assert "raise fit.steer_epochs" in result.notes[0]


def test_heads_without_a_context_cannot_be_steered(tmp_path):
    job = make_job(tmp_path, make_videos(), scorer="steer")
    with pytest.raises(ConfigError, match=r"reads heads and a context: set select\.method"):
        fit.compute(job)


def test_an_svm_that_did_not_converge_is_noted(tmp_path):
    job = make_job(tmp_path, make_videos(), scorer="svm", c=1e4, max_iter=1)
    result = fit.compute(job)
    assert "not converged after 1 iterations" in result.notes[0]
    assert read_json(job.out / "scorer.json")["converged"] is False


def test_settings_name_the_scorers_there_are():
    assert notes(fit.Settings)["scorer"].choices == tuple(SCORERS)
