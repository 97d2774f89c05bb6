"""What a data set reader gives: the videos of a folder, and what is known of each.

A reader is one module of this package with two functions and one line in `READERS`:

    read(sources) -> Listing             the files of the folder, and what the lists say of each
    catalogue(sources) -> (Entry, ...)   what the lists say by themselves; no video is needed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from cache.errors import ConfigError
from manifests.datasets.nearest import Names

SUFFIXES = (
    ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv",
)  # fmt: skip
"""The endings of a video file, in lower case; files may have them in any case."""

Unlisted = Literal["error", "score"]
"""What to do with a video of the folder that the label file does not name."""

READERS: Mapping[str, str] = {
    "folder": "manifests.datasets.folder",
    "msad": "manifests.datasets.msad",
    "ucf-crime": "manifests.datasets.ucf_crime",
    "xd-violence": "manifests.datasets.xd_violence",
}
"""Kind of data set -> module that reads it; imported only when it is asked for."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a data set is: the paths of section [data], made absolute, and what may be missing."""

    root: Path | None
    """Folder of the videos; None where only the lists are asked for."""
    labels: Path | None = None
    """CSV of labels (kind folder)."""
    annotations: Path | None = None
    """The published temporal annotations of the test videos."""
    train_list: Path | None = None
    """The published list of training videos."""
    test_list: Path | None = None
    """The published list of test videos."""
    frame_counts: tuple[Path, ...] = ()
    """Lists of how many frames the videos have."""
    unlisted: Unlisted = "error"
    allow_missing: bool = False
    """Whether videos that are listed and not there are left out instead of refused."""


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
class Entry:
    """A video that the lists of a data set name, whether its file is there or not."""

    name: str
    """As the lists spell it, without its one known suffix; without folders too, but for kind folder,
    where it is the video id."""
    known: VideoLabel
    frames: int | None = None
    """How many frames a list of frame counts gives it."""
    fps: float | None = None
    """Its frame rate, where a list or the data set's description gives one."""

    @property
    def truth(self) -> dict[str, Any]:
        """What is annotated, as stage evaluate gets it."""
        return {
            "label": self.known.label,
            "class": self.known.class_name,
            "intervals": [[a.start_frame, a.end_frame] for a in self.known.annotations],
            "listed_frames": self.frames,
        }


DeviationKind = Literal[
    "missing", "extra", "duplicate", "contradiction", "spelling", "frames", "count"
]


@dataclass(frozen=True, slots=True)
class Deviation:
    """One way in which a folder and its lists are not what the data set is known to be."""

    kind: DeviationKind
    subject: str
    """The video or the list that it is about."""
    text: str
    """What is so, in one line, with the subject in it; says what was done or what to do."""
    stops: bool
    """Whether a run is refused until it is mended (or allowed)."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A data set before any video is opened."""

    files: tuple[SourceFile, ...]
    """Sorted by video id; no id twice."""
    labels: Mapping[str, VideoLabel]
    """One entry per file, by video id."""
    warnings: tuple[str, ...]
    """What a person should know; nothing here stops the work."""
    entries: Mapping[str, Entry] = field(default_factory=dict)
    """What the lists say of a file, by video id, where they name it."""
    absent: tuple[Entry, ...] = ()
    """Videos that the lists name and whose file is not there, sorted by name."""
    deviations: tuple[Deviation, ...] = ()
    """Everything that is not as it is known to be; `check` shows all of it."""
    official: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many videos the published data set has, by (split, class); empty where none is known."""


class DatasetReader(Protocol):
    """Lists one kind of data set."""

    def read(self, sources: Sources) -> Listing:
        """List the videos under `sources.root`; raises ConfigError for lists that cannot be read.

        What a folder and readable lists disagree on is a deviation of the listing, not an error.
        """
        ...

    def catalogue(self, sources: Sources) -> tuple[Entry, ...]:
        """What the lists say, in their order; no video file is looked at, `root` may be None."""
        ...


def reader_of(kind: str) -> DatasetReader:
    """The reader of a kind of data set; raises ConfigError, with the nearest name, for another."""
    if kind not in READERS:
        raise ConfigError(
            f"data.kind = {kind!r} is not known{Names(READERS, likeness=0).hint(kind)}; "
            f"the known kinds are {', '.join(sorted(READERS))}"
        )
    reader: DatasetReader = import_module(READERS[kind])
    return reader


def video_id_of(path: str) -> str:
    """A relative POSIX path without its one known suffix: `a/b.c.mp4` gives `a/b.c`."""
    stem, dot, suffix = path.rpartition(".")
    known = dot + suffix.lower() in SUFFIXES and stem and not stem.endswith("/")
    return stem if known else path
