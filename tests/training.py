"""What shows that figures and scorers rest on training rows, as stages before would write it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cache.digest import read_json, write_json
from manifests.schema import PROBING_SCORES, TRAINING_ROWS
from manifests.table import read_table, write_table
from stages.probes.training import LATER, fitted_files

SMUGGLED = "test/fight_02"
"""A test video of the small run."""

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


def spans_of(segments: Sequence[int]) -> dict[str, list[float]]:
    """Columns of segments of 24 frames at 24 frames/s."""
    return {
        "segment": list(segments),
        "start_frame": [24 * number for number in segments],
        "end_frame": [24 * number + 24 for number in segments],
        "start_s": [float(number) for number in segments],
        "end_s": [number + 1.0 for number in segments],
    }


def write_scores(
    folder: Path,
    rows: Sequence[Row],
    held_out: Sequence[float | None] | None = None,
    **said: object,
) -> tuple[float, float]:
    """probing_scores.parquet, and mu and sigma of it in scorer.json; returns the two.

    `said` is what else scorer.json says.
    """
    folder.mkdir(exist_ok=True)
    videos, splits, digests, labels, scores = map(list, zip(*rows, strict=True))
    columns = {
        "video_id": videos,
        "split": splits,
        "digest": digests,
        **spans_of([videos[:n].count(name) for n, name in enumerate(videos)]),
        "label": labels,
        "score": scores,
        "held_out": [None] * len(scores) if held_out is None else list(held_out),
    }
    write_table(folder / "probing_scores.parquet", PROBING_SCORES, columns)
    described = folder / "scorer.json"
    mu, sigma = float(np.mean(scores)), float(np.std(scores))
    before = read_json(described) if described.exists() else {}
    write_json(described, {**before, "mu": mu, "sigma": sigma, **said})
    return mu, sigma


def as_written_before(folder: Path) -> None:
    """The probing scores as hiprobe wrote them before: version 2, which does not say of which frames they are."""
    path = folder / "probing_scores.parquet"
    columns = tuple(c for c in PROBING_SCORES.columns if c.name not in LATER)
    older = dataclasses.replace(PROBING_SCORES, version=2, columns=columns)
    found = read_table(path, PROBING_SCORES).select(list(older.names)).to_pydict()
    write_table(path, older, found)
    record = read_json(folder / "scorer.json")
    write_json(folder / "scorer.json", {**record, "files": fitted_files(folder)})


def copy_scorer(scorer: Path, folder: Path) -> None:
    """A copy of a scorer without its check sums, as somebody leaves it who goes on to change it."""
    shutil.copytree(scorer, folder, ignore=shutil.ignore_patterns("SHA256SUMS"))


def forged_scorer(scorer: Path, folder: Path, *, tie: bool = False, **changed: object) -> Path:
    """A copy of a scorer with a row of a test video among those of its fit.

    mu and sigma are made to agree; with `tie`, so are the digests in scorer.json.
    """
    copy_scorer(scorer, folder)
    path = folder / "probing_scores.parquet"
    found = read_table(path, PROBING_SCORES).to_pydict()
    row = {"video_id": SMUGGLED, "split": "test", "digest": "f" * 64, "label": 1, "score": 0.5}
    row |= {name: values[0] for name, values in spans_of([0]).items()}
    row |= {"held_out": None if None in found["held_out"] else 0.5, **changed}
    write_table(path, PROBING_SCORES, {name: [*found[name], row[name]] for name in found})
    score = read_table(path, PROBING_SCORES)["score"].to_numpy()
    record = read_json(folder / "scorer.json")
    record |= {"mu": float(score.mean()), "sigma": float(score.std())}
    if tie:
        record["files"] = fitted_files(folder)
    write_json(folder / "scorer.json", record)
    return folder
