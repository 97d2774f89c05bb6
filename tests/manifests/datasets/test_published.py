"""A messy folder against the published lists: every fault is named, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from manifests.datasets.contract import Deviation, Listing, VideoLabel, reader_of
from tests.messy_copies import (
    COPIES,
    MessyCopy,
    invented_ucf_crime,
    invented_xd_violence,
)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[MessyCopy, Listing]]:
    made = [make(tmp_path_factory.mktemp("messy")) for make in COPIES]
    return {copy.kind: (copy, reader_of(copy.kind).read(copy.sources)) for copy in made}


@pytest.fixture(params=["ucf-crime", "xd-violence"])
def messy(
    request: pytest.FixtureRequest, copies: dict[str, tuple[MessyCopy, Listing]]
) -> tuple[MessyCopy, Listing]:
    return copies[request.param]


def said(listing: Listing) -> list[Deviation]:
    return [deviation for deviation in listing.deviations if deviation.kind != "count"]


def test_the_report_names_exactly_what_is_wrong(messy: tuple[MessyCopy, Listing]) -> None:
    copy, listing = messy
    found = [(d.kind, d.subject, d.stops) for d in said(listing)]
    assert sorted(found) == sorted(copy.expected)
    assert all(d.subject in d.text for d in listing.deviations)


def test_every_listed_video_is_there_or_absent_and_nothing_else_is(
    messy: tuple[MessyCopy, Listing],
) -> None:
    copy, listing = messy
    entries = reader_of(copy.kind).catalogue(copy.sources)
    missing = {subject for kind, subject, _ in copy.expected if kind == "missing"}
    used = {entry.name: video_id for video_id, entry in listing.entries.items()}
    assert {entry.name for entry in listing.absent} == missing
    assert set(used) == {entry.name for entry in entries} - missing
    assert sorted(used.values()) == [file.video_id for file in listing.files]
    assert list(listing.labels) == [file.video_id for file in listing.files]
    for entry in entries:
        if entry.name in used:
            assert listing.labels[used[entry.name]] == entry.known


def test_of_several_files_the_one_in_the_listed_place_is_used(
    messy: tuple[MessyCopy, Listing],
) -> None:
    copy, listing = messy
    paths = {listing.entries[file.video_id].name: file.path for file in listing.files}
    assert {name: paths[name] for name in copy.used} == copy.used
    for deviation in said(listing):
        if deviation.kind == "duplicate":
            assert f"'{copy.used[deviation.subject]}' is used" in deviation.text


def test_counts_that_are_not_the_published_ones_are_said(
    messy: tuple[MessyCopy, Listing],
) -> None:
    _, listing = messy
    found = Counter((k.split, k.class_name) for k in listing.labels.values())
    differing = {
        f"{split} {name}": (found[split, name], count)
        for (split, name), count in listing.official.items()
        if found[split, name] != count
    }
    counted = [d for d in listing.deviations if d.kind == "count"]
    assert {d.subject for d in counted} == set(differing)
    assert not any(d.stops for d in counted)
    for d in counted:
        present, expected = differing[d.subject]
        assert d.text.startswith(f"{d.subject}: {present} video")
        assert d.text.endswith(f", {expected} in the published data set")


def test_missing_videos_stop_a_run_unless_they_may_be_missing(
    messy: tuple[MessyCopy, Listing],
) -> None:
    copy, listing = messy
    allowed = reader_of(copy.kind).read(replace(copy.sources, allow_missing=True))
    assert allowed.absent == listing.absent
    missing = [d for d in allowed.deviations if d.kind == "missing"]
    assert missing
    assert not any(d.stops for d in missing)
    assert allowed.files == listing.files


def test_a_missing_video_has_a_hint_where_a_file_is_called_almost_so(tmp_path: Path) -> None:
    sources = invented_ucf_crime(tmp_path)
    root = tmp_path / "videos"
    for line in sources.train_list.read_text().split():  # type: ignore[union-attr]
        (root / line).parent.mkdir(parents=True, exist_ok=True)
        (root / line).write_text(line)
    (root / "Abuse/Abuse001_x264.mp4").rename(root / "Abuse/Abuse001_x265.mp4")
    listing = reader_of("ucf-crime").read(sources)
    texts = {d.subject: d.text for d in listing.deviations if d.kind == "missing"}
    assert texts["Abuse001_x264"].endswith("nearest name is that of 'Abuse/Abuse001_x265.mp4'")


def test_without_a_training_list_the_class_folders_are_it(
    copies: dict[str, tuple[MessyCopy, Listing]],
) -> None:
    copy, listed = copies["ucf-crime"]
    listing = reader_of("ucf-crime").read(replace(copy.sources, train_list=None, test_list=None))
    # What nobody can know without the list is which training videos are missing, and that a file
    # of another name in a class folder is none of them.
    assert all(entry.known.split == "test" for entry in listing.absent)
    labels = dict(listing.labels)
    assert labels.pop("Abuse/holiday") == VideoLabel("train", 1, "Abuse", ())
    assert labels == listed.labels
    kinds = {d.kind for d in listing.deviations} - {"count"}
    assert kinds == {"missing", "extra", "duplicate", "spelling", "contradiction"}


def test_normal_test_videos_of_xd_violence_are_told_by_a_list_or_a_folder(tmp_path: Path) -> None:
    sources = invented_xd_violence(tmp_path)
    for path, folder in ((sources.train_list, "1-1004"), (sources.test_list, "Videos/test")):
        for name in path.read_text().split():  # type: ignore[union-attr]
            file = tmp_path / "videos" / folder / f"{name}.mp4"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
    read = reader_of("xd-violence").read
    listing = read(sources)
    assert {d.kind for d in listing.deviations} == {"count"}
    for less in (
        replace(sources, train_list=None),
        replace(sources, test_list=None),
        replace(sources, train_list=None, test_list=None),
    ):
        assert read(less).labels == listing.labels
