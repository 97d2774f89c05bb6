"""What a scorer is: fitted on rows of hidden states, saved as tensors, gives scores in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from cache.errors import DamagedArtifact
from stages.probes.spans import Floats, Ints

Rows = npt.NDArray[np.float32]
Shapes = Mapping[str, tuple[str | int, ...]]
"""Tensors by name with their shapes; sizes of the same name are equal, a number is that size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SteerOptions:
    """What only steer reads (SteerVAD, arXiv 2602.24021, section 3)."""

    heads: int
    """The heads that stand side by side at the beginning of a row."""
    context: int
    """Numbers of the context, which stands behind them."""
    ablation: str = "full"
    """full, no-gate, additive or static."""
    gate: int = 128
    """Units of the hidden layer of the gate."""
    rank: int = 4
    """Of the adapters."""
    epochs: int = 1000
    rate: float = 0.01
    """Learning rate of Adam."""
    decay: float = 0.005
    """Half of it times the squares of all weights is added to the loss."""
    penalty: float = 0.1
    """lambda: what the mean square of the gate over normal rows counts in the loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How a scorer is fitted; a kind reads what concerns it."""

    c: float
    """Inverse strength of the L2 penalty: logistic, svm, mlp."""
    standardise: bool
    """Subtract the mean and divide by the standard deviation of the fitted rows."""
    balance: str
    """weights, resample or none: all but distance, where each class is one mean."""
    max_iter: int
    """Most iterations: of L-BFGS (logistic, mlp), or times that many steps as rows (svm)."""
    seed: int
    """Of the resampling and of the first weights."""
    hidden: int = 64
    """Units of the hidden layer: mlp."""
    activation: str = "tanh"
    """Of the hidden layer, tanh or relu: mlp."""
    steer: SteerOptions | None = None
    """None for all other kinds."""


@dataclass(frozen=True, slots=True)
class FitReport:
    """How a fit ended."""

    iterations: int
    """Counted as FitOptions.max_iter is, epochs of steer; 0 where the fit is a closed formula."""
    converged: bool
    loss: float | None = None
    """What was minimised, at its end; None where the kind has no such figure."""
    gradient: float | None = None
    """Largest absolute number in the gradient of the loss there."""


class Scorer(Protocol):
    """A fitted scorer."""

    kind: ClassVar[str]
    shapes: ClassVar[Shapes]
    """Of its tensors."""

    @classmethod
    def fit(cls, rows: Rows, labels: Ints, options: FitOptions) -> tuple[Self, FitReport]:
        """Fit to rows [n, dim] with labels [n] of 0 and 1, both present."""
        ...

    def score(self, rows: Rows) -> Floats:
        """How anomalous each row of [n, dim] is: float64 [n] in [0, 1], larger is more.

        A row's score depends on that row alone, to the last bit, and is NaN where the row is not
        finite. Raises ConfigError for rows of another width than the fitted ones.
        """
        ...

    def tensors(self) -> dict[str, Floats]:
        """The parameters by name, float64."""
        ...

    @classmethod
    def from_tensors(cls, tensors: dict[str, Floats]) -> Self:
        """The scorer that gave these tensors; raises DamagedArtifact where they cannot be its."""
        ...


def require_tensors(kind: str, shapes: Shapes, tensors: Mapping[str, Floats]) -> None:
    """Raise DamagedArtifact where tensors are missing, too many, or of shapes that do not agree."""
    if set(tensors) != set(shapes):
        raise DamagedArtifact(
            f"a scorer of kind {kind} holds {tuple(shapes)}, found {sorted(tensors)}"
        )
    sizes: dict[str | int, int] = {}
    for name, shape in shapes.items():
        found = tensors[name].shape
        # The first tensor that has a size gives it its value; a number stands for itself.
        agree = len(found) == len(shape) and all(
            size == (wanted if isinstance(wanted, int) else sizes.setdefault(wanted, size))
            for wanted, size in zip(shape, found, strict=True)
        )
        if not agree:
            known = {key: size for key, size in sizes.items() if key in shape}
            raise DamagedArtifact(
                f"{name} of a scorer of kind {kind} is {list(shape)} with {known}, found "
                f"{list(found)}"
            )
