"""Section [fit]: how the scorer is fitted, and which kind of scorer reads what."""

from __future__ import annotations

from dataclasses import dataclass

from cache.fields import at_least, notes, positive, recipe

STEER = "steer"
"""The kind that reads heads and a context side by side (SteerVAD, arXiv 2602.24021)."""
STREAMING = "streaming"


@dataclass(frozen=True)
class Settings:
    """How the scorer is fitted."""

    scorer: str = recipe(
        "logistic",
        "kind of scorer: logistic, svm (RBF), distance or mahalanobis (to the two class means), "
        "mlp (one hidden layer) or steer (heads steered by a context)",
        choices=("logistic", "svm", "distance", "mahalanobis", "mlp", STEER),
    )
    solver: str = recipe(
        "memory",
        "of logistic: memory (scikit-learn, all rows at once) or streaming (the same, row by row "
        "from the store, for more rows than fit in memory)",
        choices=("memory", STREAMING),
    )
    c: float = recipe(
        1.0, "inverse strength of the L2 penalty (logistic, svm, mlp)", check=positive
    )
    standardise: bool = recipe(True, "give every dimension mean 0 and deviation 1 first")
    balance: str = recipe(
        "weights",
        "what makes both classes count the same: weights, resample or none (not read by distance)",
        choices=("weights", "resample", "none"),
    )
    max_iter: int = recipe(
        1000,
        "most iterations of the optimiser (logistic, mlp), or times that many steps as rows (svm)",
        check=at_least(1),
    )
    seed: int = recipe(
        0, "seed of resampling, folds and first weights (mlp, steer)", check=at_least(0)
    )
    folds: int = recipe(
        5,
        "every probing row is also scored by a scorer that was fitted without its video, in so many "
        "folds of whole videos; 0 is none",
        check=lambda value: None if value == 0 or value >= 2 else "must be 0, or at least 2",
    )
    mlp_hidden: int = recipe(64, "units of the hidden layer of mlp", check=at_least(1))
    mlp_activation: str = recipe(
        "tanh",
        "what they compute: tanh or relu (whose kinks L-BFGS may not get past)",
        choices=("tanh", "relu"),
    )
    steer: str = recipe(
        "full",
        "steer as published (full), or an ablation: no-gate (always on), additive (adds to the "
        "heads) or static (the same for every context)",
        choices=("full", "no-gate", "additive", "static"),
    )
    steer_gate: int = recipe(128, "units of the hidden layer of the gate", check=at_least(1))
    steer_rank: int = recipe(4, "rank of the adapter of a head", check=at_least(1))
    steer_epochs: int = recipe(1000, "steps of Adam, over all rows each", check=at_least(1))
    steer_rate: float = recipe(0.01, "learning rate of Adam", check=positive)
    steer_decay: float = recipe(
        0.005,
        "weight decay: half of it times the squares of all weights is added to the loss",
        check=at_least(0),
    )
    steer_lambda: float = recipe(
        0.1, "what the mean square of the gate over normal rows counts in the loss",
        check=at_least(0),
    )  # fmt: skip


BY_ALL = ("scorer", "standardise", "seed", "folds")
READ_BY: dict[str, tuple[str, ...]] = {
    "logistic": ("solver", "c", "balance", "max_iter"),
    "svm": ("c", "balance", "max_iter"),
    "distance": (),
    "mahalanobis": ("balance",),
    "mlp": ("c", "balance", "max_iter", "mlp_hidden", "mlp_activation"),
    STEER: ("balance", *(name for name in notes(Settings) if name.startswith(STEER))),
}
"""What each kind reads beside `BY_ALL`."""


def read_by(kind: str) -> tuple[str, ...]:
    """The fields that a kind of scorer reads, in order."""
    return tuple(name for name in notes(Settings) if name in (*BY_ALL, *READ_BY[kind]))


def of_other_kinds(kind: str) -> tuple[str, ...]:
    """The fields that it does not read: they change nothing, and stay out of its key."""
    return tuple(name for name in notes(Settings) if name not in read_by(kind))
