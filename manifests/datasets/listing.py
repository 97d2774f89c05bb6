"""A data set as one JSON value: what enters the key of the index stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from cache.keys import hash_of
from manifests.datasets.contract import Listing


class ListedVideo(NamedTuple):
    """One video of the data set; a row of the JSON value, in this order."""

    video_id: str
    path: str
    """POSIX path relative to the data set root."""
    bytes: int
    digest: str
    """sha256 of the file, empty where it could not be read."""
    split: str
    label: int | None
    class_name: str
    intervals: Sequence[Sequence[Any]]
    """[start_frame, end_frame, class] each, half-open, sorted."""
    name: str = ""
    """What the lists call it; empty where that is the video id."""


def listing_values(listing: Listing, digests: Mapping[str, str]) -> list[list[Any]]:
    """The JSON value of a listing: one row per video, sorted by id, fields as in ListedVideo.

    A video without a digest (its file could not be read) keeps its row, with an empty digest:
    the data set does not shrink in silence. It is never chosen for the probing subset.
    """
    rows = []
    for file in listing.files:
        known = listing.labels[file.video_id]
        intervals = [[a.start_frame, a.end_frame, a.class_name] for a in known.annotations]
        digest = digests.get(file.video_id, "")
        source = (file.video_id, file.path, file.bytes, digest)
        entry = listing.entries.get(file.video_id)
        name = "" if entry is None or entry.name == file.video_id else entry.name
        rows.append([*source, known.split, known.label, known.class_name, intervals, name])
    return rows


def listing_digest(values: Sequence[Any]) -> str:
    """sha256, in hex, over the canonical JSON of what `listing_values` returned."""
    return hash_of(values)


def listed_videos(values: Sequence[Sequence[Any]]) -> list[ListedVideo]:
    """The rows of `listing_values`, with names.

    Raises ValueError for rows that are not sorted by video id, or that name one twice.
    """
    rows = [ListedVideo(*row) for row in values]
    for one, two in pairwise(rows):
        if one.video_id >= two.video_id:
            raise ValueError(
                f"the listing must be sorted by video id, each once: {one.video_id!r} comes "
                f"before {two.video_id!r}"
            )
    return rows
