"""A scorer is read once per process, and another one is never taken for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cache.digest import write_json
from cache.errors import ConfigError
from stages.probes.scorers import LogisticScorer, save_scorer
from stages.probes.scorers.loaded import loaded_scorer


@dataclass
class Counted:
    """A payload that counts what is read of it."""

    path: Path
    digest: str
    reads: int = 0

    def holds(self, name: str) -> bool:
        return (self.path / name).exists()

    def file(self, name: str) -> Path:
        self.reads += 1
        return self.path / name


def make(folder: Path, bias: float, digest: str) -> Counted:
    folder.mkdir()
    zeros, ones = np.zeros(3), np.ones(3)
    save_scorer(
        folder / "scorer.safetensors", LogisticScorer(ones, np.asarray([bias]), zeros, ones)
    )
    write_json(folder / "scorer.json", {"kind": "logistic", "bias": bias})
    return Counted(folder, digest)


def test_the_same_content_is_read_once_and_other_content_anew(tmp_path: Path) -> None:
    one, two = make(tmp_path / "a", 0.5, "one"), make(tmp_path / "b", -1.0, "two")
    first = loaded_scorer(one)
    assert one.reads == 2
    assert loaded_scorer(one) is first
    assert loaded_scorer(Counted(tmp_path / "gone", "one")) is first  # the same content elsewhere
    assert one.reads == 2
    assert loaded_scorer(two).record["bias"] == -1.0
    assert loaded_scorer(one).record["bias"] == 0.5  # only one is kept
    assert one.reads == 4


def test_one_that_cannot_be_used_is_not_remembered(tmp_path: Path) -> None:
    bad = make(tmp_path / "a", 0.5, "bad")
    write_json(tmp_path / "a" / "scorer.json", {"kind": "oracle"})
    for _ in range(2):
        with pytest.raises(ConfigError, match="oracle"):
            loaded_scorer(bad)
