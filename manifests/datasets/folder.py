"""A folder of videos, with or without a CSV of labels."""

from __future__ import annotations

import os
import stat
from heapq import heappop, heappush
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

from cache.errors import ConfigError
from manifests.datasets.contract import (
    SUFFIXES,
    UNLABELLED,
    Listing,
    SourceFile,
    Sources,
    video_id_of,
)
from manifests.datasets.label_csv import read_labels

_NAMED = 10
"""How many files an error names before it only counts."""


def read(sources: Sources) -> Listing:
    """List the videos under a folder, with the labels of a CSV file where one is given.

    Raises ConfigError for a folder without videos, two files with one video id, and whatever is
    wrong in the CSV (see `read_labels`).
    """
    if sources.root is None:
        raise ConfigError("data.videos is empty: give the folder of the videos")
    files, warnings = scan(sources.root)
    if sources.labels is None:
        return Listing(files, {file.video_id: UNLABELLED for file in files}, warnings)
    known, remarks = read_labels(sources.labels, files, sources.unlisted)
    return Listing(files, known, (*warnings, *remarks))


def scan(root: Path) -> tuple[tuple[SourceFile, ...], tuple[str, ...]]:
    """The video files under a folder, sorted by video id, and warnings.

    Hidden files and folders are left out. Links to folders are followed, but a folder that was
    walked already is not walked again under another name: there is no loop, and no video has two
    ids because of a link. The real tree is walked first, so a link never takes a video's own name.
    """
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise ConfigError(f"the folder of videos {root} {found}; set data.videos to a folder")
    walk = _Walk(str(root))
    walk.run()
    if not walk.files:
        raise ConfigError(
            f"no video under {root}: looked for files that end in {' '.join(SUFFIXES)}, in it and "
            "in its folders; hidden ones are left out"
        )
    files = sorted(walk.files, key=attrgetter("video_id", "path"))
    _refuse_equal_ids(files)
    return tuple(files), tuple(walk.warnings)


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


def _refuse_equal_ids(files: list[SourceFile]) -> None:
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
