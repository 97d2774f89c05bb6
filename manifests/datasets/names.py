"""Names of videos in published lists: with or without folders, with or without a suffix."""

from __future__ import annotations

import posixpath

from manifests.datasets.contract import video_id_of


def bare_name(text: str) -> str:
    """The name without folders and without its one known suffix; whatever else it holds stays.

    `Abuse/Abuse028_x264.mp4` gives `Abuse028_x264`, `City.of.God.2002__#01-24-10_01-25-10_label_A`
    stays whole.
    """
    return video_id_of(posixpath.basename(tidy(text)))


def tidy(text: str) -> str:
    """A path as a list or a file system has it, with forward slashes and no blanks around it."""
    return text.strip().replace("\\", "/")


def folded(name: str) -> str:
    """The form in which two spellings of one name are equal: without a second suffix, in any case."""
    return video_id_of(name).casefold()
