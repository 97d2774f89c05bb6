"""Stage threshold: a number, what it rests on, and what others would do."""

import numpy as np
import pytest

from cache.digest import read_json
from cache.errors import ConfigError, LeakageError
from cache.fields import notes
from manifests.schema import SENSITIVITY
from manifests.table import read_table, table_digest
from stages import threshold
from stages.contract import Job
from tests.payload import Folder
from tests.training import as_written_before, write_scores

TRAINING = [
    ("t/a", "train", "1f", 1, 0.5), ("t/a", "train", "1f", 1, 0.7),
    ("t/n", "train", "0f", 0, 0.2), ("t/n", "train", "0f", 0, 0.4),
]  # fmt: skip
HELD_OUT = [0.45, 0.65, 0.25, 0.35]
SCORES = [row[4] for row in TRAINING]
MU, SIGMA = float(np.mean(SCORES)), float(np.std(SCORES))
EVERY_RULE = ["kappa", "fixed:0.5", "f1"]


def computed(tmp_path, rows=TRAINING, held_out=HELD_OUT, before=False, said=None, **changed):
    """The result, the record and the table of a threshold over these probing scores."""
    (tmp_path / "out").mkdir()
    said = {"kind": "logistic", "labels": "frame", "unit": "segment"} if said is None else said
    write_scores(tmp_path / "scorer", rows, held_out, **said)
    if before:
        (tmp_path / "scorer/scorer.safetensors").write_bytes(b"weights")
        as_written_before(tmp_path / "scorer")
    settings = threshold.Settings(**{"sigma": 0.0, **changed})
    inputs = {"scorer": Folder(tmp_path / "scorer")}
    result = threshold.compute(Job("dataset", settings, tmp_path / "out", inputs))
    table = read_table(tmp_path / "out/sensitivity.parquet", SENSITIVITY).to_pydict()
    return result, read_json(tmp_path / "out/threshold.json"), table


def test_it_lies_kappa_deviations_above_the_mean_of_the_probing_scores(tmp_path):
    result, found, _ = computed(tmp_path, kappa=-1.0)
    assert found == {
        "threshold": MU - SIGMA, "rule": "kappa", "mu": MU, "sigma": SIGMA, "kappa": -1.0,
        "scorer": "logistic", "labels": "frame", "unit": "segment",
        "probing_scores": {
            "digest": table_digest(tmp_path / "scorer/probing_scores.parquet"),
            "rows": 4, "videos": 2,
        },
        "smoothing": {"sigma": 0.0, "sigma_unit": "segments", "mode": "reflect"},
        "search": None,
        "training_rows": {
            "scores": "held_out", "videos": 2, "rows": 4, "normal_frames": 48,
            "anomalous_frames": 48, "normal_hours": 2 / 3600, "precision": 48 / 72, "recall": 1.0,
            "f1": 0.8, "normal_above": 0.5, "alarms_per_hour": 1800.0,
        },
    }  # fmt: skip
    assert result.notes == ()


def test_a_fixed_one_is_what_was_given_and_says_how_many_deviations_that_is(tmp_path):
    _, found, _ = computed(tmp_path, threshold="fixed:0.5", kappa=7.0)
    assert (found["threshold"], found["rule"]) == (0.5, "fixed:0.5")
    assert (found["mu"], found["sigma"]) == (MU, SIGMA)
    assert found["kappa"] == pytest.approx((0.5 - MU) / SIGMA, rel=1e-12)
    assert found["training_rows"]["recall"] == 0.5


def test_f1_is_searched_for_on_the_held_out_scores(tmp_path):
    _, found, _ = computed(tmp_path, threshold="f1")
    # 0.35 to 0.44 tell the held-out rows apart; the fitted ones ask for 0.4 to 0.49.
    assert found["threshold"] == 0.39
    assert found["rule"] == "f1"
    assert found["search"] == {
        "step": 0.01, "tried": 99, "equally_good": 10, "from": 0.35, "to": 0.44,
    }  # fmt: skip
    assert found["kappa"] == pytest.approx((0.39 - MU) / SIGMA, rel=1e-12)
    assert found["training_rows"]["f1"] == 1.0


def test_f1_looks_at_scores_that_are_smoothed_as_localize_smooths_them(tmp_path):
    _, found, _ = computed(tmp_path, threshold="f1", sigma=50.0, mode="nearest")
    # Rows of a video become almost alike: 0.2996 and 0.3004, 0.5496 and 0.5504.
    assert (found["search"]["from"], found["search"]["to"]) == (0.31, 0.54)
    assert found["smoothing"] == {"sigma": 50.0, "sigma_unit": "segments", "mode": "nearest"}


def test_f1_takes_the_grid_that_is_asked_for(tmp_path):
    _, found, _ = computed(tmp_path, threshold="f1", f1_step=0.2)
    assert (found["threshold"], found["search"]["tried"]) == (0.4, 4)


def test_f1_without_held_out_scores_says_what_to_do(tmp_path):
    with pytest.raises(
        ConfigError, match=r'= "f1": .*fit\.folds = 2 or more.*"kappa" or "fixed:T"'
    ):
        computed(tmp_path, held_out=None, threshold="f1")


@pytest.mark.parametrize(("labels", "noted"), [("frame", False), ("video", True), (None, True)])
def test_f1_of_labels_of_whole_videos_works_and_says_so(tmp_path, labels, noted):
    said = {} if labels is None else {"labels": labels}
    result, found, _ = computed(tmp_path, threshold="f1", said=said)
    assert found["labels"] == labels
    told = [note for note in result.notes if 'set data.probing_labels = "frame"' in note]
    assert len(told) == noted
    assert len(result.notes) == noted


@pytest.mark.parametrize("rule", ["kappa", "fixed:0.5"])
def test_a_scorer_of_an_older_hiprobe_still_gives_a_threshold(tmp_path, rule):
    result, found, table = computed(tmp_path, before=True, threshold=rule)
    assert found["threshold"] == (0.5 if rule == "fixed:0.5" else MU + 0.2 * SIGMA)
    assert found["training_rows"] is None
    assert table["kappa"] == []
    (note,) = result.notes
    assert note.startswith("no threshold is shown on training rows: the probing scores")
    assert note.endswith("fit it again")


def test_a_scorer_of_an_older_hiprobe_has_nothing_to_search_in(tmp_path):
    with pytest.raises(ConfigError, match=r'"f1": .* of an older hiprobe.*fit it again, or set'):
        computed(tmp_path, before=True, threshold="f1")


def test_the_table_says_what_other_kappas_would_do(tmp_path):
    _, found, table = computed(tmp_path)
    at = table["kappa"].index(0.2)
    assert table["threshold"][at] == found["threshold"]
    shares = ("precision", "recall", "f1", "normal_above", "alarms_per_hour")
    assert {n: table[n][at] for n in shares} == {n: found["training_rows"][n] for n in shares}


def test_without_held_out_scores_the_table_is_of_the_fitted_ones(tmp_path):
    _, found, table = computed(tmp_path, held_out=None)
    assert found["training_rows"]["scores"] == "fitted"
    assert table["recall"][table["kappa"].index(0.2)] == 1.0  # 0.5 and 0.7; 0.45 was held out


def test_scores_that_are_all_the_same_are_no_deviation(tmp_path):
    rows = [(*row[:4], 0.5) for row in TRAINING]
    _, found, table = computed(tmp_path, rows, threshold="fixed:0.25")
    assert found["kappa"] is None
    assert set(table["threshold"]) == {0.5}


def test_times_that_are_unusable_cost_the_table_and_not_the_threshold(tmp_path, monkeypatch):
    still = lambda segments: {  # noqa: E731
        "segment": list(segments), "start_frame": [24 * n for n in segments],
        "end_frame": [24 * n + 24 for n in segments],
        "start_s": [0.0] * len(segments), "end_s": [0.0] * len(segments),
    }  # fmt: skip
    monkeypatch.setattr("tests.training.spans_of", still)
    result, found, table = computed(tmp_path, sigma=1.0, sigma_unit="seconds")
    assert found["threshold"] == MU + 0.2 * SIGMA
    assert (found["training_rows"], table["kappa"]) == (None, [])
    assert 'set sigma_unit = "segments"' in result.notes[0]
    (tmp_path / "again").mkdir()
    with pytest.raises(ConfigError, match=r'"f1": t/a: .*sigma_unit = "segments", or set'):
        computed(tmp_path / "again", sigma=1.0, sigma_unit="seconds", threshold="f1")


@pytest.mark.parametrize("rule", EVERY_RULE)
@pytest.mark.parametrize("held_out", [0.5, None])
def test_scores_of_other_rows_than_training_rows_are_refused_by_name(tmp_path, rule, held_out):
    rows = [*TRAINING, ("t/x", "test", "2f", 1, 0.7)]
    with pytest.raises(LeakageError, match=r"^t/x: its split is 'test'"):
        computed(tmp_path, rows, [*HELD_OUT, held_out], threshold=rule)


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_the_same_inputs_give_the_same_bytes(tmp_path, rule):
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        computed(tmp_path / name, threshold=rule)
        found.append([path.read_bytes() for path in sorted((tmp_path / name / "out").iterdir())])
    assert found[0] == found[1]
    assert len(found[0]) == 2


@pytest.mark.parametrize("rule", ["kappa", "f1", "fixed:0.5", "fixed:1", "fixed:-0.1"])
def test_rules_that_are_known(rule):
    assert notes(threshold.Settings)["threshold"].check(rule) is None


@pytest.mark.parametrize(
    "rule", ["", "Kappa", "F1", "f1:0.5", "fixed", "fixed:", "fixed:x", "fixed:nan", "0.5"]
)
def test_rules_that_are_not(rule):
    assert "fixed:0.5" in notes(threshold.Settings)["threshold"].check(rule)
