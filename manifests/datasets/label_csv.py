"""Labels of a folder's videos from a CSV file: one row per annotated interval."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from cache.errors import ConfigError
from manifests.datasets.contract import (
    UNLABELLED,
    Annotation,
    SourceFile,
    Unlisted,
    VideoLabel,
    video_id_of,
)
from manifests.datasets.intervals import wrong_interval
from manifests.datasets.names import tidy
from manifests.datasets.nearest import Names
from manifests.datasets.problems import Problems, read_text

COLUMNS = ("video", "split", "label", "class", "start_frame", "end_frame")
_SPLITS = {"": None, "train": "train", "test": "test"}
_LABELS = {"": None, "0": 0, "1": 1, "normal": 0, "anomalous": 1}
_NAMED = 10

Row = tuple[int, tuple[str, str, str, str, str, str]]
"""Number of the line, and the cells in the order of COLUMNS."""

Cell = TypeVar("Cell", str, int)


class LabelFile(NamedTuple):
    """What a label file says of the videos of a folder."""

    labels: dict[str, VideoLabel]
    """One per file, by video id."""
    warnings: tuple[str, ...]
    absent: dict[str, VideoLabel]
    """By the id that they would have: videos that are named and not there."""


def read_labels(
    path: Path, files: Sequence[SourceFile], unlisted: Unlisted, *, allow_missing: bool = False
) -> LabelFile:
    """The label of every file by video id, and warnings, from a CSV with the columns COLUMNS.

    `video` is the path relative to the data set root, with or without its suffix; an exact path
    goes before a video id that reads the same. An empty cell of split, label or class says nothing,
    so a video with several rows needs to give them once. Frames count from 0, the end is
    exclusive, both are empty where the row has no interval. A video that is not there is a problem
    unless `allow_missing`.

    Raises ConfigError that shows the first 20 problems, by line, and counts the rest.
    """
    problems = Problems(path)
    rows = _gather(_rows(path, problems), _VideoNames(files), problems, allow_missing)
    said = {video_id: _judge(video_id, rows[video_id], problems) for video_id in rows}
    missing = [file.video_id for file in files if file.video_id not in said]
    if missing and unlisted == "error":
        problems.add(
            None,
            f"{_some(missing)} of the folder not named in this file; name every video, or set "
            'data.unlisted = "score" to score them without a label',
        )
    problems.raise_any()
    labels = {file.video_id: said.pop(file.video_id, UNLABELLED) for file in files}
    blind = [
        name for name, known in labels.items() if known.split == "test" and known.label is None
    ]
    remarks = {"not named in the label file": missing, "in the test split without a label": blind}
    texts = tuple(f"{_some(ids)} {text}" for text, ids in remarks.items() if ids)
    return LabelFile(labels, texts, said)


def read_listed(path: Path) -> dict[str, VideoLabel]:
    """What the file says of every video that it names, by video id, in its order; no file is needed.

    Raises ConfigError as `read_labels` does, but for what the files of a folder decide.
    """
    problems = Problems(path)
    rows = _gather(_rows(path, problems), _VideoNames(()), problems, allow_missing=True)
    said = {video_id: _judge(video_id, rows[video_id], problems) for video_id in rows}
    problems.raise_any()
    return said


class _VideoNames:
    """Finds the video that a cell means."""

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self._known = {file.video_id: file.video_id for file in files}
        self._near = Names(tuple(self._known))
        self._known.update({file.path: file.video_id for file in files})

    def find(self, cell: str) -> str | None:
        found = self._known.get(cell)
        if found is None:
            path = _normal(cell)
            found = self._known.get(path) or self._known.get(video_id_of(path))
        return found

    def hint(self, cell: str) -> str:
        return self._near.hint(video_id_of(tidy(cell)))


def _normal(cell: str) -> str:
    return posixpath.normpath(tidy(cell))


def _rows(path: Path, problems: Problems) -> Iterator[Row]:
    """The rows of the file below its header, with their cells in the order of COLUMNS."""
    # strict: an unclosed quote would else swallow every row that follows it
    reader = csv.reader(
        io.StringIO(read_text(path, "label file", "set data.labels to a CSV file"), newline=""),
        strict=True,
    )
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(path, header)
        pick = itemgetter(*map(header.index, COLUMNS))
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                yield line, pick(cells)
            elif cells:
                problems.add(line, f"{len(cells)} cells found, {len(header)} expected")
            line = reader.line_num + 1
    except csv.Error as error:
        problems.add(reader.line_num, f"this is not CSV: {error}")
        problems.raise_any()


def _check_header(path: Path, header: list[str]) -> None:
    names = Names(COLUMNS)
    found = [f"unknown column {n!r}{names.hint(n)}" for n in header if n not in COLUMNS]
    found += [f"column {n!r} is missing" for n in COLUMNS if n not in header]
    found += [f"column {n!r} stands there twice" for n in COLUMNS if header.count(n) > 1]
    if found:
        expected = f"expected the header {','.join(COLUMNS)} (in any order)"
        _refuse(path, 1, "; ".join([*found, expected]))


def _refuse(path: Path, line: int, text: str) -> NoReturn:
    raise ConfigError(f"{path}: line {line}: {text}")


def _gather(
    rows: Iterator[Row], names: _VideoNames, problems: Problems, allow_missing: bool
) -> dict[str, list[Row]]:
    """The rows of each video, by video id."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        line, (name, *_) = row
        video_id = names.find(name)
        if video_id is not None:
            found.setdefault(video_id, []).append(row)
        elif allow_missing and name.strip():
            found.setdefault(video_id_of(_normal(name)), []).append(row)
        else:
            hint = "" if problems.full else names.hint(name)
            problems.add(line, f"the folder holds no video {name!r}{hint}")
    return found


def _judge(video_id: str, rows: list[Row], problems: Problems) -> VideoLabel:
    """What the rows of one video say together."""
    before = problems.count
    split = _agreed(video_id, rows, 1, _read_split, problems)
    label = _agreed(video_id, rows, 2, _read_label, problems)
    name = _agreed(video_id, rows, 3, _read_class, problems) or ""
    spans = _spans(video_id, rows, problems)
    if problems.count == before:  # else what seems to be missing may stand in a refused cell
        text = _contradiction(split, label, bool(spans))
        if text:
            problems.add(next(iter(spans.values()), rows[0][0]), f"video {video_id!r}: {text}")
    annotations = tuple(Annotation(start, end, name) for start, end in sorted(spans))
    return VideoLabel(split or "", label, name, annotations)


def _agreed(
    video_id: str,
    rows: list[Row],
    column: int,
    read: Callable[[str], Cell | None],
    problems: Problems,
) -> Cell | None:
    """What the cells of one column say where they say anything, which must be one thing."""
    said, first = None, 0
    for line, cells in rows:
        try:
            value = read(cells[column])
        except ValueError as error:
            problems.add(line, f"video {video_id!r}: {COLUMNS[column]} is {error}")
            continue
        if said is None:
            said, first = value, line
        elif value is not None and value != said:
            problems.add(
                line,
                f"video {video_id!r}: {COLUMNS[column]} is {value!r} here and {said!r} in line "
                f"{first}; a video has one",
            )
    return said


def _read_split(cell: str) -> str | None:
    text = cell.strip().lower()
    if text not in _SPLITS:
        raise ValueError(f"{cell!r}; expected train, test or nothing")
    return _SPLITS[text]


def _read_label(cell: str) -> int | None:
    text = cell.strip().lower()
    if text not in _LABELS:
        raise ValueError(f"{cell!r}; expected 0, 1, normal, anomalous or nothing")
    return _LABELS[text]


def _read_class(cell: str) -> str | None:
    return cell.strip() or None


def _spans(video_id: str, rows: list[Row], problems: Problems) -> dict[tuple[int, int], int]:
    """The intervals [start_frame, end_frame) of a video, each with its line."""
    lines: dict[tuple[int, int] | None, int] = {}
    for line, cells in rows:
        start, end = cells[4].strip(), cells[5].strip()
        text = wrong_interval(start, end)
        if text is None:
            span = (int(start), int(end)) if start else None
            first = lines.setdefault(span, line)
            if first != line:
                text = f"the same row stands in line {first} already; remove one"
        if text:
            problems.add(line, f"video {video_id!r}: {text}")
    return {span: line for span, line in lines.items() if span is not None}


def _contradiction(split: str | None, label: int | None, annotated: bool) -> str | None:
    """What is wrong with the labels of a video as a whole."""
    if annotated and label != 1:
        known = "no label" if label is None else "the label 0 (normal)"
        return f"an interval, but {known}; an interval needs the label 1"
    if split == "test" and label == 1 and not annotated:
        return (
            "an anomalous test video without an interval cannot be evaluated; give its anomalous "
            "frames"
        )
    return None


def _some(video_ids: list[str]) -> str:
    """`12 videos (a, b, ...)`: the number of them, and the first ten."""
    dots = ", ..." if len(video_ids) > _NAMED else ""
    named = ", ".join(map(repr, video_ids[:_NAMED]))
    return f"{len(video_ids)} video{'s' if len(video_ids) > 1 else ''} ({named}{dots})"
