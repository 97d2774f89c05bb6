"""The JSON value of a data set, which enters the key of its index."""

from __future__ import annotations

import json

import pytest

from cache.keys import canonical
from manifests.datasets.contract import (
    UNLABELLED,
    Annotation,
    Entry,
    Listing,
    SourceFile,
    VideoLabel,
)
from manifests.datasets.listing import (
    ListedVideo,
    listed_videos,
    listing_digest,
    listing_values,
)


def listing(mtime_ns: int = 1, inode: int = 1) -> Listing:
    files = tuple(
        SourceFile(name, f"{name}.mp4", size, mtime_ns, inode)
        for name, size in [("a", 5), ("b", 7)]
    )
    known = VideoLabel("test", 1, "Riot", (Annotation(3, 9, "Riot"), Annotation(20, 21, "Fire")))
    entries = {"a": Entry("a", known), "b": Entry("B", UNLABELLED)}
    return Listing(files, {"a": known, "b": UNLABELLED}, ("a warning",), entries)


DIGESTS = {"a": "aa", "b": "bb"}


def test_a_listing_is_one_plain_json_value() -> None:
    values = listing_values(listing(), DIGESTS)
    assert values == [
        ["a", "a.mp4", 5, "aa", "test", 1, "Riot", [[3, 9, "Riot"], [20, 21, "Fire"]], ""],
        ["b", "b.mp4", 7, "bb", "", None, "", [], "B"],
    ]
    assert json.loads(canonical(values)) == values


def test_the_digest_depends_on_what_is_known_and_not_on_when_files_were_written() -> None:
    one = listing_digest(listing_values(listing(), DIGESTS))
    assert one == listing_digest(listing_values(listing(mtime_ns=9, inode=9), DIGESTS))
    assert one != listing_digest(listing_values(listing(), {**DIGESTS, "b": "bc"}))


def test_a_video_that_could_not_be_read_keeps_its_row() -> None:
    assert listing_values(listing(), {"a": "aa"})[1][:4] == ["b", "b.mp4", 7, ""]


def test_rows_have_names() -> None:
    row = listed_videos(listing_values(listing(), DIGESTS))[0]
    assert row == ListedVideo(
        video_id="a", path="a.mp4", bytes=5, digest="aa", split="test", label=1,
        class_name="Riot", intervals=[[3, 9, "Riot"], [20, 21, "Fire"]],
    )  # fmt: skip


@pytest.mark.parametrize("order", [(1, 0), (0, 0)])
def test_rows_out_of_order_are_refused(order: tuple[int, int]) -> None:
    values = listing_values(listing(), DIGESTS)
    with pytest.raises(ValueError, match="sorted by video id, each once"):
        listed_videos([values[place] for place in order])
