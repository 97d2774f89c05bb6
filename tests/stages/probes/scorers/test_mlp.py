"""The perceptron is scikit-learn's, with scores of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier

from cache.errors import DamagedArtifact
from stages.probes.scorers import MlpScorer
from tests.fitting import options, samples


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**20), st.integers(1, 30), st.integers(1, 9), st.sampled_from(["tanh", "relu"]),
    st.sampled_from([0.1, 1.0, 10.0]),
)  # fmt: skip
def test_scores_are_scikit_learns_probabilities(
    seed: int, dim: int, hidden: int, activation: str, c: float
) -> None:
    rows, labels = samples(seed, dim=dim)
    chosen = options(hidden=hidden, activation=activation, c=c, balance="none", max_iter=50, seed=4)
    scorer, report = MlpScorer.fit(rows, labels, chosen)
    reference = MLPClassifier(
        (hidden,), activation=activation, solver="lbfgs", alpha=1 / c, max_iter=50, max_fun=750,
        random_state=4,
    )  # fmt: skip
    inputs = (rows.astype(np.float64) - scorer.mean) / scorer.scale
    with pytest.MonkeyPatch.context() as patch:
        # That scikit-learn warns where it stops early is of no interest here.
        patch.setattr("warnings.warn", lambda *given, **named: None)
        reference.fit(inputs, labels)
    np.testing.assert_allclose(
        scorer.score(rows), reference.predict_proba(inputs)[:, 1], atol=1e-12
    )
    assert (report.iterations, report.loss) == (reference.n_iter_, reference.loss_)
    assert (scorer.hidden.shape, scorer.out.shape) == ((hidden, dim), (hidden,))


def test_the_scores_are_those_of_the_formula() -> None:
    rows, labels = samples(n=20)
    for activation in ("tanh", "relu"):
        scorer, _ = MlpScorer.fit(rows, labels, options(hidden=3, activation=activation))
        tensors = scorer.tensors()
        for row, score in zip(rows.astype(np.float64), scorer.score(rows), strict=True):
            x = (row - tensors["mean"]) / tensors["scale"]
            inner = [float(np.dot(w, x)) + b for w, b in
                     zip(tensors["hidden"], tensors["offset"], strict=True)]  # fmt: skip
            units = [np.tanh(u) if activation == "tanh" else max(u, 0.0) for u in inner]
            raw = (
                sum(o * u for o, u in zip(tensors["out"], units, strict=True)) + tensors["bias"][0]
            )
            assert score == pytest.approx(1 / (1 + np.exp(-raw)), rel=1e-12)


@pytest.mark.parametrize("balance", ["weights", "resample"])
def test_balance_makes_the_classes_count_the_same(balance: str) -> None:
    """Rows that tell nothing: the score is the share of anomalous rows as they count."""
    generator = np.random.default_rng(0)
    labels = (np.arange(200) < 20).astype(np.int64)
    rows = generator.normal(size=(200, 2)).astype(np.float32)
    even, _ = MlpScorer.fit(rows, labels, options(balance=balance, c=1e-3))
    plain, _ = MlpScorer.fit(rows, labels, options(balance="none", c=1e-3))
    np.testing.assert_allclose(even.score(rows), 0.5, atol=0.01)
    np.testing.assert_allclose(plain.score(rows), 0.1, atol=0.01)


def test_it_parts_what_no_plane_does() -> None:
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(400, 2)).astype(np.float32)
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(np.int64)
    scorer, report = MlpScorer.fit(rows[:300], labels[:300], options(c=100.0, hidden=16))
    assert ((scorer.score(rows[300:]) > 0.5) == labels[300:]).mean() > 0.93
    assert report.converged


def test_a_fit_that_stops_early_says_so() -> None:
    _, report = MlpScorer.fit(*samples(), options(max_iter=2))
    assert (report.iterations, report.converged) == (2, False)


@pytest.mark.parametrize("number", [2.0, -1.0, 0.5])
def test_an_activation_that_is_none_is_refused(number: float) -> None:
    scorer, _ = MlpScorer.fit(*samples(n=20), options(hidden=2))
    tensors = {**scorer.tensors(), "activation": np.asarray([number])}
    with pytest.raises(
        DamagedArtifact, match=f"activation of a scorer .* is 0 or 1, found {number}"
    ):
        MlpScorer.from_tensors(tensors)
