"""The logistic scorer is scikit-learn's, its scores are its own and survive their file."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cache.digest import write_json
from cache.errors import ConfigError, DamagedArtifact
from stages.probes.scorers import (
    SCORERS,
    FitOptions,
    LogisticScorer,
    load_scorer,
    save_scorer,
    sigmoid,
)


def options(**changed):
    given = {"c": 1.0, "standardise": True, "balance": "weights", "max_iter": 1000, "seed": 0}
    return FitOptions(**{**given, **changed})


def samples(seed=0, n=90, dim=6, share=0.3):
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < share).astype(np.int64)
    labels[:2] = (0, 1)
    rows = generator.normal(10, 3, size=(n, dim)).astype(np.float32)
    rows[:, 0] += 2 * labels
    return rows, labels


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 10.0]), st.booleans())
def test_coefficients_and_scores_equal_scikit_learns(seed, c, balanced):
    rows, labels = samples(seed)
    balance, weights = ("weights", "balanced") if balanced else ("none", None)
    scorer, report = LogisticScorer.fit(rows, labels, options(c=c, balance=balance))
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(C=c, class_weight=weights, max_iter=1000)
    ).fit(rows.astype(np.float64), labels)
    np.testing.assert_allclose(scorer.weight, reference[-1].coef_[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scorer.bias, reference[-1].intercept_, rtol=1e-6, atol=1e-9)
    expected = reference.predict_proba(rows.astype(np.float64))[:, 1]
    np.testing.assert_allclose(scorer.score(rows), expected, rtol=1e-6)
    assert report.converged
    assert report.iterations == reference[-1].n_iter_[0]


def test_without_standardisation_the_rows_are_fitted_as_they_are():
    rows, labels = samples()
    scorer, _ = LogisticScorer.fit(rows, labels, options(standardise=False, balance="none"))
    reference = LogisticRegression(C=1.0, max_iter=1000).fit(rows.astype(np.float64), labels)
    np.testing.assert_allclose(scorer.weight, reference.coef_[0], rtol=1e-6)
    assert scorer.mean.tolist() == [0.0] * 6
    assert scorer.scale.tolist() == [1.0] * 6


def test_a_constant_dimension_has_scale_1_and_no_weight():
    rows, labels = samples()
    for value in (0.1, -3e4, 1e-30, 0.0):
        rows[:, 3] = value
        scorer, _ = LogisticScorer.fit(rows, labels, options())
        assert scorer.scale[3] == 1.0
        assert scorer.mean[3] == rows[0, 3]
        assert scorer.weight[3] == 0.0


def test_resampling_makes_the_classes_equally_frequent():
    rows, labels = samples(n=103, share=0.15)
    scorer, _ = LogisticScorer.fit(rows, labels, options(balance="resample"))
    again, _ = LogisticScorer.fit(rows, labels, options(balance="resample"))
    other, _ = LogisticScorer.fit(rows, labels, options(balance="resample", seed=1))
    assert scorer.weight.tobytes() == again.weight.tobytes()
    assert scorer.weight.tobytes() != other.weight.tobytes()
    weighted, _ = LogisticScorer.fit(rows, labels, options(balance="weights"))
    plain, _ = LogisticScorer.fit(rows, labels, options(balance="none"))
    assert abs(scorer.bias[0] - weighted.bias[0]) < abs(scorer.bias[0] - plain.bias[0])


def test_resampling_by_a_whole_number_equals_repeating_the_rows():
    rows, labels = samples()
    few = np.flatnonzero(labels == 1)[:10]
    kept = np.concatenate([np.flatnonzero(labels == 0)[:30], few])
    scorer, _ = LogisticScorer.fit(
        rows[kept], labels[kept], options(balance="resample", standardise=False)
    )
    order = np.sort(np.concatenate([np.arange(30), np.tile(np.arange(30, 40), 3)]))
    repeated = rows[kept][order].astype(np.float64)
    reference = LogisticRegression(C=1.0, max_iter=1000).fit(repeated, labels[kept][order])
    np.testing.assert_allclose(scorer.weight, reference.coef_[0], rtol=1e-6)


def test_a_fit_that_stops_early_says_so():
    _, report = LogisticScorer.fit(*samples(), options(max_iter=1))
    assert report == type(report)(iterations=1, converged=False)


def test_scores_survive_the_file_bit_by_bit(tmp_path):
    rows, labels = samples()
    scorer, _ = LogisticScorer.fit(rows, labels, options())
    save_scorer(tmp_path / "scorer.safetensors", scorer)
    write_json(tmp_path / "scorer.json", {"kind": "logistic"})
    assert load_scorer(tmp_path).score(rows).tobytes() == scorer.score(rows).tobytes()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_a_rows_score_does_not_depend_on_its_neighbours(n, dim, seed):
    generator = np.random.default_rng(seed)
    scorer = LogisticScorer(
        generator.normal(size=dim), np.ones(1), np.zeros(dim), np.full(dim, 3.0)
    )
    rows = generator.normal(size=(n, dim)).astype(np.float32)
    together = scorer.score(rows)
    assert together.shape == (n,)
    at = int(generator.integers(n))
    assert scorer.score(rows[at : at + 1])[0] == together[at]


def test_the_sigmoid_is_stable_at_both_ends():
    found = sigmoid(np.asarray([-1e4, -745.0, 0.0, 1.5, 745.0, 1e4]))
    assert found[0] == 0.0
    assert found[2] == 0.5
    assert found[3] == pytest.approx(1 / (1 + np.exp(-1.5)), rel=1e-15)
    assert found[-1] == 1.0


def test_rows_of_another_width_are_refused():
    scorer, _ = LogisticScorer.fit(*samples(), options())
    with pytest.raises(ConfigError, match=r"fitted on \[n, 6\], hidden states are \[2, 5\]"):
        scorer.score(np.zeros((2, 5), dtype=np.float32))


def test_an_unknown_kind_and_missing_tensors_are_refused(tmp_path):
    write_json(tmp_path / "scorer.json", {"kind": "oracle"})
    with pytest.raises(ConfigError, match=r"'oracle' is unknown.*logistic"):
        load_scorer(tmp_path)
    with pytest.raises(DamagedArtifact, match="holds"):
        SCORERS["logistic"].from_tensors({"weight": np.zeros(2)})


def test_scoring_does_not_import_scikit_learn():
    text = "import sys, stages.probes.scorers; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0
