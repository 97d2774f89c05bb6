"""Steered heads tell what no fixed reading of the heads does; their file is theirs alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cache.errors import ConfigError, DamagedArtifact
from stages.probes.scorers import LogisticScorer, Rows, SteerScorer
from stages.probes.scorers.steering import ABLATIONS
from stages.probes.spans import Ints
from tests.fitting import options, samples, steering

ALL = pytest.mark.parametrize("ablation", ABLATIONS)


def signed(seed: int, n: int, told: bool = False) -> tuple[Rows, Ints]:
    """Two heads of 4 and a context of 4, whose first number says which sign an anomaly has.

    Where it is `told`, the second number of the context is larger for anomalies.
    """
    generator = np.random.default_rng(seed)
    labels = (generator.random(n) < 0.4).astype(np.int64)
    context = generator.normal(size=(n, 4))
    sign = np.sign(context[:, 0])
    context[:, 0] += 2 * sign
    context[:, 1] += 4 * labels * told
    heads = generator.normal(size=(n, 8))
    heads[:, 0] += 3 * labels * sign
    heads[:, 5] -= 3 * labels * sign
    return np.concatenate([heads, context], axis=1).astype(np.float32), labels


def fitted(rows: Rows, labels: Ints, **changed: Any) -> Any:
    few = {"heads": 2, "epochs": 300, "gate": 16, "rank": 4, **changed}
    return SteerScorer.fit(rows, labels, options(steer=steering(8, **few)))


@pytest.fixture(scope="module")
def rows() -> tuple[Rows, Ints]:
    return signed(0, 600)


def test_steered_heads_beat_a_linear_probe_where_the_context_gives_them_their_meaning(
    rows: tuple[Rows, Ints],
) -> None:
    others, truth = signed(1, 1500)
    linear, _ = LogisticScorer.fit(*rows, options())  # of the heads and the context
    assert roc_auc_score(truth, linear.score(others)) < 0.6
    scorer, report = fitted(*rows)
    assert roc_auc_score(truth, scorer.score(others)) > 0.93
    assert report.loss is not None
    assert report.loss < 0.4 < np.log(2)


def test_the_gate_stays_low_on_normal_rows_and_opens_on_anomalous_ones() -> None:
    """As the loss has it: the mean square of the gate over normal rows costs something."""
    others, truth = signed(1, 800, told=True)
    gates = {}
    for penalty in (0.0, 0.1):
        scorer, _ = fitted(*signed(0, 500, told=True), penalty=penalty)
        gate = scorer.gate(others)
        assert ((gate >= 0) & (gate <= 1)).all()
        gates[penalty] = gate[truth == 0].mean(), gate[truth == 1].mean()
    assert gates[0.1][0] < 0.25
    assert gates[0.1][1] > 0.8
    assert gates[0.0][0] > gates[0.1][0]


@ALL
def test_a_score_is_torchs_forward(ablation: str, rows: tuple[Rows, Ints]) -> None:
    scorer, _ = fitted(*rows, ablation=ablation, epochs=40)
    at = {name: torch.tensor(value) for name, value in scorer.tensors().items()}
    x = (torch.tensor(rows[0], dtype=torch.float64) - at["mean"]) / at["scale"]
    h, c = x[:, :8].reshape(-1, 2, 4), x[:, 8:]
    inner = torch.relu(torch.nn.functional.linear(c, at["gate_in"], at["gate_offset"]))
    gate = torch.sigmoid(inner @ at["gate_out"] + at["gate_bias"])
    steer = torch.tanh(torch.einsum("nc,krc,kdr->nkd", c, at["down"], at["up"]))
    if ablation == "no-gate":
        gate = torch.ones_like(gate)
    if ablation == "static":
        steer = torch.tanh(at["still"])[None]
    opened = gate[:, None, None] * steer
    rectified = h + opened if ablation == "additive" else h * (1 + opened)
    expected = torch.sigmoid((rectified * at["weight"]).sum(dim=(1, 2)) + at["bias"])
    np.testing.assert_allclose(scorer.score(rows[0]), expected.numpy(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(scorer.gate(rows[0]), gate.numpy(), rtol=0, atol=1e-9)


@ALL
def test_what_an_ablation_has_no_use_for_is_0(ablation: str, rows: tuple[Rows, Ints]) -> None:
    tensors = fitted(*rows, ablation=ablation, epochs=5)[0].tensors()
    idle = {"no-gate": {"gate_in", "gate_offset", "gate_out", "gate_bias"},
            "static": {"down", "up"}}.get(ablation, set())  # fmt: skip
    still = set() if ablation == "static" else {"still"}
    learned = set(tensors) - {"mean", "scale", "ablation"}
    assert {name for name in learned if not tensors[name].any()} == idle | still
    assert ABLATIONS[int(tensors["ablation"][0])] == ablation


def test_the_seed_decides_about_the_bits(rows: tuple[Rows, Ints]) -> None:
    steer = steering(8, heads=2, epochs=20)
    found = [
        SteerScorer.fit(*rows, options(steer=steer, seed=seed))[0].gate_in.tobytes()
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("balance", ["weights", "resample", "none"])
def test_balance_makes_the_classes_count_the_same(balance: str) -> None:
    """Rows that tell nothing: the score is the share of anomalous rows as they count."""
    generator = np.random.default_rng(0)
    labels = (np.arange(200) < 20).astype(np.int64)
    nothing = generator.normal(size=(200, 4)).astype(np.float32)
    steer = steering(4, epochs=800, decay=1.0)
    scorer, _ = SteerScorer.fit(nothing, labels, options(balance=balance, steer=steer))
    expected = 0.1 if balance == "none" else 0.5
    np.testing.assert_allclose(scorer.score(nothing), expected, atol=0.03)


def test_it_says_whether_the_loss_has_settled(rows: tuple[Rows, Ints]) -> None:
    _, short = fitted(*rows, epochs=20)
    assert (short.iterations, short.converged) == (20, False)
    _, long = fitted(*signed(0, 60), epochs=1500, decay=0.1)
    assert (long.iterations, long.converged) == (1500, True)
    assert long.gradient is not None
    assert long.gradient < 0.01


def test_rows_whose_parts_nobody_names_are_refused() -> None:
    made, labels = samples(dim=6)
    with pytest.raises(ConfigError, match=r'set select.method = "separability" .* select.context'):
        SteerScorer.fit(made, labels, options())
    for context in (0, 6, 7):
        with pytest.raises(ConfigError, match="reads heads and a context"):
            SteerScorer.fit(made, labels, options(steer=steering(6, context=context)))
    with pytest.raises(ConfigError, match="2 heads do not fit in 3 numbers"):
        SteerScorer.fit(made, labels, options(steer=steering(6, heads=2)))


def test_tensors_that_do_not_agree_are_refused(rows: tuple[Rows, Ints]) -> None:
    tensors = fitted(*rows, epochs=2)[0].tensors()
    for number in (4.0, -1.0, 0.5):
        with pytest.raises(DamagedArtifact, match=f"ablation of .* is 0 to 3, found {number}"):
            SteerScorer.from_tensors({**tensors, "ablation": np.asarray([number])})
    longer = {name: np.ones(13) for name in ("mean", "scale")}
    with pytest.raises(
        DamagedArtifact, match=r"mean of .* is \[12\], heads and context, .* \[13\]"
    ):
        SteerScorer.from_tensors({**tensors, **longer})
