"""The scorers by kind, and the files that one is kept in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from cache.digest import read_json
from cache.errors import ConfigError, DamagedArtifact
from stages.probes.scorers.contract import Scorer
from stages.probes.scorers.distance import DistanceScorer, MahalanobisScorer
from stages.probes.scorers.logistic import LogisticScorer
from stages.probes.scorers.mlp import MlpScorer
from stages.probes.scorers.steer import SteerScorer
from stages.probes.scorers.svm import SvmScorer

SCORERS: dict[str, type[Scorer]] = {
    LogisticScorer.kind: LogisticScorer,
    SvmScorer.kind: SvmScorer,
    DistanceScorer.kind: DistanceScorer,
    MahalanobisScorer.kind: MahalanobisScorer,
    MlpScorer.kind: MlpScorer,
    SteerScorer.kind: SteerScorer,
}
"""Scorers by kind."""

WEIGHTS = "scorer.safetensors"


def save_scorer(path: Path, scorer: Scorer) -> None:
    """Write a scorer's tensors as safetensors."""
    # Not save_file, whose error does not say that the disk is full.
    path.write_bytes(save(dict(scorer.tensors())))


def load_scorer(folder: Path) -> Scorer:
    """The scorer in a folder that holds scorer.json and scorer.safetensors.

    Raises ConfigError for a kind that this version does not know, DamagedArtifact where the file is
    not readable, holds anything but finite float64 numbers, or not those of the kind.
    """
    kind = read_json(folder / "scorer.json").get("kind")
    if kind not in SCORERS:
        raise ConfigError(f"scorer.json: kind {kind!r} is unknown, expected one of {list(SCORERS)}")
    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise DamagedArtifact(
            f"{WEIGHTS} is not readable ({error}); fit the scorer again"
        ) from error
    for name, found in tensors.items():
        if found.dtype != np.float64 or not np.isfinite(found).all():
            raise DamagedArtifact(
                f"{name} in {WEIGHTS} is {found.dtype} with {int((~np.isfinite(found)).sum())} "
                "numbers that are not finite, expected finite float64; fit the scorer again"
            )
    return SCORERS[kind].from_tensors(tensors)
