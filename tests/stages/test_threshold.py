"""Stage threshold: a number, and what it rests on."""

import numpy as np
import pytest

from cache.digest import read_json
from cache.errors import LeakageError
from cache.fields import notes
from stages import threshold
from stages.contract import Job
from tests.payload import Folder
from tests.training import write_scores

TRAINING = [("t/n", "train", "0f", 0, 0.2), ("t/a", "train", "1f", 1, 0.7)]
MU, SIGMA = float(np.mean([0.2, 0.7])), float(np.std([0.2, 0.7]))


def record_of(tmp_path, rows=TRAINING, **changed):
    (tmp_path / "out").mkdir()
    write_scores(tmp_path / "scorer", rows)
    inputs = {"scorer": Folder(tmp_path / "scorer")}
    threshold.compute(Job("dataset", threshold.Settings(**changed), tmp_path / "out", inputs))
    return read_json(tmp_path / "out/threshold.json")


def test_it_lies_kappa_deviations_above_the_mean_of_the_probing_scores(tmp_path):
    found = record_of(tmp_path, kappa=-1.0)
    assert found == {
        "threshold": MU - SIGMA, "rule": "kappa", "mu": MU, "sigma": SIGMA, "kappa": -1.0,
    }  # fmt: skip


def test_a_fixed_one_is_what_was_given(tmp_path):
    found = record_of(tmp_path, threshold="fixed:0.5")
    assert (found["threshold"], found["rule"]) == (0.5, "fixed:0.5")


@pytest.mark.parametrize("rule", ["kappa", "fixed:0.5"])
def test_scores_of_other_rows_than_training_rows_are_refused_by_name(tmp_path, rule):
    with pytest.raises(LeakageError, match=r"^t/x: its split is 'test'"):
        record_of(tmp_path, [*TRAINING, ("t/x", "test", "2f", 1, 0.7)], threshold=rule)


@pytest.mark.parametrize("rule", ["kappa", "fixed:0.5", "fixed:1", "fixed:-0.1"])
def test_rules_that_are_known(rule):
    assert notes(threshold.Settings)["threshold"].check(rule) is None


@pytest.mark.parametrize("rule", ["", "Kappa", "fixed", "fixed:", "fixed:x", "fixed:nan", "0.5"])
def test_rules_that_are_not(rule):
    assert "fixed:0.5" in notes(threshold.Settings)["threshold"].check(rule)
