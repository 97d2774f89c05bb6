"""What a data set reader gives: the videos of a folder, and what is known of each.

A reader is one module of this package with one function, `read(root, labels, unlisted) -> Listing`,
and one line in `READERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

from cache.errors import ConfigError
from manifests.datasets.nearest import Names

SUFFIXES = (
    ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv",
)  # fmt: skip
"""The endings of a video file, in lower case; files may have them in any case."""

Unlisted = Literal["error", "score"]
"""What to do with a video of the folder that the label file does not name."""

READERS: Mapping[str, str] = {"folder": "manifests.datasets.folder"}
"""Kind of data set -> module that reads it; imported only when it is asked for."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A video file as the file system shows it."""

    video_id: str
    """Path relative to the data set root, without its one known suffix."""
    path: str
    """POSIX path relative to the data set root."""
    bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """An anomalous interval: frames counted from 0 in presentation order, half-open."""

    start_frame: int
    end_frame: int
    class_name: str


@dataclass(frozen=True, slots=True)
class VideoLabel:
    """What the labels say of one video."""

    split: str
    """train, test, or empty where none was given."""
    label: int | None
    """0 normal, 1 anomalous, None where none was given."""
    class_name: str
    annotations: tuple[Annotation, ...]
    """Sorted by frame."""


UNLABELLED = VideoLabel("", None, "", ())
"""What is known of a video that no label names."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A data set before any video is opened."""

    files: tuple[SourceFile, ...]
    """Sorted by video id; no id twice."""
    labels: Mapping[str, VideoLabel]
    """One entry per file, by video id."""
    warnings: tuple[str, ...]
    """What a person should know; nothing here stops the work."""


class DatasetReader(Protocol):
    """Lists one kind of data set."""

    def __call__(self, root: Path, labels: Path | None, unlisted: Unlisted) -> Listing:
        """List the videos under `root`; raises ConfigError for what cannot be right."""
        ...


def reader_of(kind: str) -> DatasetReader:
    """The reader of a kind of data set; raises ConfigError, with the nearest name, for another."""
    if kind not in READERS:
        raise ConfigError(
            f"data.kind = {kind!r} is not known{Names(READERS, likeness=0).hint(kind)}; "
            f"the known kinds are {', '.join(sorted(READERS))}"
        )
    read: DatasetReader = import_module(READERS[kind]).read
    return read


def video_id_of(path: str) -> str:
    """A relative POSIX path without its one known suffix: `a/b.c.mp4` gives `a/b.c`."""
    stem, dot, suffix = path.rpartition(".")
    known = dot + suffix.lower() in SUFFIXES and stem and not stem.endswith("/")
    return stem if known else path
