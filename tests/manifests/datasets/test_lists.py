"""Lists against one another: what each contradiction is called, and whether a run is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cache.errors import ConfigError
from manifests.datasets import msad, ucf_crime, xd_violence
from manifests.datasets.contract import Deviation, Listing, Sources
from tests.messy_copies import invented_ucf_crime, invented_xd_violence


def fill(sources: Sources) -> Sources:
    """A file for every listed name, where the lists have it."""
    assert sources.root is not None
    for path in (sources.train_list, sources.test_list):
        assert path is not None
        for line in path.read_text().split():
            file = sources.root / (line if line.endswith(".mp4") else f"{line}.mp4")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(line)
    return sources


def add(path: Path | None, *lines: str) -> None:
    assert path is not None
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def drop(path: Path | None, part: str) -> None:
    assert path is not None
    kept = [line for line in path.read_text().splitlines(keepends=True) if part not in line]
    path.write_text("".join(kept))


def said(listing: Listing) -> list[Deviation]:
    return [deviation for deviation in listing.deviations if deviation.kind != "count"]


def told(listing: Listing) -> list[tuple[str, str, bool]]:
    return [(d.kind, d.subject, d.stops) for d in said(listing)]


@pytest.fixture
def ucf(tmp_path: Path) -> Sources:
    return fill(invented_ucf_crime(tmp_path / "ucf"))


@pytest.fixture
def xd(tmp_path: Path) -> Sources:
    return fill(invented_xd_violence(tmp_path / "xd"))


def test_lists_that_agree_say_nothing(ucf: Sources, xd: Sources) -> None:
    assert said(ucf_crime.read(ucf)) == []
    assert said(xd_violence.read(xd)) == []


def test_a_video_of_both_splits_is_a_test_video_and_stops(ucf: Sources) -> None:
    add(ucf.train_list, "Abuse/Abuse101_x264.mp4")
    listing = ucf_crime.read(ucf)
    assert told(listing) == [("contradiction", "Abuse101_x264", True)]
    assert "and in the training list Anomaly_Train.txt" in said(listing)[0].text
    assert listing.labels["Abuse/Abuse101_x264"].split == "test"


def test_the_file_whose_path_ends_like_that_of_the_list_goes_before_others(ucf: Sources) -> None:
    assert ucf.root is not None
    other = ucf.root / "AAA/Abuse/old/Abuse000_x264.mp4"  # of its class too, and first by path
    other.parent.mkdir(parents=True)
    other.write_text("other")
    listing = ucf_crime.read(ucf)
    assert "Abuse/Abuse000_x264" in listing.labels
    assert told(listing) == [("duplicate", "Abuse000_x264", False)]
    assert "'AAA/Abuse/old/Abuse000_x264.mp4' is left out" in said(listing)[0].text


def test_a_name_twice_in_a_list_counts_once(ucf: Sources) -> None:
    add(ucf.train_list, "Abuse/abuse001_x264.mp4")
    add(ucf.test_list, "Abuse/Abuse101_x264.mp4")
    listing = ucf_crime.read(ucf)
    assert told(listing) == [
        ("contradiction", "Abuse101_x264", False),
        ("contradiction", "abuse001_x264", False),
    ]
    assert len(listing.files) == len(ucf_crime.catalogue(ucf)) == 27


def test_two_lines_for_one_video_stop_where_they_differ(ucf: Sources) -> None:
    add(ucf.annotations, "Abuse101_x264.mp4 Abuse 10 20 -1 -1", "Abuse100_x264.mp4 Abuse 1 2")
    assert told(ucf_crime.read(ucf)) == [
        ("contradiction", "Abuse100_x264", True),
        ("contradiction", "Abuse101_x264", False),
    ]


def test_a_test_video_without_annotation_and_the_reverse_stop(ucf: Sources) -> None:
    drop(ucf.annotations, "Normal_Videos_000")
    drop(ucf.annotations, "Abuse100")
    drop(ucf.test_list, "Arrest102")
    listing = ucf_crime.read(ucf)
    assert told(listing) == [
        ("contradiction", "Abuse100_x264", True),
        ("contradiction", "Arrest102_x264", True),
        ("contradiction", "Normal_Videos_000_x264", True),
    ]
    one, two, three = (d.text for d in said(listing))
    assert "has no annotated interval" in one
    assert "is annotated, and not in the test list" in two
    assert "is in the test list Anomaly_Test.txt, and not in the annotations" in three


def test_a_class_is_told_by_annotation_name_and_list(ucf: Sources) -> None:
    drop(ucf.annotations, "Abuse100")
    drop(ucf.annotations, "Normal_Videos_001")
    add(ucf.annotations, "Abuse100_x264.mp4 Arrest 1 2", "Normal_Videos_001_x264.mp4 Abuse 1 2")
    found = told(ucf_crime.read(ucf))
    # by the name, by the list's folder and by the file's folder
    assert found.count(("contradiction", "Abuse100_x264", False)) == 3
    assert found.count(("contradiction", "Normal_Videos_001_x264", True)) == 3
    assert len(found) == 6


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Normal_Videos_000_x264.mp4 Normal 5 9", "is normal, and has an annotated interval"),
        ("Abuse100_x264.mp4 Abuse -1 -1", "is an anomalous test video, and has no annotated"),
    ],
)
def test_label_and_intervals_must_fit(ucf: Sources, line: str, text: str) -> None:
    name = line.split(".")[0]
    drop(ucf.annotations, name)
    add(ucf.annotations, line)
    (found,) = said(ucf_crime.read(ucf))
    assert (found.kind, found.subject, found.stops) == ("contradiction", name, True)
    assert text in found.text


def test_xd_label_a_with_intervals_and_an_anomalous_video_without(xd: Sources) -> None:
    names = [name for name in xd.test_list.read_text().split() if "_A" in name]  # type: ignore[union-attr]
    odd = [name for name in xd.test_list.read_text().split() if "_A" not in name]  # type: ignore[union-attr]
    drop(xd.annotations, odd[0])
    add(xd.annotations, f"{names[0]} 1 5")
    assert sorted(told(xd_violence.read(xd))) == sorted(
        [("contradiction", names[0], True), ("contradiction", odd[0], True)]
    )
    # told by a folder, that video is no listed one: it is left out, and stops all the same
    root = xd.root
    assert root is not None
    (root / "test").mkdir()
    for name in (*names, *odd):
        (root / f"{name}.mp4").rename(root / "test" / f"{name}.mp4")
    listing = xd_violence.read(replace(xd, train_list=None, test_list=None))
    assert sorted(told(listing)) == sorted(
        [("contradiction", names[0], True), ("contradiction", odd[0], True)]
    )
    assert f"test/{odd[0]}" not in listing.labels


def test_xd_needs_to_be_told_which_normal_videos_are_test_videos(xd: Sources) -> None:
    untold = replace(xd, train_list=None, test_list=None)
    with pytest.raises(ConfigError, match=r"no folder says which .*give data\.test_list"):
        xd_violence.read(untold)
    with pytest.raises(ConfigError, match=r"data\.test_list is empty: .*give data\.test_list"):
        xd_violence.catalogue(replace(xd, test_list=None))


def test_a_listed_name_without_a_class_is_refused(ucf: Sources, xd: Sources) -> None:
    add(ucf.train_list, "holiday.mp4")
    with pytest.raises(ConfigError, match=r"holiday\.mp4: neither the name nor its folder says"):
        ucf_crime.catalogue(ucf)
    add(xd.annotations, "holiday 1 2")
    with pytest.raises(ConfigError, match=r"annotations\.txt: 1 problem\n  holiday: no label"):
        xd_violence.catalogue(xd)


def test_frame_counts_reach_the_entries_in_any_case(ucf: Sources, tmp_path: Path) -> None:
    counts = tmp_path / "counts.csv"
    counts.write_text("video,n_frames,fps\nabuse100_X264,77,25\nNormal_Videos_000_x264.mp4,5,\n")
    found = {e.name: e for e in ucf_crime.catalogue(replace(ucf, frame_counts=(counts,)))}
    abuse, normal = found["Abuse100_x264"], found["Normal_Videos_000_x264"]
    assert (abuse.frames, abuse.fps) == (77, 25.0)
    assert (normal.frames, normal.fps) == (5, 30.0)
    assert found["Abuse101_x264"].frames is None
    listing = ucf_crime.read(replace(ucf, frame_counts=(counts,)))
    assert listing.entries["Abuse/Abuse100_x264"].frames == 77


def test_the_catalogue_is_in_the_order_of_the_lists(ucf: Sources) -> None:
    def names(sources: Sources) -> Sequence[str]:
        return [entry.name for entry in ucf_crime.catalogue(replace(sources, root=None))]

    def lines(path: Path | None) -> list[str]:
        assert path is not None
        return [line.split("/")[1].removesuffix(".mp4") for line in path.read_text().split()]

    assert ucf.test_list is not None
    ucf.test_list.write_text("\n".join(reversed(ucf.test_list.read_text().split())))
    assert names(ucf) == [*lines(ucf.test_list), *lines(ucf.train_list)]
    alone = replace(ucf, test_list=None, train_list=None)
    assert names(alone) == lines(ucf.test_list)[::-1]


def test_msad_keeps_its_intervals_and_calls_its_normal_class_normal(tmp_path: Path) -> None:
    annotations = tmp_path / "annotations.txt"
    annotations.write_text(
        "Assault_2.mp4  Assault  20  200  -1  -1\n"
        "People_falling_1.mp4  People  1  5  8  9\n"
        "MSAD_normal_testing_1.mp4  MSAD  -1  -1  -1  -1\n"
    )
    root = tmp_path / "videos"
    files = ("a/Assault_2", "People_falling_1", "MSAD_normal_testing_1", "MSAD_normal_training_7")
    for name in (*files, "b/Water_incident_4", "MSAD_normal_testing_9", "other"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.mp4").write_text(name)
    listing = msad.read(Sources(root, annotations=annotations))
    labels = {name: (k.split, k.label, k.class_name) for name, k in listing.labels.items()}
    assert labels == {
        "a/Assault_2": ("test", 1, "Assault"),
        "People_falling_1": ("test", 1, "People"),
        "MSAD_normal_testing_1": ("test", 0, "Normal"),
        "MSAD_normal_training_7": ("train", 0, "Normal"),
        "b/Water_incident_4": ("train", 1, "Water"),
    }
    spans = listing.labels["People_falling_1"].annotations
    assert [(a.start_frame, a.end_frame, a.class_name) for a in spans] == [
        (1, 5, "People"), (8, 9, "People"),
    ]  # fmt: skip
    extra = {d.subject for d in listing.deviations if d.kind == "extra"}
    assert extra == {"MSAD_normal_testing_9.mp4", "other.mp4"}
