"""A family of experiments: a table of a paper as data, and how such a file is read.

title = "..."
note = "..."                            # optional

[columns.ucf]                           # one or more: a data set, and the figure of it
title = "UCF-Crime"
base = "ucf_crime.toml"                 # a run configuration, relative to this file
metric = "auc"

[[row]]                                 # one or more: a way to do it otherwise
name = "last"                           # also names the folder of its results
text = "the last layer"
set = { "select.method" = "last" }      # fields with other values than the base's
metric = { ucf = "auc_thresholded" }    # optional: another figure, for a column or for all ("...")
scorer = "xd"                           # optional: scored with what that column's run fitted
published = { ucf = 83.21 }             # optional: in percent
only_published = true                   # optional: a row of somebody else's figures
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.errors import ConfigError
from pipeline.config import nearest

METRICS: Mapping[str, str] = {
    "auc": "ROC AUC",
    "ap": "AP",
    "ap_trapezoid": "AP, trapezoid",
    "auc_thresholded": "ROC AUC, thresholded",
    "ap_thresholded": "AP, thresholded",
    "macro_within_video_auc": "AUC within a video",
    "video_level_auc": "AUC of videos",
    "anomalous_only.auc": "ROC AUC, anomalous videos",
    "anomalous_only.ap": "AP, anomalous videos",
}
"""Figures that a column can show, as metrics.json names them, with words for a person."""


@dataclass(frozen=True, slots=True)
class Column:
    """A data set, and the figure that is shown of it."""

    name: str
    title: str
    base: Path
    """The run configuration that every row changes."""
    metric: str


@dataclass(frozen=True, slots=True)
class Row:
    """One way to do it, or what somebody else has published."""

    name: str
    text: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Value by "section.field"; none is the base run itself."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """The figure, by column, where it is not that of the column."""
    scorer: str = ""
    """Column whose run fits the scorer; empty for the column's own."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Percent, by column."""
    only_published: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """A table: rows, by columns."""

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def metric(self, row: Row, column: Column) -> str:
        """The figure that a cell shows."""
        return row.metrics.get(column.name, column.metric)


def is_family(path: Path) -> bool:
    """Whether a file is a family of experiments, not a run configuration; raises ConfigError."""
    return "columns" in _read(path)


def load_family(path: Path) -> Family:
    """Read and check a family. Raises ConfigError that names every field that cannot be right."""
    raw, problems = _read(path), list[str]()
    _known(raw, ("title", "note", "columns", "row"), "", problems)
    columns = tuple(
        _column(name, given, path.parent, problems)
        for name, given in _mapping(raw, "columns", "", problems).items()
    )
    given_rows = raw.get("row", [])
    if not isinstance(given_rows, list) or not all(isinstance(row, dict) for row in given_rows):
        problems.append("row: expected [[row]] tables")
        given_rows = []
    names = [column.name for column in columns]
    rows = tuple(_row(number, given, names, problems) for number, given in enumerate(given_rows, 1))
    if not columns:
        problems.append("no [columns.NAME] is given: say which run configuration the rows change")
    if not rows:
        problems.append("no [[row]] is given")
    for name in sorted({row.name for row in rows if [r.name for r in rows].count(row.name) > 1}):
        problems.append(f"two rows have the name {name!r}")
    family = Family(
        path.stem,
        _text(raw, "title", "", problems, path.stem),
        _text(raw, "note", "", problems, ""),
        columns,
        rows,
    )
    if problems:
        raise ConfigError(f"{path}:\n" + "\n".join(f"  {problem}" for problem in problems))
    return family


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error


def _column(name: str, given: Any, folder: Path, problems: list[str]) -> Column:
    where = f"columns.{name}."
    if not isinstance(given, dict):
        problems.append(f"columns.{name}: expected a table")
        given = {}
    _known(given, ("title", "base", "metric"), where, problems)
    base = _text(given, "base", where, problems)
    metric = _text(given, "metric", where, problems)
    _check_metric(metric, f"{where}metric", problems)
    if base and not (folder / base).is_file():
        problems.append(f"{where}base = {base!r}: {folder / base} is not a file")
    return Column(name, _text(given, "title", where, problems, name), folder / base, metric)


def _row(number: int, given: Mapping[str, Any], columns: Sequence[str], problems: list[str]) -> Row:
    name = given.get("name", "")
    where = f"row {name or number}: "
    known = ("name", "text", "set", "metric", "scorer", "published", "only_published")
    _known(given, known, where, problems)
    name = _text(given, "name", where, problems)
    if any(mark in name for mark in "/\\\0") or name in (".", ".."):
        problems.append(f"{where}name: must be a plain folder name")
    scorer = _text(given, "scorer", where, problems, "")
    if scorer:
        _known([scorer], columns, f"{where}scorer ", problems)
    row = Row(
        name,
        _text(given, "text", where, problems, ""),
        _mapping(given, "set", where, problems),
        _metrics(given.get("metric", {}), columns, where, problems),
        scorer,
        _published(_mapping(given, "published", where, problems), columns, where, problems),
        _flag(given, where, problems),
    )
    if row.only_published and (row.overrides or row.metrics or row.scorer or not row.published):
        problems.append(f"{where}only_published: give `published`, and no set, metric or scorer")
    return row


def _flag(given: Mapping[str, Any], where: str, problems: list[str]) -> bool:
    value = given.get("only_published", False)
    if not isinstance(value, bool):
        problems.append(f"{where}only_published = {value!r}: expected true or false")
    return bool(value)


def _metrics(given: Any, columns: Sequence[str], where: str, problems: list[str]) -> dict[str, str]:
    if isinstance(given, str):
        given = dict.fromkeys(columns, given)
    if not isinstance(given, dict):
        problems.append(f"{where}metric = {given!r}: expected a name, or one by column")
        return {}
    _known(given, columns, f"{where}metric ", problems)
    for name, metric in given.items():
        _check_metric(metric, f"{where}metric of {name}", problems)
    return given


def _check_metric(metric: Any, where: str, problems: list[str]) -> None:
    if metric not in METRICS:
        problems.append(f"{where} = {metric!r}: no such figure{nearest(str(metric), METRICS)}")


def _published(
    given: Mapping[str, Any], columns: Sequence[str], where: str, problems: list[str]
) -> dict[str, float]:
    _known(given, columns, f"{where}published ", problems)
    found = {}
    for name, value in given.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 1 < value <= 100:
            found[name] = float(value)
        else:
            problems.append(f"{where}published {name} = {value!r}: expected percent, 1 to 100")
    return found


def _known(given: Collection[str], known: Collection[str], where: str, problems: list[str]) -> None:
    problems += [
        f"{where}{name}: unknown{nearest(name, known)}" for name in given if name not in known
    ]


def _mapping(
    given: Mapping[str, Any], name: str, where: str, problems: list[str]
) -> Mapping[str, Any]:
    value = given.get(name, {})
    if not isinstance(value, dict):
        problems.append(f"{where}{name} = {value!r}: expected a table")
        return {}
    return value


def _text(
    given: Mapping[str, Any], name: str, where: str, problems: list[str], default: str | None = None
) -> str:
    """A text; without a default it must be given."""
    value = given.get(name, default)
    if isinstance(value, str) and (value or default is not None):
        return value
    problems.append(f"{where}{name} = {value!r}: expected text in quotes")
    return ""
