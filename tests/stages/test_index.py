"""Stage index: the tables of a data set, with its probing subset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cache.errors import ConfigError
from cache.fields import notes, recipe_of
from manifests import schema
from manifests.datasets.contract import Sources
from manifests.datasets.folder import read
from manifests.datasets.listing import listing_values
from manifests.table import read_table
from stages import index
from stages.contract import Job, Result


def row(
    name: str, split: str = "train", label: int | None = 0, spans: Sequence[Any] = (), **more: Any
) -> list[Any]:
    digest = more.get("digest", f"sha of {name}")
    return [name, f"{name}.mp4", 7, digest, split, label, more.get("class_name", ""), list(spans)]


LISTING = [
    row("a1", label=1, spans=[[3, 9, "Riot"]], class_name="Riot"),
    row("a2", label=1, class_name="Riot"),
    row("n1", class_name="Normal"),
    row("n2", class_name="Normal"),
    row("t1", "test", 1, [[0, 4, "Riot"], [10, 20, "Riot"]], class_name="Riot"),
    row("u", "", None),
]


def compute(out: Path, listing: list[list[Any]], **settings: Any) -> Result:
    out.mkdir(exist_ok=True)
    job = Job("demo", index.Settings(**settings), out, values={"listing": listing})
    return index.compute(job)


def videos_of(out: Path) -> dict[str, dict[str, Any]]:
    rows = read_table(out / "videos.parquet", schema.VIDEOS).to_pylist()
    return {row["video_id"]: row for row in rows}


def test_every_video_is_a_row_with_what_is_known_of_it(tmp_path: Path) -> None:
    result = compute(tmp_path, LISTING, probing_videos=("a1", "n2"))
    assert result.rows == 6
    videos = videos_of(tmp_path)
    assert list(videos) == [row[0] for row in LISTING]
    assert videos["t1"] == {
        "video_id": "t1", "path": "t1.mp4", "bytes": 7, "digest": "sha of t1", "split": "test",
        "label": 1, "class": "Riot", "subset": "", "n_frames": None, "fps": None, "width": None,
        "height": None, "duration": None,
    }  # fmt: skip
    assert videos["u"]["label"] is None
    assert {name for name, video in videos.items() if video["subset"] == "probing"} == {"a1", "n2"}


def test_every_interval_is_a_row(tmp_path: Path) -> None:
    compute(tmp_path, LISTING)
    table = read_table(tmp_path / "annotations.parquet", schema.ANNOTATIONS)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("a1", 3, 9, "Riot"),
        ("t1", 0, 4, "Riot"),
        ("t1", 10, 20, "Riot"),
    ]


def test_a_data_set_without_labels_has_empty_annotations_and_says_so(tmp_path: Path) -> None:
    result = compute(tmp_path, [row("a", "", None), row("b", "", None)])
    assert read_table(tmp_path / "annotations.parquet", schema.ANNOTATIONS).num_rows == 0
    assert {video["subset"] for video in videos_of(tmp_path).values()} == {""}
    assert result.notes == ("no training video has a label: the probing subset is empty",)


def test_the_notes_say_what_the_probing_subset_is(tmp_path: Path) -> None:
    result = compute(tmp_path, LISTING, probing_count=3)
    assert result.notes == (
        "probing subset: 3 of 4 labelled training videos (2 normal, 1 anomalous)",
    )


def test_the_notes_say_which_videos_were_passed_over(tmp_path: Path) -> None:
    listing = [*LISTING[:2], row("n1", digest="sha of t1"), row("n2", digest=""), *LISTING[4:]]
    result = compute(tmp_path, listing, probing_share=1.0)
    assert result.notes[0].startswith("probing subset: 2 of 4")
    assert result.notes[1].startswith("2 labelled training videos were not considered")
    assert result.notes[1].endswith(
        "'n1' is the same file as the test video 't1'; 'n2' cannot be read"
    )
    videos = videos_of(tmp_path)
    assert (videos["n1"]["subset"], videos["n2"]["subset"]) == ("", "")


def test_share_count_seed_and_names_reach_the_choice(tmp_path: Path) -> None:
    def chosen(name: str, **settings: Any) -> frozenset[str]:
        compute(tmp_path / name, listing, **settings)
        videos = videos_of(tmp_path / name)
        return frozenset(v for v in videos if videos[v]["subset"] == "probing")

    listing = sorted(row(f"v{n:02}", label=n % 2) for n in range(50))
    assert len(chosen("share", probing_share=0.2)) == 10
    assert len(chosen("count", probing_count=7)) == 7
    assert len({chosen(f"seed{n}", probing_count=7, probing_seed=n) for n in range(4)}) == 4
    assert chosen("names", probing_videos=("v03", "v04")) == {"v03", "v04"}
    with pytest.raises(ConfigError, match="probing_count = 51"):
        chosen("many", probing_count=51)


def test_frame_labels_need_an_interval_in_each_anomalous_probing_video(tmp_path: Path) -> None:
    compute(tmp_path / "fine", LISTING, probing_labels="frame", probing_videos=("a1", "n1"))
    with pytest.raises(ConfigError, match=r"probing_labels = \"frame\" needs .*; 'a2' has none"):
        compute(tmp_path / "bad", LISTING, probing_labels="frame", probing_videos=("a1", "a2"))
    compute(tmp_path / "video", LISTING, probing_labels="video", probing_videos=("a1", "a2"))


def test_the_same_listing_gives_the_same_bytes(tmp_path: Path) -> None:
    compute(tmp_path / "one", LISTING)
    compute(tmp_path / "two", LISTING)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["annotations.parquet", "videos.parquet"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_listing_out_of_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sorted"):
        compute(tmp_path, LISTING[::-1])


def test_from_a_folder_and_a_csv_to_the_tables(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    names = ["v=S-7rRLrxnVQ__#1_label_B4-0-0.mp4", "日本.AVI", "n.1.mkv"]
    for name in names:
        (root / name).write_bytes(name.encode())
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "video,split,label,class,start_frame,end_frame\n"
        f"{names[0]},train,1,Riot,0,1517\n{names[0]},train,1,Riot,1970,3038\n"
        "日本,train,0,Normal,,\nn.1,test,0,,,\n",
        encoding="utf-8",
    )
    listing = read(Sources(root, labels))
    digests = {file.video_id: file.video_id for file in listing.files}
    compute(tmp_path / "out", listing_values(listing, digests), probing_share=1.0)
    videos = videos_of(tmp_path / "out")
    assert list(videos) == ["n.1", names[0][:-4], "日本"]
    assert [video["subset"] for video in videos.values()] == ["", "probing", "probing"]
    assert [video["path"] for video in videos.values()] == ["n.1.mkv", names[0], "日本.AVI"]
    table = read_table(tmp_path / "out" / "annotations.parquet", schema.ANNOTATIONS)
    assert table["end_frame"].to_pylist() == [1517, 3038]


def test_places_are_knobs_and_everything_else_is_recipe() -> None:
    knobs = {name for name, note in notes(index.Settings).items() if note.kind == "knob"}
    assert knobs == {
        "videos", "labels", "annotations", "train_list", "test_list", "frame_counts",
        "allow_missing",
    }  # fmt: skip
    moved = index.Settings(videos="elsewhere", labels="other.csv")
    assert recipe_of(moved) == recipe_of(index.Settings())
    assert all(note.doc for note in notes(index.Settings).values())


def test_settings_refuse_what_cannot_be() -> None:
    found = notes(index.Settings)
    assert found["unlisted"].choices == ("error", "score")
    assert found["probing_labels"].choices == ("video", "frame")
    share, count = found["probing_share"].check, found["probing_count"].check
    assert share is not None
    assert count is not None
    assert (share(0.01), share(1.5), count(0), count(-1)) == (
        None, "must be between 0 and 1", None, "must be at least 0"
    )  # fmt: skip
