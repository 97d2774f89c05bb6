"""Scores in tables: CSV, Parquet, and JSON rows.

A row names its video and gives a score with its frames: start_frame and end_frame, frame (held
until the next row's), clip, or nothing, for rows that stand in order.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cache.errors import ConfigError
from manifests.scores.contract import Floats, VideoScores, floats_of, whole
from manifests.scores.rows import clips_of, intervals_of, starts_of

VIDEO = ("video", "video_id", "video_name", "name")
START, END = ("start_frame", "start"), ("end_frame", "end")
FRAME, CLIP = ("frame",), ("clip", "segment")
HEADLINE, PLAIN = "smoothed", "score"
"""The column that is taken where none is named, and the one that is where it is not there."""


def read_parquet(path: Path, column: str) -> tuple[str, dict[str, VideoScores]]:
    """The scores of a Parquet table, and what it was read as."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{path} is not a readable Parquet file: {error}") from error
    return of_table(table, path, column)


def read_csv(path: Path, column: str) -> tuple[str, dict[str, VideoScores]]:
    """The scores of a CSV file: with a header a table, without one a row of scores per video."""
    import pyarrow.csv as pc

    with path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    delimiter = max(",;\t", key=line.count)
    cells = next(csv.reader([line], delimiter=delimiter), [])
    if len(cells) > 1 and all(_number(cell) for cell in cells[1:] if cell.strip()):
        _refuse_column(path, column)
        return "CSV, one row of scores per video", _wide(path, delimiter)
    names = {cell: pa.string() for cell in cells if cell.strip().lower() in VIDEO}
    try:
        table = pc.read_csv(
            path,
            parse_options=pc.ParseOptions(delimiter=delimiter),
            convert_options=pc.ConvertOptions(column_types=names),
        )
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{path} is not a readable CSV file: {error}") from error
    return of_table(table, path, column)


def of_table(table: pa.Table, path: Path, column: str) -> tuple[str, dict[str, VideoScores]]:
    """The scores of a table with a row per score, by video, and what it was read as.

    `column` names the scores; empty takes `smoothed`, or `score` where there is none. Raises
    ConfigError that lists the columns where the needed ones are not there.
    """
    if len(table) == 0:
        raise ConfigError(f"{path} holds no scores")
    table = table.rename_columns([name.strip().lower() for name in table.column_names])
    table = table.replace_schema_metadata(None)
    video = _find(table, VIDEO)
    if video is None:
        raise _lacks(path, f"of videos ({' or '.join(VIDEO[:2])})", table)
    taken, before = _score_columns(table, path, column.strip().lower())
    places = _places(table)
    groups = _groups(table[video], path)
    columns = {n: _values(table[n], f"{path}, column {n!r}") for n in (taken, *places)}
    unsmoothed = None if before is None else _values(table[before], f"{path}, column {before!r}")
    found = {
        name: _video_scores(
            name,
            places,
            {n: values[rows] for n, values in columns.items()},
            taken,
            None if unsmoothed is None else unsmoothed[rows],
        )
        for name, rows in groups
    }
    order = " and ".join(places) if places else "rows in order"
    return f"table of {video}, {order}, {taken}", found


def _find(table: pa.Table, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in table.column_names), None)


def _score_columns(table: pa.Table, path: Path, column: str) -> tuple[str, str | None]:
    """The column of the scores, and the one of what they were before smoothing."""
    if column:
        if column not in table.column_names:
            raise _lacks(path, f"{column!r}", table)
        return column, None
    if HEADLINE in table.column_names:
        return HEADLINE, PLAIN if PLAIN in table.column_names else None
    if PLAIN in table.column_names:
        return PLAIN, None
    raise _lacks(path, f"{PLAIN!r}", table, "; --column names the one that holds the scores")


def _lacks(path: Path, what: str, table: pa.Table, hint: str = "") -> ConfigError:
    return ConfigError(
        f"{path} has no column {what}; it has {', '.join(map(repr, table.column_names))}{hint}"
    )


def _places(table: pa.Table) -> tuple[str, ...]:
    """The columns that say which frames a score is of; the most exact ones count."""
    start, end = _find(table, START), _find(table, END)
    if start and end:
        return start, end
    single = _find(table, (*FRAME, *START, *CLIP))
    return (single,) if single else ()


def _groups(column: pa.ChunkedArray, path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of every video, in their order; videos in the order of their first rows."""
    if column.null_count:
        raise ConfigError(f"{path}: {column.null_count} rows name no video")
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    names = encoded.dictionary.to_pylist()
    order = np.argsort(codes, kind="stable")
    borders = np.searchsorted(codes[order], np.arange(1, len(names)))
    return zip(names, np.split(order, borders), strict=True)


def _values(column: pa.ChunkedArray, what: str) -> Floats:
    """A column as numbers; what is empty becomes NaN, which is refused by the video's name."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        shown = next((v for v in column.to_pylist() if v is not None and not _number(v)), "")
        raise ConfigError(f"{what}: expected plain numbers, found {shown!r}")
    if pa.types.is_nested(column.type):
        raise ConfigError(f"{what}: expected plain numbers, found {column.type}")
    if pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    return floats_of(column.to_numpy(), what)


def _video_scores(
    video: str,
    places: Sequence[str],
    columns: dict[str, Any],
    taken: str,
    unsmoothed: Floats | None,
) -> VideoScores:
    numbers = [whole(columns[name], f"{video}: {name}") for name in places]
    score = columns[taken]
    if len(numbers) == 2:
        return intervals_of(video, numbers[0], numbers[1], score, unsmoothed)
    if not numbers:
        return VideoScores(video, score, unsmoothed=unsmoothed)
    arrange = clips_of if places[0] in CLIP else starts_of
    return arrange(video, numbers[0], score, unsmoothed)


def _wide(path: Path, delimiter: str) -> dict[str, VideoScores]:
    found: dict[str, VideoScores] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, (video, *cells) in enumerate(
            filter(None, csv.reader(file, delimiter=delimiter))
        ):
            while cells and not cells[-1].strip():  # rows may be padded to the longest
                cells.pop()
            if video in found:
                raise ConfigError(
                    f"{path}, row {number + 1}: {video} has a row already; a table with a row per "
                    "score needs a header that names its columns"
                )
            try:
                score = [float(cell) for cell in cells]
            except ValueError as error:
                raise ConfigError(f"{path}, row {number + 1}, {video}: {error}") from error
            found[video] = VideoScores(video, np.asarray(score, dtype=np.float64))
    return found


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_column(path: Path, column: str) -> None:
    if column:
        raise ConfigError(f"--column {column}: {path} has no header that names its columns")
