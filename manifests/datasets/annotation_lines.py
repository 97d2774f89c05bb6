"""Temporal annotations as they are published: a line per video, fields between blanks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cache.errors import ConfigError
from manifests.datasets.intervals import wrong_interval
from manifests.datasets.names import bare_name
from manifests.datasets.nearest import Names
from manifests.datasets.problems import Problems, read_text

ABSENT = "-1"
"""Both fields of a pair hold this where there is no interval."""


@dataclass(frozen=True, slots=True)
class AnnotatedVideo:
    """One line of the file."""

    name: str
    """Without folders and suffix."""
    class_name: str
    """As the line has it; empty for a format without classes."""
    intervals: tuple[tuple[int, int], ...]
    """(start, end) as the file has them, sorted."""


def read_annotations(
    path: Path | None, published: str, classes: Collection[str] = ()
) -> tuple[AnnotatedVideo, ...]:
    """The lines of a file of temporal annotations, in its order.

    A line is a name, a class where `classes` holds the known ones, and pairs of start and end
    frame; `-1 -1` stands for no interval. `published` is how the data set's authors call the file.

    Raises ConfigError for no or an empty file, and one that shows the first 20 problems by line:
    an unknown class, an odd number of fields, no whole number, an interval that is empty.
    """
    if path is None:
        raise ConfigError(
            f"data.annotations is empty: give the published temporal annotations ({published})"
        )
    text = read_text(path, "file of annotations", f"set data.annotations to {published}")
    problems = Problems(path)
    near = Names(classes)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        name, *fields = line.split() or [""]
        if not name:
            continue
        if classes and fields[:1] and fields[0] not in classes:
            problems.add(number, f"{name}: unknown class {fields[0]!r}{near.hint(fields[0])}")
        elif classes and not fields:
            problems.add(number, f"{name}: no class; expected a name, a class and pairs of frames")
        else:
            spans = _intervals(name, fields[bool(classes) :], number, problems)
            found.append(AnnotatedVideo(bare_name(name), fields[0] if classes else "", spans))
    problems.raise_any()
    if not found:
        raise ConfigError(f"{path} names no video; set data.annotations to {published}")
    return tuple(found)


def _intervals(
    name: str, fields: list[str], line: int, problems: Problems
) -> tuple[tuple[int, int], ...]:
    if len(fields) % 2:
        problems.add(
            line, f"{name}: {len(fields)} fields of frames; a start and an end belong together"
        )
        return ()
    spans = []
    for start, end in zip(fields[::2], fields[1::2], strict=True):
        if start == end == ABSENT:
            continue
        wrong = wrong_interval(start, end, f"{ABSENT} {ABSENT} stands")
        if wrong:
            problems.add(line, f"{name}: {wrong}")
        else:
            spans.append((int(start), int(end)))
    return tuple(sorted(spans))
