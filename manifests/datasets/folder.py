"""A folder of videos, with or without a CSV of labels."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

from cache.errors import ConfigError
from manifests.datasets.contract import (
    SUFFIXES,
    UNLABELLED,
    Deviation,
    Entry,
    Listing,
    SourceFile,
    Sources,
    VideoLabel,
    video_id_of,
)
from manifests.datasets.frame_counts import FrameCount, gather_counts
from manifests.datasets.label_csv import LabelFile, read_labels, read_listed
from manifests.datasets.names import tidy

_NAMED = 10
"""How many files an error names before it only counts."""


def read(sources: Sources) -> Listing:
    """List the videos under a folder, with the labels of a CSV file where one is given.

    Raises ConfigError for a folder without videos, two files with one video id, and whatever is
    wrong in the CSV (see `read_labels`) or in a list of frame counts.
    """
    if sources.root is None:
        raise ConfigError("data.videos is empty: give the folder of the videos")
    files, warnings = scan(sources.root)
    said = LabelFile({file.video_id: UNLABELLED for file in files}, (), {})
    if sources.labels is not None:
        said = read_labels(
            sources.labels, files, sources.unlisted, allow_missing=sources.allow_missing
        )
    counts, deviations = gather_counts(sources.frame_counts, key=_video_id)
    entries = {
        name: _entry(name, known, counts)
        for name, known in said.labels.items()
        if name in counts or known is not UNLABELLED
    }
    absent = tuple(_entry(name, said.absent[name], counts) for name in sorted(said.absent))
    missing = [_missing(entry) for entry in absent]
    unknown = [
        _unknown(count.video)
        for name, count in counts.items()
        if name not in said.labels and name not in said.absent
    ]
    return Listing(
        files,
        said.labels,
        (*warnings, *said.warnings),
        entries=entries,
        absent=absent,
        deviations=(*missing, *deviations, *unknown),
    )


def catalogue(sources: Sources) -> tuple[Entry, ...]:
    """What the label file says, in its order; the name of an entry is the video id, with folders.

    Raises ConfigError where there is no label file, and for what is wrong in it.
    """
    if sources.labels is None:
        raise ConfigError("data.labels is empty: give the CSV file of labels")
    counts, _ = gather_counts(sources.frame_counts, key=_video_id)
    listed = read_listed(sources.labels)
    return tuple(_entry(name, known, counts) for name, known in listed.items())


def _entry(name: str, known: VideoLabel, counts: Mapping[str, FrameCount]) -> Entry:
    count = counts.get(name)
    return Entry(name, known, count.frames, count.fps) if count else Entry(name, known)


def _video_id(cell: str) -> str:
    return video_id_of(posixpath.normpath(tidy(cell)))


def _missing(entry: Entry) -> Deviation:
    said = ", ".join(filter(None, (entry.known.split, entry.known.class_name))) or "no split"
    text = f"{entry.name} ({said}) is not there"
    return Deviation("missing", entry.name, text, stops=False)  # else read_labels has refused it


def _unknown(video: str) -> Deviation:
    text = f"{video} has a frame count, and is not in the folder: the count is not used"
    return Deviation("frames", video, text, stops=False)


def scan(root: Path) -> tuple[tuple[SourceFile, ...], tuple[str, ...]]:
    """The video files under a folder, sorted by video id, and warnings: as `walk`, no id twice.

    Raises ConfigError for two files that differ in their suffix only.
    """
    files, warnings = walk(root)
    _refuse_equal_ids(files)
    return files, warnings


def walk(root: Path) -> tuple[tuple[SourceFile, ...], tuple[str, ...]]:
    """The video files under a folder, sorted by video id and path, and warnings.

    Hidden files and folders are left out. Links to folders are followed, but a folder that was
    walked already is not walked again under another name: there is no loop, and no video has two
    ids because of a link. The real tree is walked first, so a link never takes a video's own name.
    """
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        raise ConfigError(f"the folder of videos {root} {state}; set data.videos to a folder")
    found = _Walk(str(root))
    found.run()
    if not found.files:
        raise ConfigError(
            f"no video under {root}: looked for files that end in {' '.join(SUFFIXES)}, in it and "
            "in its folders; hidden ones are left out"
        )
    return tuple(sorted(found.files, key=attrgetter("video_id", "path"))), tuple(found.warnings)


class _Walk:
    """One pass over a tree: what `scan` found so far."""

    def __init__(self, root: str) -> None:
        self.files: list[SourceFile] = []
        self.warnings: list[str] = []
        self._root = root
        self._links: list[str] = []
        self._walked: dict[tuple[int, int], str] = {}

    def run(self) -> None:
        """Walk the real tree, and then, in order of name, every link to a folder."""
        self._descend("", linked=False)
        while self._links:
            self._descend(heappop(self._links), linked=True)

    def _descend(self, start: str, *, linked: bool) -> None:
        stack = [start]
        while stack:
            folder = stack.pop()
            status = Path(self._root, folder).stat()
            first = self._walked.setdefault((status.st_dev, status.st_ino), folder)
            # Only what lies behind a link can come twice. In the real tree two folders with one
            # inode number are two folders, whatever some network file systems say.
            if linked and first != folder:
                self.warnings.append(
                    f"{folder!r} leads to the folder {first or '.'!r}, which is read already: "
                    "left out"
                )
            else:
                stack += self._list(folder)

    def _list(self, folder: str) -> list[str]:
        """Take the files of one folder; its sub-folders, last name first."""
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                ordered = sorted(entries, key=attrgetter("name"), reverse=True)
        except PermissionError as error:
            raise ConfigError(
                f"the folder {folder!r} under {self._root} cannot be read: {error.strerror}; give "
                "yourself the right to read it, or move it elsewhere"
            ) from error
        prefix = f"{folder}/" if folder else ""
        return [
            prefix + entry.name
            for entry in ordered
            if not entry.name.startswith(".") and self._take(prefix + entry.name, entry)
        ]

    def _take(self, path: str, entry: os.DirEntry[str]) -> bool:
        """Take one entry; say whether it is a folder to walk into now."""
        if entry.is_dir(follow_symlinks=False):
            return True
        video_id = video_id_of(path)
        if video_id == path and not entry.is_symlink():
            return False
        try:
            status = entry.stat()
        except OSError as error:
            if video_id != path:
                self.warnings.append(f"{path!r} cannot be reached ({error.strerror}): left out")
            return False
        if stat.S_ISDIR(status.st_mode):
            heappush(self._links, path)
        elif video_id != path and stat.S_ISREG(status.st_mode):
            _refuse_foreign_bytes(path)
            size, mtime = status.st_size, status.st_mtime_ns
            self.files.append(SourceFile(video_id, path, size, mtime, status.st_ino))
        return False


def _refuse_foreign_bytes(path: str) -> None:
    if path.isascii():
        return
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"the file name {path!r} is not UTF-8, and so cannot be written into a table: rename it"
        ) from error


def _refuse_equal_ids(files: Sequence[SourceFile]) -> None:
    doubles = [
        f"{one.path!r} and {two.path!r}"
        for one, two in pairwise(files)
        if one.video_id == two.video_id
    ]
    if doubles:
        rest = f", and {len(doubles) - _NAMED} more" if len(doubles) > _NAMED else ""
        raise ConfigError(
            "a video is known by its path without the suffix, and these files have the same one: "
            f"{'; '.join(doubles[:_NAMED])}{rest}; rename or remove one of each"
        )
