"""Heads that a context steers, and what their scorer minimises (SteerVAD, arXiv 2602.24021).

A gate s in [0, 1] and an adapter g_i in [-1, 1]^width for each head i look at the context c:

    s = sigmoid(v . relu(W c + a) + e)    g_i = tanh(B_i A_i c)    h'_i = h_i * (1 + s * g_i)

and a linear scorer reads the rectified heads h'_i. The loss is binary cross-entropy plus lambda times
the mean of s^2 over normal rows, so that the gate opens where an anomaly is told by it and nowhere
else; and half the weight decay times the squares of all weights, without which steps of Adam, which
are as large for noise as for what tells the classes apart, fit a few hundred rows by chance. No code
is published: width and activation of the gate, rank, optimiser and decay are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.probes.scorers.contract import SteerOptions
from stages.probes.scorers.rowwise import sigmoid

ABLATIONS = ("full", "no-gate", "additive", "static")
"""By the number that a scorer's file gives: with s = 1 (no-gate), h + s g (additive), and with g_i =
tanh(t_i), which are numbers of their own and no function of the context (static)."""
Numbers = npt.NDArray[Any]
"""float64 or float32."""
BIASES = {"gate_offset", "gate_bias", "bias"}
"""Parameters that the weight decay leaves alone."""
Parameters = dict[str, Numbers]


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a steered scorer."""

    heads: int
    width: int
    """Of a head."""
    context: int
    gate: int
    """Units of the hidden layer of the gate."""
    rank: int

    def shapes(self, ablation: str) -> dict[str, tuple[int, ...]]:
        """The parameters that are learned, by name."""
        gate: dict[str, tuple[int, ...]] = {
            "gate_in": (self.gate, self.context),
            "gate_offset": (self.gate,),
            "gate_out": (self.gate,),
            "gate_bias": (1,),
        }
        adapters: dict[str, tuple[int, ...]] = {
            "down": (self.heads, self.rank, self.context),
            "up": (self.heads, self.width, self.rank),
        }
        return {
            **({} if ablation == "no-gate" else gate),
            **({"still": (self.heads, self.width)} if ablation == "static" else adapters),
            "weight": (self.heads, self.width),
            "bias": (1,),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The rows of a fit."""

    heads: Numbers
    """[n, heads, width]"""
    context: Numbers
    """[n, context]"""
    labels: Numbers
    """[n], 0 or 1."""
    weights: Numbers
    """[n], what every row counts in the cross-entropy."""


class SteeredLoss:
    """The loss and its gradient at parameters that lie behind one another in one vector.

    In the precision of the rows.
    """

    def __init__(self, rows: Fitted, layout: Layout, options: SteerOptions):
        self.rows = rows
        self.ablation = options.ablation
        self.penalty = options.penalty
        self.decay = options.decay
        self.shapes = layout.shapes(options.ablation)
        self.size = sum(int(np.prod(shape)) for shape in self.shapes.values())

    def named(self, vector: Numbers) -> Parameters:
        """Views of a vector by name."""
        found, first = {}, 0
        for name, shape in self.shapes.items():
            after = first + int(np.prod(shape))
            found[name] = vector[first:after].reshape(shape)
            first = after
        return found

    def start(self, seed: int) -> Numbers:
        """First parameters: no head is steered, and the scorer is 0.

        `gate_in` and `down` are uniform in +-1 / sqrt(inputs), as linear layers commonly begin; with
        `up` at 0 every g_i is 0, so that the fit begins at the plain linear probe.
        """
        vector = np.zeros(self.size, self.rows.heads.dtype)
        generator = np.random.default_rng(seed)
        named = self.named(vector)
        for name in ("gate_in", "gate_out", "down"):
            if name in named:
                bound = 1 / np.sqrt(named[name].shape[-1])
                named[name][...] = generator.uniform(-bound, bound, named[name].shape)
        return vector

    def __call__(self, vector: Numbers, gradient: Numbers) -> float:
        """The loss at `vector`; writes its gradient into `gradient`, of the same size."""
        at, into = self.named(vector), self.named(gradient)
        loss = self._of_rows(at, into)
        for name in (name for name in at if name not in BIASES):
            into[name] += self.decay * at[name]
            loss += self.decay / 2 * float(np.vdot(at[name], at[name]))
        return loss

    def _of_rows(self, at: Parameters, into: Parameters) -> float:
        rows = self.rows
        inner, gate = self._gate(at)
        low, steer = self._adapters(at)
        opened = gate[:, np.newaxis, np.newaxis] * steer
        added = self.ablation == "additive"
        rectified = rows.heads + opened if added else rows.heads * (1 + opened)
        raw = np.einsum("nkd,kd->n", rectified, at["weight"]) + at["bias"][0]
        loss, pull = self._cross_entropy(raw)
        into["weight"][...] = np.einsum("n,nkd->kd", pull, rectified)
        into["bias"][0] = pull.sum()
        on_opened = pull[:, np.newaxis, np.newaxis] * at["weight"]
        if not added:
            on_opened *= rows.heads
        on_gate = np.einsum("nkd,nkd->n", on_opened, steer)
        on_steer = on_opened * gate[:, np.newaxis, np.newaxis]
        self._adapters_back(at, into, low, on_steer * (1 - steer * steer))
        if self.ablation == "no-gate":
            return loss
        share = (1 - rows.labels) / (1 - rows.labels).sum()
        on_gate += 2 * self.penalty * share * gate
        self._gate_back(at, into, inner, on_gate * gate * (1 - gate))
        return loss + self.penalty * float(share @ (gate * gate))

    def _cross_entropy(self, raw: Numbers) -> tuple[float, Numbers]:
        labels, weights = self.rows.labels, self.rows.weights / self.rows.weights.sum()
        loss = float(weights @ (np.logaddexp(0.0, raw) - labels * raw))
        return loss, weights * (sigmoid(raw) - labels)

    def _gate(self, at: Parameters) -> tuple[Numbers, Numbers]:
        """The hidden layer of the gate [n, gate], and the gate [n]."""
        n = len(self.rows.labels)
        if self.ablation == "no-gate":
            dtype = self.rows.context.dtype
            return np.zeros((n, 0), dtype), np.ones(n, dtype)
        inner = np.maximum(self.rows.context @ at["gate_in"].T + at["gate_offset"], 0)
        return inner, sigmoid(inner @ at["gate_out"] + at["gate_bias"][0])

    def _gate_back(self, at: Parameters, into: Parameters, inner: Numbers, pull: Numbers) -> None:
        """Gradients from that on what the sigmoid of the gate is taken of."""
        into["gate_out"][...] = pull @ inner
        into["gate_bias"][0] = pull.sum()
        on_inner = np.outer(pull, at["gate_out"]) * (inner > 0)
        into["gate_offset"][...] = on_inner.sum(axis=0)
        np.matmul(on_inner.T, self.rows.context, out=into["gate_in"])

    def _adapters(self, at: Parameters) -> tuple[Numbers, Numbers]:
        """A_i c [heads, n, rank], and g_i [n, heads, width]."""
        if self.ablation == "static":
            return np.zeros(0), np.tanh(at["still"])[np.newaxis]
        heads, rank, size = at["down"].shape
        low = (self.rows.context @ at["down"].reshape(heads * rank, size).T).reshape(
            -1, heads, rank
        )
        low = low.transpose(1, 0, 2)
        return low, np.tanh(np.matmul(low, at["up"].transpose(0, 2, 1))).transpose(1, 0, 2)

    def _adapters_back(self, at: Parameters, into: Parameters, low: Numbers, pull: Numbers) -> None:
        """Gradients from that on what the tanh of the adapters is taken of [n, heads, width]."""
        if self.ablation == "static":
            into["still"][...] = pull.sum(axis=0)
            return
        heads, rank, size = at["down"].shape
        by_head = pull.transpose(1, 0, 2)
        np.matmul(by_head.transpose(0, 2, 1), low, out=into["up"])
        on_low = np.matmul(by_head, at["up"]).transpose(1, 0, 2).reshape(-1, heads * rank)
        np.matmul(on_low.T, self.rows.context, out=into["down"].reshape(heads * rank, size))
