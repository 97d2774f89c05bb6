"""The loss of steered heads is its definition, and its gradient is the loss's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stages.probes.scorers.contract import SteerOptions
from stages.probes.scorers.steering import ABLATIONS, Fitted, Layout, SteeredLoss

LAYOUT = Layout(heads=3, width=4, context=5, gate=6, rank=2)
N = 11
ALL = pytest.mark.parametrize("ablation", ABLATIONS)


def made(ablation: str, penalty: float = 0.3, decay: float = 0.02, dtype: Any = np.float64) -> Any:
    """A loss over random rows, and parameters at which nothing is 0."""
    generator = np.random.default_rng(0)
    rows = Fitted(
        generator.normal(size=(N, 3, 4)).astype(dtype),
        generator.normal(size=(N, 5)).astype(dtype),
        (np.arange(N) % 3 == 0).astype(dtype),
        generator.uniform(0.5, 2, N).astype(dtype),
    )
    options = SteerOptions(heads=3, context=5, ablation=ablation, penalty=penalty, decay=decay)
    loss = SteeredLoss(rows, LAYOUT, options)
    return loss, generator.normal(size=loss.size).astype(dtype)


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def naive(loss: SteeredLoss, vector: Any) -> float:
    """Row by row and number by number, as METHOD.md writes it."""
    at, rows = loss.named(vector), loss.rows
    total, opened, normal = 0.0, 0.0, 0
    for heads, context, label, weight in zip(
        rows.heads, rows.context, rows.labels, rows.weights, strict=True
    ):
        gate = 1.0
        if loss.ablation != "no-gate":
            inner = [max(float(w @ context) + b, 0.0)
                     for w, b in zip(at["gate_in"], at["gate_offset"], strict=True)]  # fmt: skip
            gate = sigmoid(float(np.dot(inner, at["gate_out"])) + at["gate_bias"][0])
        raw = float(at["bias"][0])
        for number, head in enumerate(heads):
            if loss.ablation == "static":
                steer = np.tanh(at["still"][number])
            else:
                steer = np.tanh(at["up"][number] @ (at["down"][number] @ context))
            if loss.ablation == "additive":
                rectified = head + gate * steer
            else:
                rectified = head * (1 + gate * steer)
            raw += float(rectified @ at["weight"][number])
        p = sigmoid(raw)
        total -= weight * (np.log(p) if label else np.log(1 - p))
        if not label:
            opened, normal = opened + gate**2, normal + 1
    found = total / rows.weights.sum()
    if loss.ablation != "no-gate":
        found += loss.penalty * opened / normal
    shrunk = [v for name, v in at.items() if name not in ("gate_offset", "gate_bias", "bias")]
    return float(found + loss.decay / 2 * sum((v**2).sum() for v in shrunk))


@ALL
def test_the_loss_is_its_definition(ablation: str) -> None:
    loss, vector = made(ablation)
    assert loss(vector, np.empty_like(vector)) == pytest.approx(naive(loss, vector), rel=1e-12)


@ALL
def test_every_number_of_the_gradient_is_a_difference_of_losses(ablation: str) -> None:
    loss, vector = made(ablation)
    gradient, spare = np.full_like(vector, np.nan), np.empty_like(vector)
    loss(vector, gradient)
    for place in range(loss.size):
        step = np.zeros_like(vector)
        step[place] = 1e-6
        slope = (loss(vector + step, spare) - loss(vector - step, spare)) / 2e-6
        assert gradient[place] == pytest.approx(slope, rel=1e-6, abs=1e-8), place


@ALL
def test_the_gradient_is_torchs(ablation: str) -> None:
    loss, vector = made(ablation)
    gradient = np.empty_like(vector)
    value = loss(vector, gradient)
    flat = torch.tensor(vector, requires_grad=True)
    at, first = {}, 0
    for name, shape in loss.shapes.items():
        size = int(np.prod(shape))
        at[name] = flat[first : first + size].reshape(shape)
        first += size
    h, c, y, v = (torch.tensor(x) for x in
                  (loss.rows.heads, loss.rows.context, loss.rows.labels, loss.rows.weights))  # fmt: skip
    gate = torch.ones(N, dtype=torch.float64)
    if ablation != "no-gate":
        inner = torch.relu(torch.nn.functional.linear(c, at["gate_in"], at["gate_offset"]))
        gate = torch.sigmoid(inner @ at["gate_out"] + at["gate_bias"])
    if ablation == "static":
        steer = torch.tanh(at["still"])[None]
    else:
        steer = torch.tanh(torch.einsum("nc,krc,kdr->nkd", c, at["down"], at["up"]))
    opened = gate[:, None, None] * steer
    rectified = h + opened if ablation == "additive" else h * (1 + opened)
    raw = (rectified * at["weight"]).sum(dim=(1, 2)) + at["bias"]
    bce = torch.nn.functional.binary_cross_entropy_with_logits(raw, y, weight=v, reduction="sum")
    whole = bce / v.sum()
    if ablation != "no-gate":
        whole = whole + loss.penalty * (gate[y == 0] ** 2).mean()
    for name in at:
        if name not in ("gate_offset", "gate_bias", "bias"):
            whole = whole + loss.decay / 2 * (at[name] ** 2).sum()
    whole.backward()
    assert flat.grad is not None
    assert value == pytest.approx(float(whole.detach()), rel=1e-12)
    np.testing.assert_allclose(gradient, flat.grad.numpy(), rtol=1e-10, atol=1e-13)


@ALL
def test_single_precision_is_the_same_but_for_rounding(ablation: str) -> None:
    (single, few), (double, many) = (made(ablation, dtype=t) for t in (np.float32, np.float64))
    assert few.dtype == single.start(0).dtype == np.float32
    rough, exact = np.empty_like(few), np.empty_like(many)
    assert single(few, rough) == pytest.approx(double(many, exact), rel=1e-5)
    np.testing.assert_allclose(rough, exact, rtol=1e-3, atol=1e-5)


def test_it_begins_at_the_plain_linear_probe() -> None:
    """No head is steered at first, and the two classes have the same score."""
    loss, _ = made("full")
    start = loss.named(loss.start(3))
    for name in ("up", "weight", "bias", "gate_bias", "gate_offset"):
        assert not start[name].any()
    for name, inputs in (("gate_in", 5), ("gate_out", 6), ("down", 5)):
        assert 0 < np.abs(start[name]).max() <= 1 / np.sqrt(inputs)
    assert loss.start(3).tobytes() == loss.start(3).tobytes() != loss.start(4).tobytes()


def test_at_the_size_of_the_paper_it_has_about_520_thousand_parameters() -> None:
    """Four heads of 128 on a model 3584 wide; 519 K of them ours (arXiv 2602.24021 says 520 K)."""
    layout = Layout(heads=4, width=128, context=3584, gate=128, rank=4)
    counts = {a: sum(int(np.prod(s)) for s in layout.shapes(a).values()) for a in ABLATIONS}
    gate, adapters, linear = 128 * 3584 + 2 * 128 + 1, 4 * 4 * (3584 + 128), 4 * 128 + 1
    assert counts == {
        "full": 518_914, "no-gate": adapters + linear, "additive": gate + adapters + linear,
        "static": gate + 4 * 128 + linear,
    }  # fmt: skip
    assert gate + adapters + linear == 518_914
