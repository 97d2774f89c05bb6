"""SteerVAD's scorer: attention heads, rectified as a context asks for (arXiv 2602.24021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from cache.errors import ConfigError, DamagedArtifact
from stages.probes.scorers import adam
from stages.probes.scorers.contract import (
    FitOptions,
    FitReport,
    Rows,
    Shapes,
    SteerOptions,
    require_tensors,
)
from stages.probes.scorers.fitting import one_thread, row_weights, standard
from stages.probes.scorers.rowwise import products, sigmoid, standardised
from stages.probes.scorers.steering import ABLATIONS, Fitted, Layout, SteeredLoss
from stages.probes.spans import Floats, Ints

LAST = 0.1
"""Share of the epochs at whose end the loss is to have settled."""
SETTLED = 0.001
"""Nats: it has where it falls by less over them."""


@dataclass(frozen=True, slots=True, eq=False)
class SteerScorer:
    """Rectified heads h * (1 + s g) under a linear scorer; see steering.py for gate and adapters.

    A row is the heads side by side, then the context. What an ablation has no use for is 0.
    """

    kind: ClassVar[str] = "steer"
    shapes: ClassVar[Shapes] = {
        "gate_in": ("gate", "context"), "gate_offset": ("gate",), "gate_out": ("gate",),
        "gate_bias": (1,), "down": ("heads", "rank", "context"), "up": ("heads", "width", "rank"),
        "still": ("heads", "width"), "weight": ("heads", "width"), "bias": (1,), "ablation": (1,),
        "mean": ("dim",), "scale": ("dim",),
    }  # fmt: skip
    gate_in: Floats
    """[gate, context], for standardised contexts."""
    gate_offset: Floats
    """[gate]"""
    gate_out: Floats
    """[gate]"""
    gate_bias: Floats
    """[1]"""
    down: Floats
    """[heads, rank, context]: A_i."""
    up: Floats
    """[heads, width, rank]: B_i."""
    still: Floats
    """[heads, width]: what tanh is taken of where the adapters do not look at the context."""
    weight: Floats
    """[heads, width], for rectified heads."""
    bias: Floats
    """[1]"""
    ablation: Floats
    """[1]: the place in ABLATIONS."""
    mean: Floats
    """[dim], subtracted from every row."""
    scale: Floats
    """[dim], then divides it; 1 where the fitted rows do not vary."""

    @classmethod
    def fit(cls, rows: Rows, labels: Ints, options: FitOptions) -> tuple[Self, FitReport]:
        """Minimise the loss of `SteeredLoss` by Adam over all rows, on one thread, in float32.

        Standardisation uses the rows as given; balancing comes after it, as weights of the rows.
        Raises ConfigError where nothing says which part of a row is the context.
        """
        steer = options.steer
        if steer is None or not 0 < steer.context < rows.shape[1]:
            raise ConfigError(
                'the scorer "steer" reads heads and a context: set select.method = "separability" '
                'and select.context = "last", or a layer'
            )
        width, rest = divmod(rows.shape[1] - steer.context, steer.heads)
        if rest:
            raise ConfigError(
                f"{steer.heads} heads do not fit in {rows.shape[1] - steer.context} numbers"
            )
        layout = Layout(steer.heads, width, steer.context, steer.gate, steer.rank)
        mean, scale = standard(rows, options)
        loss = SteeredLoss(_fitted((rows - mean) / scale, labels, layout, options), layout, steer)
        with one_thread():
            found, losses = adam.minimise(loss, loss.start(options.seed), steer.epochs, steer.rate)
            gradient = np.zeros_like(found)
            loss(found, gradient)
        before = int(steer.epochs * (1 - LAST))
        report = FitReport(
            iterations=steer.epochs,
            converged=bool(abs(losses[before] - losses[-1]) < SETTLED),
            loss=float(losses[-1]),
            gradient=float(np.abs(gradient).max()),
        )
        return cls(**_whole(loss.named(found), layout, steer), mean=mean, scale=scale), report

    def gate(self, rows: Rows) -> Floats:
        """How far the gate opens for every row, float64 [n]; raises ConfigError for other widths."""
        return self._gate(standardised(rows, self.mean, self.scale)[:, self.weight.size :])

    def _gate(self, context: Floats) -> Floats:
        if self._is("no-gate"):
            return np.where(np.isnan(context[:, 0]), np.nan, 1.0)
        inner = np.maximum(products(context, self.gate_in) + self.gate_offset, 0)
        return sigmoid(np.einsum("nu,u->n", inner, self.gate_out) + self.gate_bias[0])

    def score(self, rows: Rows) -> Floats:
        """The probability of an anomaly, float64 [n]; raises ConfigError for rows of another width."""
        found = standardised(rows, self.mean, self.scale)
        heads, context = found[:, : self.weight.size], found[:, self.weight.size :]
        opened = self._gate(context)[:, np.newaxis] * np.tanh(self._steer(context))
        rectified = heads + opened if self._is("additive") else heads * (1 + opened)
        return sigmoid(np.einsum("nd,d->n", rectified, self.weight.ravel()) + self.bias[0])

    def _steer(self, context: Floats) -> Floats:
        """What tanh is taken of, [n, heads * width]."""
        if self._is("static"):
            return np.tile(self.still.ravel(), (len(context), 1))
        heads, rank, _ = self.down.shape
        low = products(context, self.down.reshape(heads * rank, -1)).reshape(-1, heads, rank)
        # A sum of `rank` numbers for every row by itself.
        inner: Floats = np.einsum("nkr,kdr->nkd", low, self.up)
        return inner.reshape(len(context), self.weight.size)

    def _is(self, ablation: str) -> bool:
        return ABLATIONS[int(self.ablation[0])] == ablation

    def tensors(self) -> dict[str, Floats]:
        """By name, with the shapes of `shapes`."""
        return {name: getattr(self, name) for name in self.shapes}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Floats]) -> Self:
        """The scorer that gave these tensors; raises DamagedArtifact where they cannot be its."""
        require_tensors(cls.kind, cls.shapes, tensors)
        dim = tensors["weight"].size + tensors["gate_in"].shape[1]
        if len(tensors["mean"]) != dim:
            raise DamagedArtifact(
                f"mean of a scorer of kind {cls.kind} is [{dim}], heads and context, found "
                f"{list(tensors['mean'].shape)}"
            )
        if tensors["ablation"][0] not in range(len(ABLATIONS)):
            raise DamagedArtifact(
                f"ablation of a scorer of kind {cls.kind} is 0 to {len(ABLATIONS) - 1}, found "
                f"{tensors['ablation'][0]}"
            )
        return cls(**tensors)


def _fitted(rows: Floats, labels: Ints, layout: Layout, options: FitOptions) -> Fitted:
    """The rows in their parts: half the precision halves the time, and the loss is not that exact."""
    inside = layout.heads * layout.width
    single = rows.astype(np.float32)
    return Fitted(
        np.ascontiguousarray(single[:, :inside]).reshape(-1, layout.heads, layout.width),
        np.ascontiguousarray(single[:, inside:]),
        labels.astype(np.float32),
        row_weights(labels, options).astype(np.float32),
    )


def _whole(learned: dict[str, Floats], layout: Layout, options: SteerOptions) -> dict[str, Floats]:
    """All tensors but those of the standardisation, float64."""
    every = {**layout.shapes("full"), **layout.shapes("static")}
    found = {name: np.zeros(shape) for name, shape in every.items()}
    found |= {name: values.astype(np.float64) for name, values in learned.items()}
    return {**found, "ablation": np.asarray([ABLATIONS.index(options.ablation)], dtype=np.float64)}
