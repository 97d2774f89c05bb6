"""The published lists of the three data sets: official counts, frames, annotated frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from manifests.datasets import msad, ucf_crime, xd_violence
from manifests.datasets.contract import Entry, Sources, reader_of
from manifests.datasets.listing import ListedVideo
from manifests.datasets.probing import candidates, choose_probing
from tests.real_lists import (
    TEMPORAL,
    UCF,
    XD,
    msad_sources,
    needs_lists,
    ucf_sources,
    xd_sources,
)

pytestmark = needs_lists

SOURCES = {"ucf-crime": ucf_sources, "xd-violence": xd_sources, "msad": msad_sources}


@pytest.fixture(scope="module")
def entries() -> Mapping[str, tuple[Entry, ...]]:
    return {kind: reader_of(kind).catalogue(make()) for kind, make in SOURCES.items()}


def naive_positive(entry: Entry) -> int:
    """Annotated frames, by an array of every frame."""
    assert entry.frames is not None
    labels = np.zeros(entry.frames)
    for span in entry.known.annotations:
        labels[span.start_frame : span.end_frame] = 1
    return int(labels.sum())


@pytest.mark.parametrize(
    ("kind", "splits", "labels", "frames", "positive"),
    [
        ("ucf-crime", (1610, 290), {(0, 0): 800, (0, 1): 810, (1, 0): 150, (1, 1): 140},
         1_111_808, 84_182),
        ("xd-violence", (3954, 800), {(0, 0): 2049, (0, 1): 1905, (1, 0): 300, (1, 1): 500},
         2_335_801, 538_324),
        ("msad", (0, 240), {(1, 0): 120, (1, 1): 120}, 146_408, None),
    ],
)  # fmt: skip
def test_the_lists_hold_what_is_published(
    entries: Mapping[str, tuple[Entry, ...]],
    kind: str,
    splits: tuple[int, int],
    labels: dict[tuple[int, int], int],
    frames: int,
    positive: int | None,
) -> None:
    known = [entry.known for entry in entries[kind]]
    assert Counter(k.split for k in known) == Counter({"train": splits[0], "test": splits[1]})
    assert Counter((int(k.split == "test"), k.label) for k in known) == labels
    tested = [entry for entry in entries[kind] if entry.known.split == "test"]
    assert sum(entry.frames or 0 for entry in tested) == frames
    assert all(entry.frames for entry in entries[kind])
    if positive is not None:
        assert sum(map(naive_positive, tested)) == positive
    rate = {"ucf-crime": 30.0, "xd-violence": 24.0, "msad": None}[kind]
    assert {entry.fps for entry in entries[kind]} == {rate}


def test_the_official_counts_are_those_of_the_lists(
    entries: Mapping[str, tuple[Entry, ...]],
) -> None:
    rules = {"ucf-crime": ucf_crime.UcfCrime, "xd-violence": xd_violence.XdViolence}
    for kind, official in [(k, r.official) for k, r in rules.items()] + [
        ("msad", msad.Msad.official)
    ]:
        counted = Counter((e.known.split, e.known.class_name) for e in entries[kind])
        assert dict(official) == counted


def test_the_official_counts_of_ucf_crime_are_the_folders_of_its_split_lists() -> None:
    """By another road: no name is parsed, only the folder of each line."""
    for split, name in (("train", "Anomaly_Train.txt"), ("test", "Anomaly_Test.txt")):
        folders = Counter(line.split("/")[0] for line in (UCF / name).read_text().split())
        found = {
            ucf_crime.NORMAL if "Normal" in folder else folder: n for folder, n in folders.items()
        }
        expected = {c: n for (s, c), n in ucf_crime.UcfCrime.official.items() if s == split}
        assert found == expected


def test_five_annotations_of_ucf_crime_end_past_the_video(
    entries: Mapping[str, tuple[Entry, ...]],
) -> None:
    def past(kind: str) -> dict[str, int]:
        ends = {e.name: e.known.annotations[-1].end_frame - (e.frames or 0)
                for e in entries[kind] if e.known.annotations}  # fmt: skip
        return {name: over for name, over in ends.items() if over > 0}

    assert past("ucf-crime") == {
        "Arson011_x264": 1, "Arson016_x264": 1, "Explosion033_x264": 2, "Fighting003_x264": 1,
        "Shooting015_x264": 2,
    }  # fmt: skip
    assert past("xd-violence") == past("msad") == {}


def test_both_copies_of_the_list_of_xd_violence_give_the_same() -> None:
    other = replace(xd_sources(), annotations=XD / "annotations_with_mp4_suffixes.txt")
    assert ".mp4" in (XD / "annotations_with_mp4_suffixes.txt").read_text()
    assert xd_violence.catalogue(other) == xd_violence.catalogue(xd_sources())


def test_the_published_lists_agree_with_one_another() -> None:
    """No file is there, so every video is missing; nothing else is to be said but the counts."""
    from manifests.datasets.lists import join_lists

    for reader, sources in ((ucf_crime, ucf_sources()), (msad, msad_sources())):
        lists, rules = reader._lists(sources)
        assert lists.deviations == []
        assert rules.official
    annotated = xd_violence._annotated(xd_sources())
    assert join_lists(xd_sources(), annotated, xd_violence.XdViolence(others="")).deviations == []


def test_the_annotations_of_ucf_crime_suffice_for_its_test_set() -> None:
    alone = ucf_crime.catalogue(Sources(None, annotations=UCF / TEMPORAL))
    listed = [e for e in ucf_crime.catalogue(ucf_sources()) if e.known.split == "test"]
    assert {e.name: e.known for e in alone} == {e.name: e.known for e in listed}


def test_the_class_of_every_name_is_the_class_of_its_list(
    entries: Mapping[str, tuple[Entry, ...]],
) -> None:
    for kind, rules in (
        ("ucf-crime", ucf_crime.UcfCrime(listed=True)),
        ("xd-violence", xd_violence.XdViolence(others="")),
        ("msad", msad.Msad(listed=True)),
    ):
        for entry in entries[kind]:
            assert rules.class_of(entry.name) == entry.known.class_name


def test_msad_annotations_reach_their_last_frame_counted_from_1() -> None:
    found = [(e.known.annotations, e.frames or 0) for e in msad.catalogue(msad_sources())]
    assert min(spans[0].start_frame for spans, _ in found if spans) == 1
    assert max(spans[-1].end_frame - frames for spans, frames in found if spans) == 0


@pytest.mark.parametrize(
    ("kind", "count", "classes"), [("ucf-crime", 16, 8), ("xd-violence", 40, 5)]
)
def test_one_percent_of_the_training_videos_is_the_probing_subset(
    entries: Mapping[str, tuple[Entry, ...]], kind: str, count: int, classes: int
) -> None:
    rows = sorted(
        ListedVideo(e.name, f"{e.name}.mp4", 1, e.name, e.known.split, e.known.label,
                    e.known.class_name, [])
        for e in entries[kind]
    )  # fmt: skip
    chosen = choose_probing(rows, share=0.01, count=0, videos=(), seed=0)
    drawn = [row for row in rows if row.video_id in chosen]
    assert len(drawn) == count
    assert {row.split for row in drawn} == {"train"}
    assert Counter(row.label for row in drawn) == {0: count // 2, 1: count // 2}
    # in proportion to the classes, each rounded down or up
    found = Counter(row.class_name for row in drawn if row.label == 1)
    sizes = Counter(row.class_name for row in candidates(rows) if row.label == 1)
    assert len(found) >= classes
    for name, size in sizes.items():
        share = count / 2 * size / sum(sizes.values())
        assert int(share) <= found[name] <= int(share) + 1, name
    assert chosen != choose_probing(rows, share=0.01, count=0, videos=(), seed=1)


def test_all_thirteen_classes_are_probed_where_there_are_places_enough(
    entries: Mapping[str, tuple[Entry, ...]],
) -> None:
    rows = sorted(
        ListedVideo(e.name, e.name, 1, e.name, e.known.split, e.known.label, e.known.class_name, [])
        for e in entries["ucf-crime"]
    )
    chosen = choose_probing(rows, share=0.05, count=0, videos=(), seed=0)
    classes = {row.class_name for row in rows if row.video_id in chosen}
    assert classes == set(ucf_crime.OFFICIAL)
