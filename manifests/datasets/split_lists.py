"""Lists of the videos of a split: one name a line, or the column `video` of a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cache.errors import ConfigError
from manifests.datasets.names import bare_name, tidy
from manifests.datasets.problems import Problems, read_text

COLUMN = "video"


@dataclass(frozen=True, slots=True)
class ListedName:
    """One name of a list."""

    name: str
    """Without folders and suffix."""
    path: str
    """As the list has it, with its folders."""


def read_names(path: Path, field: str) -> tuple[ListedName, ...]:
    """The names of a list, in its order; `field` is the setting that gives the file.

    Three forms are known: a name or path a line, with a suffix or without; the same with numbers
    behind it (`Assault_2 0 235 1`: lists of frame counts serve as lists of names); CSV with a
    column `video`. Raises ConfigError for a file that cannot be read or names nothing.
    """
    text = read_text(path, "list of videos", f"set {field} to a text or CSV file")
    cells = _column(path, text) if is_csv(text) else _lines(text)
    found = tuple(ListedName(bare_name(cell), tidy(cell)) for cell in cells)
    if not found:
        raise ConfigError(
            f"{path} names no video; set {field} to a list with a name a line, or to CSV with a "
            f"column {COLUMN!r}"
        )
    return found


def is_csv(text: str) -> bool:
    """Whether the first line is a header with a column `video`."""
    first = text.partition("\n")[0]
    return COLUMN in (cell.strip() for cell in first.split(","))


def is_number(text: str) -> bool:
    """Whether a field is a whole number, as lists have them behind a name."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        name, *rest = line.split() or [""]
        if name:
            yield name if all(map(is_number, rest)) else line


def _column(path: Path, text: str) -> list[str]:
    problems = Problems(path)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    found = []
    try:
        for row in reader:
            cell = row.get(COLUMN) or ""
            if cell.strip():
                found.append(cell)
            else:
                problems.add(reader.line_num, f"the column {COLUMN!r} is empty")
    except csv.Error as error:
        problems.add(reader.line_num, f"this is not CSV: {error}")
    problems.raise_any()
    return found
