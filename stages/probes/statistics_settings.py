"""Section [statistics]: what is said of the layers. Two stages read it; moments reads one knob."""

from __future__ import annotations

from dataclasses import dataclass

from cache.fields import at_least, knob, positive, recipe

OF_STATISTICS = ("bins", "eps", "silhouette_samples", "seed", "replicates")
"""Fields that only the stage statistics reads."""


@dataclass(frozen=True)
class Settings:
    """How the layers are described."""

    bins: int = recipe(64, "equal bins of the entropy's histograms", check=at_least(2))
    eps: float = recipe(1e-6, "floor of a variance in KL, and what LDR adds", check=positive)
    silhouette_samples: int = recipe(
        2000, "rows the silhouette is computed on; more are sampled", check=at_least(2)
    )
    seed: int = recipe(0, "seed of that sample and of the replicates", check=at_least(0))
    replicates: int = recipe(
        200, "replicates of a bootstrap over the probing videos; 0 is none", check=at_least(0)
    )
    workers: int = knob(2, "threads that read hidden states and count", check=at_least(1))
