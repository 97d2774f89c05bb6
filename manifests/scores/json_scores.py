"""Scores in JSON: a mapping from videos to their scores, or a list of rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cache.errors import ConfigError
from manifests.scores.contract import VideoScores, floats_of, whole
from manifests.scores.rows import intervals_of, starts_of
from manifests.scores.tables import END, START, of_table

_FRAME = re.compile(r"\s*\d+\s*")
_RANGE = re.compile(r"\s*(\d+)\s*-\s*(\d+)\s*")


def read_json_scores(path: Path, column: str) -> tuple[str, dict[str, VideoScores]]:
    """The scores of a JSON file by video, and what it was read as.

    A video has a list of scores, {"start frame": score}, {"start-end": score}, or a list of
    intervals, each [start, end, score] or an object of that. A list of rows is a table.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            value = json.load(file, object_pairs_hook=_once)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error
    if isinstance(value, list):
        return of_table(_table(value, path), path, column)
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"{path}: expected {{video: scores}} or a list of rows")
    if column:
        raise ConfigError(f"--column {column}: {path} holds no table, but scores by video")
    form = "JSON, scores by video"
    (first, inner), *others = value.items()
    if not others and isinstance(inner, dict) and _holds_videos(inner):
        value, form = inner, f"{form} under {first!r}"  # as VADTree writes them
    return form, {name: _video_scores(name, given) for name, given in value.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises ConfigError for a name that is given twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{twice!r} is given twice in one object")
    return found


def _holds_videos(value: Mapping[str, Any]) -> bool:
    """Whether an object maps videos to their scores, rather than frames to one score each."""
    return any(isinstance(inner, (dict, list)) for inner in value.values())


def _table(rows: Sequence[Any], path: Path) -> pa.Table:
    wrong = next((row for row in rows if not isinstance(row, dict)), None)
    if wrong is not None or not rows:
        raise ConfigError(
            f"{path}: expected {{video: scores}} or a list of rows such as "
            '{"video": ..., "start_frame": ..., "end_frame": ..., "score": ...}, found '
            f"{str(wrong)[:60] if rows else 'an empty list'}"
        )
    try:
        return pa.Table.from_pylist(list(rows))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConfigError(f"{path}: the rows do not form a table: {error}") from error


def _video_scores(video: str, given: Any) -> VideoScores:
    if isinstance(given, dict):
        return _of_frames(video, given)
    if not isinstance(given, list):
        raise ConfigError(
            f"{video}: expected a list of scores, or frames with their scores, found "
            f"{str(given)[:60]!r}"
        )
    if given and isinstance(given[0], dict):
        return _of_objects(video, given)
    if given and isinstance(given[0], list):
        return _of_triples(video, given)
    values = floats_of([np.nan if v is None else v for v in given], video)
    return VideoScores(video, values)


def _of_frames(video: str, given: Mapping[str, Any]) -> VideoScores:
    """{"0": score} and {"0-16": score}."""
    score = floats_of([np.nan if v is None else v for v in given.values()], video)
    ranges = [_RANGE.fullmatch(key) for key in given]
    if given and all(ranges):
        spans = [(int(found[1]), int(found[2])) for found in ranges if found]
        edges = np.asarray(spans, dtype=np.int64)
        return intervals_of(video, edges[:, 0], edges[:, 1], score)
    wrong = next((key for key in given if not _FRAME.fullmatch(key)), None)
    if wrong is not None:
        raise ConfigError(
            f"{video}: expected frames as names of its scores, such as '0' or '0-16', all of one "
            f"kind; found {wrong!r}"
        )
    return starts_of(video, np.asarray([int(key) for key in given], dtype=np.int64), score)


def _of_objects(video: str, given: Sequence[Any]) -> VideoScores:
    """[{"start": frame, "end": frame, "score": score}, ...]."""
    columns = []
    for names in (START, END, ("score",)):
        name = next((name for name in names if name in given[0]), None)
        if name is None or not all(isinstance(row, dict) and name in row for row in given):
            raise ConfigError(
                f"{video}: every interval needs {' or '.join(map(repr, names))}; the first one "
                f"has {', '.join(map(repr, given[0]))}"
            )
        columns.append([row[name] for row in given])
    return _of_columns(video, columns)


def _of_triples(video: str, given: Sequence[Any]) -> VideoScores:
    """[[start, end, score], ...]."""
    wrong = next((row for row in given if not isinstance(row, list) or len(row) != 3), None)
    if wrong is not None:
        raise ConfigError(f"{video}: expected [start, end, score], found {str(wrong)[:60]}")
    return _of_columns(video, [list(column) for column in zip(*given, strict=True)])


def _of_columns(video: str, columns: Sequence[list[Any]]) -> VideoScores:
    start, end = (whole(column, f"{video}: frames of its intervals") for column in columns[:2])
    score = floats_of([np.nan if v is None else v for v in columns[2]], video)
    return intervals_of(video, start, end, score)
