"""MSAD (Zhu et al.: Advancing Video Anomaly Detection, NeurIPS 2024), the frame-annotated test set.

Lines are written as for UCF-Crime; the class MSAD stands for normal. Frames count from 1 and both
ends are included (`Assault_4.mp4  Assault  1  515` in a video of 515 frames). Start and end are kept
as the file has them, not made half-open from 0: with `evaluate.labels = "inclusive"`, y[s:e+1], the
published scores then give the published figures, which is what others compare with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from manifests.datasets.annotation_lines import read_annotations
from manifests.datasets.contract import Deviation, Entry, Listing, Sources, VideoLabel
from manifests.datasets.folder import walk
from manifests.datasets.lists import NORMAL, Lists, Place, join_lists, left_out
from manifests.datasets.published import compare, folder_of

PUBLISHED = "Temporal_Anomaly_Annotation_for_Testing_Videos.txt"

OFFICIAL: Mapping[str, int] = {
    "Assault": 8,
    "Explosion": 8,
    "Fighting": 6,
    "Fire": 12,
    NORMAL: 120,
    "Object": 10,
    "People": 22,
    "Robbery": 14,
    "Shooting": 9,
    "Traffic": 20,
    "Vandalism": 6,
    "Water": 5,
}
"""Test videos of each class; for the training set there is no list to count."""

_WRITTEN = {NORMAL: "MSAD"}
"""How the annotations write a class, where it is not called so."""
_READ = {_WRITTEN.get(name, name): name for name in OFFICIAL}
ANNOTATED_CLASSES = tuple(_READ)
"""The classes as the annotations write them."""
_NAME = re.compile(rf"({'|'.join(_READ)})_", re.IGNORECASE)
_FOLDED = {written.lower(): name for written, name in _READ.items()}


class Msad:
    """What the names of MSAD say; its folders are not relied on."""

    official: Mapping[tuple[str, str], int] = {("test", name): n for name, n in OFFICIAL.items()}
    fps: float | None = None
    normal_annotated = True

    def __init__(self, *, listed: bool) -> None:
        self._listed = listed
        """Whether a list says which the training videos are."""

    def class_of(self, name: str) -> str | None:
        """`People_falling_3` is People, `MSAD_normal_testing_1` normal; None for other names."""
        found = _NAME.match(name)
        return _FOLDED[found[1].lower()] if found else None

    def place(self, path: str) -> Place:
        """Nothing."""
        return Place("", "")

    def unlisted(self, path: str, name: str) -> VideoLabel | Deviation:
        """A training video by its name where no list says which these are; else left out."""
        class_name = self.class_of(name)
        if self._listed or class_name is None:
            why = "is named by no list" if self._listed else "has no class in its name"
        elif "_testing_" in name.lower():
            why = "is a test video by its name, and is not annotated"
        else:
            return VideoLabel("train", int(class_name != NORMAL), class_name, ())
        return left_out(path, why)


def read(sources: Sources) -> Listing:
    """The videos of MSAD under a folder, against its lists.

    Raises ConfigError for lists that cannot be read and a folder without videos.
    """
    lists, rules = _lists(sources)
    files, warnings = walk(folder_of(sources))
    return compare(files, warnings, lists, rules, allow_missing=sources.allow_missing)


def catalogue(sources: Sources) -> tuple[Entry, ...]:
    """The test videos, and the training videos where a list names them."""
    return tuple(_lists(sources)[0].entries.values())


def _lists(sources: Sources) -> tuple[Lists, Msad]:
    written = read_annotations(sources.annotations, PUBLISHED, ANNOTATED_CLASSES)
    annotated = [replace(video, class_name=_READ[video.class_name]) for video in written]
    rules = Msad(listed=sources.train_list is not None)
    return join_lists(sources, annotated, rules), rules
