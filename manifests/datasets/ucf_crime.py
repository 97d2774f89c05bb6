"""UCF-Crime (Sultani, Chen, Shah: Real-world Anomaly Detection in Surveillance Videos, CVPR 2018).

The file of temporal annotations names all 290 test videos, so it suffices: the other files of the
class folders and of the folders of normal training videos are the training set. Split lists, where
they are given, are checked against it and say which videos are missing.

Layouts in use: the thirteen class folders, bare or below `Anomaly-Videos-Part-1` to `-4`, with
`Training_Normal_Videos_Anomaly` (or `Training-Normal-Videos-Part-1`, `-2`) and
`Testing_Normal_Videos_Anomaly` (or `Testing_Normal_Videos`); or all files in one folder. The folder
of normal videos for event recognition belongs to another task: its files are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from manifests.datasets.annotation_lines import read_annotations
from manifests.datasets.contract import Deviation, Entry, Listing, Sources, VideoLabel
from manifests.datasets.folder import walk
from manifests.datasets.lists import NORMAL, Lists, Place, by_split, join_lists, left_out
from manifests.datasets.published import compare, folder_of

PUBLISHED = "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"

OFFICIAL: Mapping[str, tuple[int, int]] = {
    "Abuse": (48, 2),
    "Arrest": (45, 5),
    "Arson": (41, 9),
    "Assault": (47, 3),
    "Burglary": (87, 13),
    "Explosion": (29, 21),
    "Fighting": (45, 5),
    NORMAL: (800, 150),
    "RoadAccidents": (127, 23),
    "Robbery": (145, 5),
    "Shooting": (27, 23),
    "Shoplifting": (29, 21),
    "Stealing": (95, 5),
    "Vandalism": (45, 5),
}
"""Training and test videos of each class, of Anomaly_Train.txt and Anomaly_Test.txt."""

ANNOTATED_CLASSES = tuple(OFFICIAL)
"""The classes as the annotations write them."""

_CLASSES = {name.lower(): name for name in OFFICIAL if name != NORMAL}
_NAME = re.compile(rf"({'|'.join(_CLASSES)}|normal_videos)_?\d", re.IGNORECASE)
_EVENTS = "events"
"""What the folder of another task's normal videos says, which is no class of ours."""


class UcfCrime:
    """What the names and folders of UCF-Crime say."""

    official = by_split(OFFICIAL)
    fps: float | None = 30.0
    normal_annotated = True

    def __init__(self, *, listed: bool) -> None:
        self._listed = listed
        """Whether a list says which the training videos are."""

    def class_of(self, name: str) -> str | None:
        """`Abuse028_x264` is Abuse, `Normal_Videos_003_x264` normal; None for other names."""
        found = _NAME.match(name)
        return _CLASSES.get(found[1].lower(), NORMAL) if found else None

    def place(self, path: str) -> Place:
        """The class, and for normal videos the split, of the innermost folder that says one."""
        place = self._folder(path)
        return Place("", "") if place.class_name == _EVENTS else place

    def unlisted(self, path: str, name: str) -> VideoLabel | Deviation:
        """A training video where it lies in a folder of them, or bare in the root; else left out."""
        place = self._folder(path)
        if place.class_name == _EVENTS:
            return left_out(path, "lies in a folder of normal videos for event recognition")
        if self._listed:
            return left_out(path, "is named by no list")
        if place.split == "test":
            return left_out(path, "lies in a folder of test videos, and is not annotated")
        told = self.class_of(name) if place.class_name or "/" not in path else None
        class_name = told or place.class_name
        if not class_name:
            return left_out(path, "lies in no folder of a class, and its name says none")
        return VideoLabel("train", int(class_name != NORMAL), class_name, ())

    def _folder(self, path: str) -> Place:
        for folder in reversed(path.split("/")[:-1]):
            letters = re.sub("[^a-z]", "", folder.lower())
            if letters in _CLASSES:
                return Place("", _CLASSES[letters])
            if letters.startswith("trainingnormalvideos"):
                return Place("train", NORMAL)
            if letters.startswith("testingnormalvideos"):
                return Place("test", NORMAL)
            if letters.startswith("normalvideos"):
                return Place("", _EVENTS)
        return Place("", "")


def read(sources: Sources) -> Listing:
    """The videos of UCF-Crime under a folder, against its lists.

    Frame numbers are those of the annotations, from 0 and half-open. Raises ConfigError for lists
    that cannot be read and a folder without videos.
    """
    lists, rules = _lists(sources)
    files, warnings = walk(folder_of(sources))
    return compare(files, warnings, lists, rules, allow_missing=sources.allow_missing)


def catalogue(sources: Sources) -> tuple[Entry, ...]:
    """The test videos, and the training videos where a list names them."""
    return tuple(_lists(sources)[0].entries.values())


def _lists(sources: Sources) -> tuple[Lists, UcfCrime]:
    annotated = read_annotations(sources.annotations, PUBLISHED, ANNOTATED_CLASSES)
    rules = UcfCrime(listed=sources.train_list is not None)
    return join_lists(sources, annotated, rules), rules
