"""XD-Violence (Wu et al.: Not only Look, but also Listen, ECCV 2020).

Every name ends in its labels (`_label_B4-0-0`, `_label_G-B2-B6`, `_label_A`), up to three, which the
data set's paper orders by importance: the class of a video is the first of them. The annotations
name the 500 anomalous test videos only. Which normal videos are test videos says data.test_list; or
data.train_list, by being all others; or the folder, where there is one of test videos.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from cache.errors import ConfigError
from manifests.datasets.annotation_lines import AnnotatedVideo, read_annotations
from manifests.datasets.contract import Deviation, Entry, Listing, SourceFile, Sources, VideoLabel
from manifests.datasets.folder import walk
from manifests.datasets.lists import NORMAL, Lists, Place, by_split, join_lists, left_out
from manifests.datasets.problems import Problems
from manifests.datasets.published import compare, folder_of

PUBLISHED = "annotations.txt"

ANNOTATED_CLASSES: tuple[str, ...] = ()
"""The annotations hold no classes: the names do."""

CLASSES = {
    "A": NORMAL,
    "B1": "Fighting",
    "B2": "Shooting",
    "B4": "Riot",
    "B5": "Abuse",
    "B6": "Car accident",
    "G": "Explosion",
}
"""Label in the name -> class."""

OFFICIAL: Mapping[str, tuple[int, int]] = {
    "Abuse": (36, 8),
    "Car accident": (393, 96),
    "Explosion": (314, 91),
    "Fighting": (445, 120),
    NORMAL: (2049, 300),
    "Riot": (381, 101),
    "Shooting": (336, 84),
}
"""Training and test videos by the first label of their names."""

_LABELS = re.compile(r"_label_(A|B[12456]|G)(?:-(?:B[12456]|G|0)){0,2}$", re.IGNORECASE)
_SPLIT = re.compile(r"(?<![a-z])(train|test)", re.IGNORECASE)


class XdViolence:
    """What the names and folders of XD-Violence say."""

    official = by_split(OFFICIAL)
    fps: float | None = 24.0
    normal_annotated = False

    def __init__(self, *, others: str, by_folder: bool = False) -> None:
        self._others = others
        """The split of files that no list names; empty where the lists name all."""
        self._by_folder = by_folder
        """Files in a folder of test videos are test videos."""

    def class_of(self, name: str) -> str | None:
        """The class of the first label of a name; None for a name without labels."""
        found = _LABELS.search(name)
        return CLASSES[found[1].upper()] if found else None

    def place(self, path: str) -> Place:
        """The split that the innermost folder with train or test in its name says."""
        for folder in reversed(path.split("/")[:-1]):
            found = _SPLIT.search(folder)
            if found:
                return Place(found[1].lower(), "")
        return Place("", "")

    def unlisted(self, path: str, name: str) -> VideoLabel | Deviation:
        """A video of the split that the lists leave open, or that its folder says."""
        class_name = self.class_of(name)
        if class_name is None:
            return left_out(path, "has no label in its name (such as _label_B1-0-0)")
        split = self._others
        if self._by_folder and self.place(path).split == "test":
            split = "test"
        if not split:
            return left_out(path, "is named by no list")
        if split == "test" and class_name != NORMAL:
            text = (
                f"{name} is anomalous by its name and a test video, and is not in the annotations: "
                f"{path!r} is left out"
            )
            return Deviation("contradiction", name, text, stops=True)
        return VideoLabel(split, int(class_name != NORMAL), class_name, ())


def read(sources: Sources) -> Listing:
    """The videos of XD-Violence under a folder, against its lists.

    Frame numbers are those of the annotations, from 0 and half-open. Raises ConfigError for lists
    that cannot be read, a folder without videos, and where nothing says which normal videos are
    test videos.
    """
    annotated = _annotated(sources)
    files, warnings = walk(folder_of(sources))
    rules = _rules(sources, files)
    lists = join_lists(sources, annotated, rules)
    return compare(files, warnings, lists, rules, allow_missing=sources.allow_missing)


def catalogue(sources: Sources) -> tuple[Entry, ...]:
    """The test videos, and the training videos where a list names them; needs data.test_list."""
    annotated = _annotated(sources)
    return tuple(_joined(sources, annotated).entries.values())


def _joined(sources: Sources, annotated: tuple[AnnotatedVideo, ...]) -> Lists:
    if sources.test_list is None:
        raise ConfigError(f"data.test_list is empty: {_UNTOLD}")
    return join_lists(sources, annotated, XdViolence(others=""))


_UNTOLD = (
    "the annotations name anomalous test videos only; give data.test_list, a list of all 800 test "
    "videos (a name a line, or CSV with a column 'video')"
)


def _rules(sources: Sources, files: Iterable[SourceFile]) -> XdViolence:
    if sources.test_list is not None:
        return XdViolence(others="train" if sources.train_list is None else "")
    if sources.train_list is not None:
        return XdViolence(others="test")
    folders = XdViolence(others="train", by_folder=True)
    if any(folders.place(file.path).split == "test" for file in files):
        return folders
    raise ConfigError(
        f"{sources.root}: no folder says which normal videos are test videos, and {_UNTOLD}"
    )


def _annotated(sources: Sources) -> tuple[AnnotatedVideo, ...]:
    """The annotations, with the class that each name says."""
    found = read_annotations(sources.annotations, PUBLISHED, ANNOTATED_CLASSES)
    assert sources.annotations is not None, "read_annotations refuses it"
    names = XdViolence(others="")
    problems = Problems(sources.annotations)
    for video in found:
        if names.class_of(video.name) is None:
            problems.add(None, f"{video.name}: no label in the name (such as _label_B1-0-0)")
    problems.raise_any()
    return tuple(replace(video, class_name=names.class_of(video.name) or "") for video in found)
