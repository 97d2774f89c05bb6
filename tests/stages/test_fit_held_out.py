"""Stage fit: scores of rows that a scorer has not seen, and rows that do not fit in memory."""

import dataclasses
import tracemalloc

import numpy as np
import psutil
import pytest
from sklearn.metrics import roc_auc_score

from cache.digest import read_json
from cache.errors import ConfigError
from manifests.schema import PROBING_SCORES
from manifests.table import read_table
from stages import fit
from stages.probes.folds import video_folds
from stages.probes.probing_rows import FITTED, HELD, memory_bytes
from stages.probes.samples import probed_rows
from stages.probes.scorers import SCORERS, FitOptions, SteerOptions, load_scorer
from tests.fit_jobs import (
    LABELS,
    MANY,
    MANY_LABELS,
    make_job,
    make_videos,
    many_videos,
    write_steered,
)
from tests.fitting import options_of, samples


def held_out_of(job):
    return read_table(job.out / "probing_scores.parquet", PROBING_SCORES)


@pytest.mark.parametrize("kind", ["logistic", "svm", "mlp"])
def test_a_held_out_score_is_that_of_a_fit_without_the_video(tmp_path, kind):
    """Fold by fold, by the scorer itself: standardised and balanced on what is fitted alone."""
    videos = many_videos()
    job = make_job(
        tmp_path, videos, labels=MANY_LABELS, scorer=kind, folds=3, seed=4, balance="resample"
    )
    assert fit.compute(job).notes == ()
    table = held_out_of(job)
    labels = [np.full(MANY[name][1], MANY[name][0]) for name in sorted(MANY)]
    fold = video_folds(labels, 3, 4)
    options = FitOptions(c=1.0, standardise=True, balance="resample", max_iter=1000, seed=4)
    for number, name in enumerate(sorted(MANY)):
        others = [k for k in range(len(MANY)) if fold[k] != fold[number]]
        assert number not in others
        rows = np.concatenate([videos[sorted(MANY)[k]][:, 2] for k in others])
        scorer, _ = SCORERS[kind].fit(rows, np.concatenate([labels[k] for k in others]), options)
        found = table.filter(np.asarray(table["video_id"]) == name)["held_out"].to_numpy()
        np.testing.assert_array_equal(found, scorer.score(videos[name][:, 2]))
    record = read_json(job.out / "scorer.json")
    held = table["held_out"].to_numpy()
    assert record["folds"] == 3
    assert record["held_out_auc"] == pytest.approx(roc_auc_score(table["label"], held), rel=1e-12)
    assert record["held_out_auc"] < record["train_auc"]
    assert np.abs(held - table["score"].to_numpy()).max() > 1e-3


def test_held_out_fits_side_by_side_give_the_bits_of_one_after_the_other(tmp_path):
    videos = many_videos()
    job = make_job(tmp_path, videos, labels=MANY_LABELS, scorer="steer", folds=4, steer_epochs=30)
    _, rows = write_steered(tmp_path, videos)
    fit.compute(job)
    names = sorted(MANY)
    counts = [MANY[name][1] for name in names]
    labels = np.repeat([MANY[name][0] for name in names], counts)
    fold = np.repeat(video_folds(np.split(labels, np.cumsum(counts)[:-1]), 4, 0), counts)
    steer = SteerOptions(heads=2, context=6, epochs=30)
    options = FitOptions(
        c=1.0, standardise=True, balance="weights", max_iter=1000, seed=0, steer=steer
    )
    expected = np.empty(len(labels))
    for number in range(4):
        seen = fold != number
        scorer, _ = SCORERS["steer"].fit(rows[seen], labels[seen], options)
        expected[~seen] = scorer.score(rows[~seen])
    np.testing.assert_array_equal(held_out_of(job)["held_out"].to_numpy(), expected)


def test_other_folds_change_the_held_out_scores_and_nothing_else(tmp_path):
    found = {}
    for folds in (0, 2, 4, 50):
        job = make_job(tmp_path, many_videos(), labels=MANY_LABELS, folds=folds, out=f"o{folds}")
        assert fit.compute(job).notes == ()
        record = read_json(job.out / "scorer.json")
        assert record["folds"] == min(folds, 4)  # of four anomalous videos, each in a fold
        table = held_out_of(job)
        found[folds] = table["held_out"].to_pylist()
        assert table["score"].to_pylist() == pytest.approx(
            found.setdefault("score", table["score"].to_pylist()), abs=0
        )
    assert found[0] == [None] * len(found[0])
    assert found[4] == found[50] != found[2]
    assert None not in found[2]


def test_without_two_videos_of_a_class_nothing_is_held_out_and_that_is_said(tmp_path):
    job = make_job(tmp_path, make_videos(), folds=5)
    result = fit.compute(job)
    assert result.notes == (
        "no probing row has a held-out score: that takes two probing videos of each class",
    )
    assert held_out_of(job)["held_out"].to_pylist() == [None] * 64
    record = read_json(job.out / "scorer.json")
    assert (record["folds"], record["held_out_auc"]) == (0, None)


def test_held_out_fits_that_did_not_converge_are_counted(tmp_path):
    job = make_job(tmp_path, many_videos(), labels=MANY_LABELS, folds=3, max_iter=1)
    notes = fit.compute(job).notes
    assert notes[1] == "3 of 3 held-out fits had not converged"


def test_the_labels_are_said_to_be_those_of_videos_or_of_frames(tmp_path):
    for name, labels, said in (("video", MANY_LABELS, "video"), ("frame", LABELS, "frame")):
        videos = many_videos() if name == "video" else make_videos()
        (tmp_path / name).mkdir()
        job = make_job(tmp_path / name, videos, labels=labels)
        fit.compute(job)
        assert read_json(job.out / "scorer.json")["labels"] == said


@pytest.mark.parametrize("balance", ["weights", "resample"])
def test_streaming_gives_what_the_fit_in_memory_gives(tmp_path, balance):
    found = {}
    for solver in ("memory", "streaming"):
        job = make_job(tmp_path, many_videos(), labels=MANY_LABELS, out=solver, solver=solver,
                       folds=3, balance=balance)  # fmt: skip
        assert fit.compute(job).notes == ()
        table = held_out_of(job)
        found[solver] = (load_scorer(job.out), table, read_json(job.out / "scorer.json"))
    (one, rows, said), (two, others, also) = found["memory"], found["streaming"]
    assert (one.kind, said["iterations"]) == (two.kind, also["iterations"])
    np.testing.assert_allclose(one.weight, two.weight, atol=1e-9)
    for name in ("score", "held_out"):
        np.testing.assert_allclose(rows[name], others[name], atol=1e-9)
    assert also["settings"]["solver"] == "streaming"
    assert also["loss"] == pytest.approx(said["loss"], rel=1e-12)


def test_streaming_never_holds_more_than_one_long_video(tmp_path, monkeypatch):
    """Each is read in every pass, and let go before the next one; only short ones are read ahead."""
    monkeypatch.setattr("stages.probes.probing_rows.AHEAD_BYTES", 1)
    videos, alive, most, reads = many_videos(), [0], [0], []

    class Watched(np.ndarray):
        def __del__(self):
            alive[0] -= self.base is None

    def watched(*given):
        found = probed_rows(*given)
        held = np.ndarray.__new__(Watched, found.shape, found.dtype)
        held[...] = found
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        reads.append(given[0])
        return held

    monkeypatch.setattr("stages.probes.probing_rows.probed_rows", watched)
    job = make_job(tmp_path, videos, labels=MANY_LABELS, solver="streaming")
    fit.compute(job)
    assert len(reads) > 10 * len(MANY)
    assert most[0] <= 2  # one in hand while the next is opened


def test_what_does_not_fit_in_memory_names_the_solver(tmp_path, monkeypatch):
    needed = 64 * 6 * (HELD + FITTED)
    monkeypatch.setattr("stages.probes.probing_rows.memory_bytes", lambda: needed - 1)
    with pytest.raises(
        ConfigError, match=r'64 probing rows of 6 .*: set .* fit\.solver = "streaming"'
    ):
        fit.compute(make_job(tmp_path, make_videos(), out="one"))
    fit.compute(make_job(tmp_path, make_videos(), out="two", solver="streaming"))
    monkeypatch.setattr("stages.probes.probing_rows.memory_bytes", lambda: needed)
    fit.compute(make_job(tmp_path, make_videos(), out="three"))


@pytest.mark.parametrize("kind", ["logistic", "distance", "mahalanobis", "mlp", "steer"])
@pytest.mark.parametrize("balance", ["weights", "resample"])
def test_a_fit_needs_no_more_memory_than_it_is_said_to(kind, balance):
    rows, labels = samples(n=10000, dim=400, share=0.5)
    chosen = options_of(kind, 400, epochs=2, balance=balance, max_iter=3)
    SCORERS[kind].fit(rows[:100], labels[:100], chosen)  # what is imported once
    tracemalloc.start()
    SCORERS[kind].fit(rows, labels, chosen)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak + rows.nbytes <= FITTED * rows.size


def test_the_order_in_which_videos_come_changes_nothing(tmp_path):
    outs = []
    for name, order in (("one", 1), ("two", -1)):
        job = make_job(tmp_path, many_videos(), labels=MANY_LABELS, out=name, folds=3)
        many = {role: dict(list(given.items())[::order]) for role, given in job.many.items()}
        fit.compute(dataclasses.replace(job, many=many))
        outs.append({path.name: path.read_bytes() for path in job.out.iterdir()})
    assert outs[0] == outs[1]


def test_the_memory_of_the_machine_is_what_psutil_says():
    assert memory_bytes() == psutil.virtual_memory().total


@pytest.mark.parametrize("solver", ["memory", "streaming"])
def test_a_hidden_state_that_is_not_finite_is_named(tmp_path, solver):
    videos = make_videos()
    videos["b"][7, 2, 3] = np.nan
    with pytest.raises(ConfigError, match="b: the hidden state of segment 7 is not finite"):
        fit.compute(make_job(tmp_path, videos, solver=solver))
