"""The small backbone, built and loaded once for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.backbones.load import family_of
from stages.backbones.multimodal import Multimodal
from tests.small_backbone import build_backbone

Clip = list[NDArray[np.uint8]]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    build_backbone(folder)
    return folder


@pytest.fixture(scope="session")
def backbone(checkpoint: Path) -> Multimodal:
    return Multimodal(family_of(checkpoint), "float32", "sdpa", "cpu")


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    """Five clips of eight pictures [60, 80, 3]."""
    generator = np.random.default_rng(5)
    return [list(generator.integers(0, 256, (8, 60, 80, 3), dtype=np.uint8)) for _ in range(5)]
