"""Published lists of how many frames the videos have.

They are compared with what decoding finds, which counts; only where no video is read, for the scores
of other systems, do they stand in for it. Two forms are known:

* CSV with a header and the columns `video`, `n_frames` and, where it is known, `fps`.
* Fields between blanks: `name first last`, or `name first last class`, of frames counted from 0,
  both included, so the count is last - first + 1. That the third field is the last frame and not
  the count is shown by MSAD, whose published scores have 236 values for `Assault_2 0 235 1` (and so
  for all 240 videos). UCF-Crime's list of the training videos (`frames/Abuse/Abuse001_x264.mp4 0
  2728 1`) has the same form. For it there is no such proof; what there is: the third field most
  often leaves the remainder 29 when divided by 30 (the frame rate), and the exact counts of the test
  videos most often leave 0.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.errors import ConfigError
from manifests.datasets.contract import Deviation
from manifests.datasets.names import bare_name, folded
from manifests.datasets.problems import Problems, read_text
from manifests.datasets.split_lists import COLUMN, is_csv, is_number

FIELD = "data.frame_counts"


@dataclass(frozen=True, slots=True)
class FrameCount:
    """How many frames a list gives one video."""

    video: str
    """As the list has it."""
    frames: int
    fps: float | None = None


def read_frame_counts(path: Path) -> tuple[FrameCount, ...]:
    """The rows of one list, in its order.

    Raises ConfigError for a file that cannot be read, and one that shows the first 20 problems by
    line: text where a number belongs, no frames, a number of fields that is not known.
    """
    text = read_text(path, "list of frame counts", f"set {FIELD} to text or CSV files")
    problems = Problems(path)
    rows = _table(text, problems) if is_csv(text) else _lines(text, problems)
    found = tuple(rows)
    problems.raise_any()
    if not found:
        raise ConfigError(f"{path} holds no frame count")
    return found


def gather_counts(
    paths: Sequence[Path], key: Callable[[str], str] = lambda video: folded(bare_name(video))
) -> tuple[Mapping[str, FrameCount], tuple[Deviation, ...]]:
    """The counts of several lists by `key` of their names; where two differ the first one holds."""
    found: dict[str, FrameCount] = {}
    sources: dict[str, Path] = {}
    deviations = []
    for path in paths:
        for count in read_frame_counts(path):
            name = key(count.video)
            first = found.setdefault(name, count)
            where = sources.setdefault(name, path)
            if first.frames != count.frames:
                text = (
                    f"{count.video} has {first.frames} frames in {where.name} and {count.frames} in "
                    f"{path.name}: compared with the first"
                )
                deviations.append(Deviation("frames", count.video, text, stops=False))
    return found, tuple(deviations)


def _table(text: str, problems: Problems) -> Iterator[FrameCount]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        for row in reader:
            video, frames = (row.get(COLUMN) or "").strip(), (row.get("n_frames") or "").strip()
            fps, line = (row.get("fps") or "").strip(), reader.line_num
            rate = _rate(fps)
            if not video:
                problems.add(line, f"the column {COLUMN!r} is empty")
            elif not is_number(frames) or int(frames) < 1:
                problems.add(line, f"{video}: n_frames is {frames!r}; expected 1 or more")
            elif fps and rate is None:
                problems.add(
                    line, f"{video}: fps is {fps!r}; expected a number above 0, or nothing"
                )
            else:
                yield FrameCount(video, int(frames), rate)
    except csv.Error as error:
        problems.add(reader.line_num, f"this is not CSV: {error}")


def _rate(text: str) -> float | None:
    try:
        rate = float(text)
    except ValueError:
        return None
    return rate if 0 < rate < float("inf") else None


def _lines(text: str, problems: Problems) -> Iterator[FrameCount]:
    for number, line in enumerate(text.splitlines(), 1):
        name, *fields = line.split() or [""]
        if not name:
            continue
        if len(fields) not in (2, 3) or not all(map(is_number, fields)):
            problems.add(
                number,
                f"{line.strip()!r}: expected `name first last` or `name first last class`, or CSV "
                f"with the columns {COLUMN}, n_frames and fps",
            )
            continue
        first, last = int(fields[0]), int(fields[1])
        if not 0 <= first <= last:
            problems.add(number, f"{name}: frames {first} to {last} are none")
        else:
            yield FrameCount(name, last - first + 1)
