"""The one door to selection, fit, threshold and kappa: rows of training videos pass, no others.

Labels come through `segment_labels`, the table that a choice rests on through `read_training_rows`,
the scores that a threshold rests on through `training_scores` and `training_series`. Each asks every video for its split
and refuses by name what is not "train": what chooses or fits never gets the rows of another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cache.digest import file_digest, read_json
from cache.errors import ConfigError, LeakageError
from manifests.columns import TableSchema
from manifests.schema import PROBING_SCORES, TRAINING_ROWS
from manifests.table import read_table, table_digest, write_table
from stages.contract import Payload
from stages.probes.spans import SPAN_NAMES, Floats, Ints, Spans, spans_of

TRAIN = "train"
ROWS = "training_rows.parquet"
SCORES = "probing_scores.parquet"
WEIGHTS = "scorer.safetensors"
Origin = tuple[str, str, str]
"""Where a row comes from: video id, split, sha256 of the file."""
ORIGIN = ("video_id", "split", "digest")
"""Its columns."""
LATER = (*SPAN_NAMES[1:], "held_out")
"""Columns that the probing scores of an older hiprobe lack, and that not every threshold rests on."""
AGREEMENT = 1e-9
"""Relative: mu and sigma of one table may differ by roundings from machine to machine."""


def require_training(item: str, split: Any) -> None:
    """Raise LeakageError, with the name of the video, unless its split is "train"."""
    if split != TRAIN:
        raise LeakageError(
            f"{item}: its split is {split!r}, and selection, fit and threshold rest on training "
            f"videos alone (split {TRAIN!r}): leave it out of the probing subset, or correct its "
            "split in the labels, and run again"
        )


def label_of(item: str, labels: Mapping[str, Any]) -> Any:
    """The entry of one video; raises ConfigError where there is none."""
    if item not in labels:
        raise ConfigError(f"{item}: it is a probing video and has no label; add it to the labels")
    return labels[item]


def segment_labels(item: str, label: Any, spans: Spans) -> Ints:
    """Label of every segment of a training video, 0 normal or 1 anomalous, [segments].

    `label` is {"split": "train", "label": 0 | 1, "intervals": null | [[start_frame, end_frame],
    ...]}: with null every segment has the video's label, with a list a segment is anomalous where
    half or more of its frames lie in the half-open intervals. Raises LeakageError for another split,
    ConfigError for a label that contradicts itself.
    """
    require_training(item, label.get("split"))
    value, intervals = label["label"], label["intervals"]
    if value not in (0, 1):
        raise ConfigError(f"{item}: label is {value!r}, expected 0 (normal) or 1 (anomalous)")
    if intervals is None:
        return np.full(len(spans), value, dtype=np.int64)
    if bool(intervals) != bool(value):
        raise ConfigError(
            f"{item}: label is {value} and {len(intervals)} intervals are annotated; give an "
            'anomalous video its intervals and a normal one none, or use labels = "video"'
        )
    inside = np.zeros(len(spans), dtype=np.int64)
    done = 0
    for start, end in sorted(intervals):
        if not 0 <= start < end:
            raise ConfigError(f"{item}: the interval [{start}, {end}) holds no frame")
        # Where intervals overlap, a frame counts once.
        first = np.maximum(spans.start_frame, max(start, done))
        inside += np.maximum(np.minimum(spans.end_frame, end) - first, 0)
        done = max(done, end)
    labels: Ints = (2 * inside >= spans.end_frame - spans.start_frame).astype(np.int64)
    return labels


def require_both_classes(n_normal: int, n_anomalous: int) -> None:
    """Raise ConfigError unless both classes have at least one probing sample."""
    for name, count in (("normal", n_normal), ("anomalous", n_anomalous)):
        if count == 0:
            raise ConfigError(
                f"the probing subset has no {name} sample ({n_normal} normal, {n_anomalous} "
                f"anomalous); add at least one {name} training video to it, or correct its labels"
            )


def write_training_rows(path: Path, labels: Mapping[str, Any], samples: Mapping[str, Ints]) -> None:
    """Write beside a table of figures which videos it rests on (schema.TRAINING_ROWS).

    `labels` are the entries of `segment_labels`, `samples` what it gave, both by video id.
    """
    videos = sorted(samples)
    anomalous = [int(samples[video].sum()) for video in videos]
    columns = {
        "video_id": videos,
        "split": [labels[video]["split"] for video in videos],
        "n_normal": [len(samples[v]) - n for v, n in zip(videos, anomalous, strict=True)],
        "n_anomalous": anomalous,
    }
    write_table(path, TRAINING_ROWS, columns)


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """How many rows of how many training videos a table of figures rests on."""

    videos: int
    n_normal: int
    n_anomalous: int

    def record(self) -> dict[str, int]:
        """What selection.json says of them."""
        return {"videos": self.videos, "n_normal": self.n_normal, "n_anomalous": self.n_anomalous}


def read_training_rows(
    table: Payload, labels: Mapping[str, Any], figures: Mapping[str, Any]
) -> TrainingRows:
    """What a table of figures rests on, after a look at every video of it.

    `figures` are the columns of that table, `labels` what the data set says of the probing videos
    now: a video must be of the training split there and in the artifact. Raises LeakageError for
    one that is not, and where the artifact does not say, or says other numbers than its table.
    """
    if not table.holds(ROWS):
        raise LeakageError(
            f"select: the figures come without {ROWS}, so that nobody can say which videos they "
            "rest on: run statistics (or heads) again"
        )
    found = _read(table.file(ROWS), TRAINING_ROWS).to_pydict()
    for video, split in zip(found["video_id"], found["split"], strict=True):
        require_training(video, split)
        if video not in labels:
            raise LeakageError(
                f"{video}: the figures rest on it, and it is not in the probing subset: run "
                "statistics (or heads) again"
            )
        require_training(video, labels[video].get("split"))
    rows = TrainingRows(len(found["video_id"]), sum(found["n_normal"]), sum(found["n_anomalous"]))
    said = {*zip(figures["n_normal"], figures["n_anomalous"], strict=True)}
    if said - {(rows.n_normal, rows.n_anomalous)}:
        raise LeakageError(
            f"select: the figures rest on {sorted(said)} (normal, anomalous) rows, the training "
            f"videos of {ROWS} have {(rows.n_normal, rows.n_anomalous)}: run statistics (or heads) "
            "again"
        )
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class TrainingScores:
    """A scorer's scores of the rows that it was fitted on; made of training rows or not at all.

    Raises LeakageError, when it is made, for a video of another split.
    """

    score: Floats
    """[rows], in order of video id and segment."""
    origins: frozenset[Origin]
    """Of all rows."""

    def __post_init__(self) -> None:
        """Refuse what is not of the training split, however the scores came here."""
        for video, split, _ in sorted(self.origins):
            require_training(video, split)

    @property
    def mu(self) -> float:
        """Their mean."""
        return float(self.score.mean())

    @property
    def sigma(self) -> float:
        """Their standard deviation (ddof 0)."""
        return float(self.score.std())

    def threshold(self, kappa: float) -> float:
        """T = mu + kappa sigma (HiProbe-VAD, arXiv 2507.17394)."""
        return self.mu + kappa * self.sigma

    def sources(self) -> dict[str, str]:
        """Video id by the sha256 of its file."""
        return {digest: video for video, _, digest in sorted(self.origins)}


def require_unseen(fitted: Mapping[str, str], tested: Mapping[str, str]) -> None:
    """Raise LeakageError where one of the videos to test (sha256 by video id) was fitted on.

    `fitted` is `TrainingScores.sources`. Bytes are compared and not names, which may be the same in
    two data sets.
    """
    seen = [video for video, digest in sorted(tested.items()) if digest and digest in fitted]
    if seen:
        shown = ", ".join(f"{v} (as {fitted[tested[v]]})" for v in seen[:5])
        more = f" and {len(seen) - 5} more" if len(seen) > 5 else ""
        plural = "s" if len(seen) > 1 else ""
        raise LeakageError(
            f"the scorer was fitted on the very files of {len(seen)} test video{plural}: {shown}"
            f"{more}; "
            "figures on them would say nothing of videos that it has not seen: use a scorer that "
            "was fitted without them, or take them out of the test split"
        )


def training_scores(scorer: Payload) -> TrainingScores:
    """The scores that a threshold may rest on, from the folder of a scorer.

    Raises LeakageError where one is of no training row, or where mu and sigma in scorer.json, which
    people read, are not those of the table; ConfigError for a score that is not finite.
    """
    table = _read(scorer.file(SCORES), PROBING_SCORES)
    if not len(table):
        raise LeakageError(f"{SCORES} has no row: nothing says what the scorer was fitted on")
    _require_finite("score", table.column("score").to_numpy())
    origins = table.group_by(list(ORIGIN), use_threads=False).aggregate([])
    found = TrainingScores(
        table.column("score").to_numpy(),
        frozenset(zip(*(origins.column(n).to_pylist() for n in ORIGIN), strict=True)),
    )
    record = read_json(scorer.file("scorer.json"))
    for name, value in (("mu", found.mu), ("sigma", found.sigma)):
        said = record.get(name, math.nan)
        if not math.isclose(said, value, rel_tol=AGREEMENT, abs_tol=AGREEMENT):
            raise LeakageError(
                f"scorer.json gives {name} = {said}, the training rows of {SCORES} give "
                f"{value}: a threshold rests on these rows alone; fit the scorer again"
            )
    return found


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSeries:
    """The scores of one training video, segment after segment; of no other video.

    Raises LeakageError, when it is made, for a video of another split.
    """

    video_id: str
    split: str
    spans: Spans
    labels: Ints
    """[segments], 0 normal or 1 anomalous, as used in the fit."""
    fitted: Floats
    """[segments], by the scorer, which was fitted on them."""
    held_out: Floats | None
    """[segments], by a scorer that was fitted without this video; None where there is none."""

    def __post_init__(self) -> None:
        """Refuse what is not of the training split, however the scores came here."""
        require_training(self.video_id, self.split)


def training_series(scorer: Payload) -> tuple[TrainingSeries, ...]:
    """The training videos that a scorer was fitted on, in order of their ids, with their scores.

    None of them where the table is of an older hiprobe, which did not say which frames its rows are
    of. Raises LeakageError for a row of another split, ConfigError for a table that contradicts
    itself.
    """
    table = _read(scorer.file(SCORES), PROBING_SCORES)
    if any(name not in table.column_names for name in LATER):
        return ()
    table = table.sort_by([("video_id", "ascending"), ("segment", "ascending")])
    codes = table.column("video_id").combine_chunks().dictionary_encode().indices.to_numpy()
    borders = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1], [True])))
    return tuple(
        _series(table.slice(first, stop - first))
        for first, stop in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True)
    )


def _series(rows: pa.Table) -> TrainingSeries:
    """The rows of one video."""
    video = rows.column("video_id")[0].as_py()
    splits = set(rows.column("split").to_pylist())
    for split in sorted(splits):
        require_training(video, split)
    columns = {name: rows.column(name).to_numpy() for name in (*SPAN_NAMES, "label", "score")}
    held_out = rows.column("held_out")
    if held_out.null_count not in (0, len(rows)):
        raise ConfigError(
            f"{video}: {held_out.null_count} of its {len(rows)} rows in {SCORES} have no held-out "
            "score, expected all or none; fit the scorer again"
        )
    scores = {"score": columns["score"]}
    if not held_out.null_count:
        scores["held_out"] = held_out.to_numpy()
    for name, values in scores.items():
        _require_finite(name, values)
    spans = spans_of(columns, video)
    labels = columns["label"].astype(np.int64)
    found = (columns["score"], scores.get("held_out"))
    return TrainingSeries(video, splits.pop(), spans, labels, *found)


def _require_finite(name: str, values: Floats) -> None:
    """Raise ConfigError where a score is no number to compare with."""
    if wrong := int((~np.isfinite(values)).sum()):
        raise ConfigError(
            f"{SCORES}: {wrong} of {len(values)} numbers in column {name} are not finite; fit the "
            "scorer again"
        )


def fitted_files(folder: Path) -> dict[str, str]:
    """Digests that tie the record of a scorer to its weights and to the rows of its fit."""
    return {WEIGHTS: file_digest(folder / WEIGHTS), SCORES: table_digest(folder / SCORES)}


def require_as_fitted(folder: Path) -> None:
    """Raise LeakageError unless the files of a scorer are those that one fit has written.

    Within a store the record of the artifact says so; a folder outside it can be put together.
    """
    said = read_json(folder / "scorer.json").get("files", {})
    for name, digest in fitted_files(folder).items():
        if said.get(name) != digest:
            raise LeakageError(
                f"{folder.name}: {name} is not the file that scorer.json was written with, so that "
                "nobody can say which videos this scorer was fitted on: take the whole folder "
                "`scorer` of one run, as it is"
            )


def _read(path: Path, schema: TableSchema) -> pa.Table:
    """A table; raises LeakageError where one of its columns is not there."""
    table = read_table(path, schema)
    needed = (name for name in schema.names if name not in LATER)
    if lacking := [name for name in needed if name not in table.column_names]:
        raise LeakageError(
            f"{path.name} has no column {', '.join(lacking)}: an older hiprobe wrote it, which did "
            "not say what it rests on; make it again with this one"
        )
    return table
