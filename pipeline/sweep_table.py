"""The table of a family of experiments: published, ours, and the difference, side by side."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cache import sums
from cache.atomic import replace_bytes
from cache.errors import ConfigError
from cache.keys import canonical
from manifests.comparisons import SWEEP
from manifests.table import write_table
from pipeline.experiments import METRICS, Family
from pipeline.side_by_side import incomplete_text
from pipeline.sweep import Cell
from pipeline.variants import FOLDER
from pipeline.view import table

NAME = "sweep"
"""What the files of the table are called, beside the results of its rows."""
WRITERS = (".parquet", ".csv")


def sweep_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One row per cell; the columns of `manifests.comparisons.SWEEP` say what each field is."""
    return [
        {
            "place": place,
            "row": cell.row.name,
            "column": cell.column.name,
            "text": cell.row.text,
            "overrides": canonical(dict(cell.row.overrides)),
            "scorer": cell.row.scorer,
            "metric": cell.metric,
            "published": cell.published,
            "ours": cell.ours,
            "low": cell.low,
            "high": cell.high,
            "difference": cell.difference,
            "layer": cell.layer,
            "heads": cell.heads,
            "videos": cell.videos,
            "missing": cell.missing,
            "absent": cell.absent,
            "problem": cell.problem,
        }
        for place, cell in enumerate(cells)
    ]


def sweep_value(family: Family, cells: Sequence[Cell]) -> dict[str, Any]:
    """The table as a JSON value."""
    columns = {cell.column.name: cell.column for cell in cells}
    return {
        "family": family.name,
        "title": family.title,
        "note": family.note,
        "columns": [
            {"name": c.name, "title": c.title, "metric": c.metric} for c in columns.values()
        ],
        "cells": [
            {**row, "built": cell.built} for row, cell in zip(sweep_rows(cells), cells, strict=True)
        ],
    }


def check_out(path: Path) -> None:
    """Raise ConfigError where the table cannot be written to a file of this name."""
    if path.suffix not in WRITERS:
        raise ConfigError(f"--out {path}: the name must end in {' or '.join(WRITERS)}")


def write_sweep(path: Path, cells: Sequence[Cell]) -> None:
    """Write the table as Parquet or CSV, by the suffix of the name."""
    rows = sweep_rows(cells)
    if path.suffix == ".parquet":
        write_table(path, SWEEP, {name: [row[name] for row in rows] for name in SWEEP.names})
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, SWEEP.names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_bytes(path, text.getvalue().encode("utf-8"))


def write_beside(family: Family, cells: Sequence[Cell], results: Sequence[Path]) -> list[Path]:
    """Write the table beside the results of its rows, in the results of every base that ran."""
    written = []
    for folder in results:
        place = folder / FOLDER / family.name
        place.mkdir(parents=True, exist_ok=True)
        for suffix in WRITERS:
            write_sweep(place / f"{NAME}{suffix}", cells)
            sums.note(place / f"{NAME}{suffix}")
        written.append(place / f"{NAME}.csv")
    return written


def sweep_text(family: Family, cells: Sequence[Cell]) -> str:
    """The table as a person reads it; what stayed empty and why is told below it."""
    columns = list({cell.column.name: cell.column for cell in cells}.values())
    by_row: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_row[cell.row.name].append(cell)
    known = {cell.column.name for cell in cells if cell.published is not None}
    head = ["row"]
    for column in columns:
        named = column.name in known
        head += [f"{column.name} published", "ours", "95 %", "difference"] if named else [
            f"{column.name} ours", "95 %"
        ]  # fmt: skip
    rows = [
        [name, *(text for c in row for text in _texts(c, c.column.name in known))]
        for name, row in by_row.items()
    ]
    shown = table([*head, "|"], [[*row, "|"] for row in rows]).splitlines()
    words = ["", *(row[0].row.text for row in by_row.values())]
    body = [f"{line} {text}".rstrip() for line, text in zip(shown, words, strict=True)]
    lines = [family.title, "", *body, ""]
    lines += [f"{c.name}: {c.title}, {METRICS[c.metric]}, percent" for c in columns]
    legend = "95 %: of ours, over the test videos"
    lines.append(f"difference: ours less published, in points; {legend}" if known else legend)
    lines += _other_figures(cells)
    if family.note:
        lines.append(family.note)
    return "\n".join([*lines, *_incomplete(cells), *_problems(cells)])


def _texts(cell: Cell, published: bool) -> list[str]:
    mark = "'" if cell.metric != cell.column.metric else ""
    band = "" if cell.low is None or cell.high is None else f"{cell.low:.2f} to {cell.high:.2f}"
    ours = f"{cell.ours:.2f}{mark}" if cell.ours is not None else ""
    if not published:
        return [ours, band]
    difference = "" if cell.difference is None else f"{cell.difference:+.2f}"
    return ["" if cell.published is None else f"{cell.published:.2f}", ours, band, difference]


def _other_figures(cells: Sequence[Cell]) -> list[str]:
    """Which rows show another figure than their column."""
    found: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        if cell.metric != cell.column.metric and not cell.row.only_published:
            found[f"{cell.column.name}: {METRICS[cell.metric]}"].append(cell.row.name)
    return [f"' {metric}: {', '.join(names)}" for metric, names in found.items()]


def _incomplete(cells: Sequence[Cell]) -> list[str]:
    found: dict[str, None] = {}
    for cell in cells:
        if cell.videos is not None:
            about = {"videos": cell.videos, "missing": cell.missing, "absent": cell.absent}
            found[incomplete_text({"name": f"column {cell.column.name}", **about})] = None
    return [text for text in found if text]


def _problems(cells: Sequence[Cell]) -> list[str]:
    """Every reason once, with the rows that it holds for."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    asked: dict[str, int] = defaultdict(int)
    for cell in cells:
        if not cell.row.only_published:
            asked[cell.column.name] += 1
        if cell.problem:
            found[cell.column.name, cell.problem].append(cell.row.name)
    return [
        f"{'FAILED' if _ran(cells, column, names) else 'EMPTY'} {column}, "
        f"{'every row' if len(names) == asked[column] > 1 else ', '.join(names)}: {problem}"
        for (column, problem), names in found.items()
    ]


def _ran(cells: Sequence[Cell], column: str, names: Sequence[str]) -> bool:
    """Whether a cell of these has a figure all the same."""
    return any(
        cell.ours is not None
        for cell in cells
        if cell.column.name == column and cell.row.name in names
    )
