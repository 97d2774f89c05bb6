"""What shows that figures and scorers rest on training rows, as stages before would write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cache.digest import read_json, write_json
from manifests.schema import PROBING_SCORES, TRAINING_ROWS
from manifests.table import write_table

Row = tuple[str, str, str, int, float]
"""Video id, split, digest of its file, label and score of one segment."""


def write_rows(
    folder: Path, videos: Mapping[str, tuple[int, int]], splits: Mapping[str, str] | None = None
) -> None:
    """training_rows.parquet: (normal, anomalous) samples by video id; splits other than train."""
    columns = {
        "video_id": list(videos),
        "split": [(splits or {}).get(name, "train") for name in videos],
        "n_normal": [n for n, _ in videos.values()],
        "n_anomalous": [n for _, n in videos.values()],
    }
    write_table(folder / "training_rows.parquet", TRAINING_ROWS, columns)


def labels_of(videos: Sequence[str]) -> dict[str, dict[str, object]]:
    """The value "labels" of training videos; what is not their split is not looked at."""
    return {name: {"split": "train", "label": 0, "intervals": None} for name in videos}


def write_scores(folder: Path, rows: Sequence[Row]) -> tuple[float, float]:
    """probing_scores.parquet, and mu and sigma of it in scorer.json; returns the two."""
    folder.mkdir(exist_ok=True)
    videos, splits, digests, labels, scores = map(list, zip(*rows, strict=True))
    columns = {
        "video_id": videos,
        "split": splits,
        "digest": digests,
        "segment": [videos[:n].count(name) for n, name in enumerate(videos)],
        "label": labels,
        "score": scores,
    }
    write_table(folder / "probing_scores.parquet", PROBING_SCORES, columns)
    described = folder / "scorer.json"
    mu, sigma = float(np.mean(scores)), float(np.std(scores))
    said = read_json(described) if described.exists() else {}
    write_json(described, {**said, "mu": mu, "sigma": sigma})
    return mu, sigma
