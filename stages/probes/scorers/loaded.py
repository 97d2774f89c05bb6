"""A scorer is loaded once per process: of Mahalanobis it is 134 MB, and every video is scored by it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cache.digest import read_json
from stages.contract import Payload
from stages.probes.scorers.contract import Scorer
from stages.probes.scorers.registry import WEIGHTS, load_scorer


@dataclass(frozen=True, slots=True, eq=False)
class LoadedScorer:
    """A scorer and its record."""

    record: Mapping[str, Any]
    """scorer.json."""
    scorer: Scorer


_LOADED: dict[str, LoadedScorer] = {}
_LOCK = threading.Lock()


def loaded_scorer(payload: Payload) -> LoadedScorer:
    """The scorer of a payload, its files checked; the next call for the same content gives the same.

    Only the last one is kept. Raises what `load_scorer` raises, DamagedArtifact.
    """
    with _LOCK:
        digest = payload.digest
        if digest not in _LOADED:
            record = read_json(payload.file("scorer.json"))
            found = LoadedScorer(record, load_scorer(payload.file(WEIGHTS).parent))
            _LOADED.clear()
            _LOADED[digest] = found
        return _LOADED[digest]
