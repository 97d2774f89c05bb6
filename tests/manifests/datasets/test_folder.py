"""A folder of videos: which files are found, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError
from manifests.datasets.contract import SUFFIXES, UNLABELLED, Annotation, Sources, VideoLabel
from manifests.datasets.folder import catalogue, read, scan


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def ids(root: Path) -> list[str]:
    return [file.video_id for file in scan(root)[0]]


def test_videos_of_all_folders_are_found_sorted_with_what_the_file_system_says(
    tmp_path: Path,
) -> None:
    put(tmp_path, "b/x.mp4", "a.avi", "b.MKV", "b/deep/er/y.webm", "notes.txt", "labels.csv")
    files, warnings = scan(tmp_path)
    assert [f.path for f in files] == ["a.avi", "b.MKV", "b/deep/er/y.webm", "b/x.mp4"]
    assert [f.video_id for f in files] == ["a", "b", "b/deep/er/y", "b/x"]
    assert warnings == ()
    for file in files:
        status = (tmp_path / file.path).stat()
        assert (file.bytes, file.mtime_ns, file.inode) == (
            status.st_size, status.st_mtime_ns, status.st_ino
        )  # fmt: skip


def test_without_a_csv_no_video_has_a_split_or_label(tmp_path: Path) -> None:
    put(tmp_path, "b.mp4", "a.mp4")
    listing = read(Sources(tmp_path))
    assert dict(listing.labels) == {"a": UNLABELLED, "b": UNLABELLED}
    assert list(listing.labels) == [file.video_id for file in listing.files]
    assert VideoLabel("", None, "", ()) == UNLABELLED


def test_a_csv_labels_the_videos(tmp_path: Path) -> None:
    put(tmp_path, "b.mp4", "a.mp4")
    csv = tmp_path / "labels.csv"
    csv.write_text("video,split,label,class,start_frame,end_frame\na,train,0,Normal,,\n")
    listing = read(Sources(tmp_path, csv, unlisted="score"))
    assert listing.labels["a"] == VideoLabel("train", 0, "Normal", ())
    assert listing.labels["b"] == UNLABELLED
    with pytest.raises(ConfigError, match=r"1 video \('b'\) of the folder not named"):
        read(Sources(tmp_path, csv, unlisted="error"))


HEADER = "video,split,label,class,start_frame,end_frame\n"


def test_a_listed_video_may_be_missing_where_that_is_allowed(tmp_path: Path) -> None:
    put(tmp_path, "x/a.mp4")
    csv = tmp_path / "labels.csv"
    csv.write_text(f"{HEADER}x/a.mp4,train,0,Normal,,\nx/gone.mp4,test,1,Fight,3,9\n")
    with pytest.raises(ConfigError, match=r"line 3: the folder holds no video 'x/gone\.mp4'"):
        read(Sources(tmp_path, csv))
    listing = read(Sources(tmp_path, csv, allow_missing=True))
    assert list(listing.labels) == ["x/a"]
    (gone,) = listing.absent
    known = VideoLabel("test", 1, "Fight", (Annotation(3, 9, "Fight"),))
    assert (gone.name, gone.known) == ("x/gone", known)
    assert [(d.kind, d.subject, d.stops, d.text) for d in listing.deviations] == [
        ("missing", "x/gone", False, "x/gone (test, Fight) is not there")
    ]


def test_what_is_wrong_with_a_missing_video_is_refused_all_the_same(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    csv = tmp_path / "labels.csv"
    csv.write_text(f"{HEADER}a,train,0,,,\ngone,test,1,Fight,,\n,train,0,,,\n")
    with pytest.raises(ConfigError) as caught:
        read(Sources(tmp_path, csv, allow_missing=True))
    assert "line 4: the folder holds no video ''" in str(caught.value)
    assert "'gone': an anomalous test video without an interval" in str(caught.value)


def test_frame_counts_are_found_by_the_video_id(tmp_path: Path) -> None:
    put(tmp_path, "x/a.mp4", "y/a.mp4", "z.mp4")
    counts = tmp_path / "counts.csv"
    counts.write_text("video,n_frames,fps\nx/a.mp4,7,25\n./y/a,8,\na,9,\n")
    listing = read(Sources(tmp_path, frame_counts=(counts,)))
    assert {v: (e.frames, e.fps) for v, e in listing.entries.items()} == {
        "x/a": (7, 25.0), "y/a": (8, None),
    }  # fmt: skip
    assert [(d.kind, d.subject, d.stops) for d in listing.deviations] == [("frames", "a", False)]


def test_the_catalogue_is_the_csv_in_its_order_and_needs_no_video(tmp_path: Path) -> None:
    csv, counts = tmp_path / "labels.csv", tmp_path / "counts.csv"
    csv.write_text(f"{HEADER}y/b.mp4,test,1,Fight,3,9\nx\\a.mp4,train,0,,,\ny/b.mp4,,,,20,30\n")
    counts.write_text("video,n_frames,fps\ny/b,40,24\n")
    found = catalogue(Sources(None, csv, frame_counts=(counts,)))
    assert [entry.name for entry in found] == ["y/b", "x/a"]
    spans = (Annotation(3, 9, "Fight"), Annotation(20, 30, "Fight"))
    assert found[0].known == VideoLabel("test", 1, "Fight", spans)
    assert (found[0].frames, found[0].fps, found[1].frames) == (40, 24.0, None)
    with pytest.raises(ConfigError, match=r"data\.labels is empty"):
        catalogue(Sources(tmp_path))


def test_names_with_dots_signs_blanks_and_other_alphabets_stay_whole(tmp_path: Path) -> None:
    names = [
        "Fast.Five.2011__#0-01-1_label_A.mp4",
        "v=S-7rRLrxnVQ__#1_label_B4-0-0.MP4",
        " leading and trailing .mov",
        "ünïcödé 日本語.m4v",
        "a\\b.ts",
        "quote'\".wmv",
        "x.mp4.flv",
        "line\nbreak.mpg",
    ]
    put(tmp_path, *names)
    assert ids(tmp_path) == sorted(name.rpartition(".")[0] for name in names)


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "._a.mp4", ".mp4", ".cache/b.mp4", "c/.d/e.mp4")
    assert ids(tmp_path) == ["a"]


def test_a_folder_may_be_called_like_a_video(tmp_path: Path) -> None:
    put(tmp_path, "clips.mp4/a.mp4")
    assert ids(tmp_path) == ["clips.mp4/a"]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no-such does not exist; set data\.videos"):
        read(Sources(tmp_path / "no-such"))


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    with pytest.raises(ConfigError, match=r"a\.mp4 is not a folder"):
        read(Sources(tmp_path / "a.mp4"))


def test_a_folder_without_videos_says_what_was_looked_for(tmp_path: Path) -> None:
    put(tmp_path, "notes.txt", ".hidden.mp4")
    with pytest.raises(ConfigError, match="no video under") as caught:
        read(Sources(tmp_path))
    assert all(suffix in str(caught.value) for suffix in SUFFIXES)
    assert "hidden" in str(caught.value)


@pytest.mark.parametrize("two", ["a.avi", "a.MP4"])
def test_two_files_with_one_id_are_refused_by_both_names(tmp_path: Path, two: str) -> None:
    put(tmp_path, "x/a.mp4", f"x/{two}", "x/b.mp4")
    with pytest.raises(ConfigError, match="same one") as caught:
        scan(tmp_path)
    assert "'x/a.mp4'" in str(caught.value)
    assert f"'x/{two}'" in str(caught.value)
    assert "b.mp4" not in str(caught.value)


def test_many_equal_ids_are_counted(tmp_path: Path) -> None:
    put(tmp_path, *(f"{n:02}.{suffix}" for n in range(12) for suffix in ("avi", "mp4")))
    with pytest.raises(ConfigError, match=r"'09\.avi' and '09\.mp4', and 2 more;"):
        scan(tmp_path)


def test_a_link_to_a_file_or_a_folder_elsewhere_is_followed(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    put(root, "a.mp4")
    put(elsewhere, "b.mp4", "deep/c.mp4")
    (root / "linked").symlink_to(elsewhere)
    (root / "d.mp4").symlink_to(elsewhere / "b.mp4")
    files, warnings = scan(root)
    assert [f.video_id for f in files] == ["a", "d", "linked/b", "linked/deep/c"]
    assert files[1].bytes == (elsewhere / "b.mp4").stat().st_size
    assert warnings == ()


def test_links_in_a_circle_end_with_a_warning(tmp_path: Path) -> None:
    put(tmp_path, "x/a.mp4", "y/b.mp4")
    (tmp_path / "x/up").symlink_to(tmp_path)
    (tmp_path / "x/across").symlink_to("../y")
    (tmp_path / "y/across").symlink_to("../x")
    files, warnings = scan(tmp_path)
    assert [f.video_id for f in files] == ["x/a", "y/b"]
    assert warnings == (
        "'x/across' leads to the folder 'y', which is read already: left out",
        "'x/up' leads to the folder '.', which is read already: left out",
        "'y/across' leads to the folder 'x', which is read already: left out",
    )


def test_a_link_never_takes_the_place_of_the_real_folder(tmp_path: Path) -> None:
    put(tmp_path, "z/a.mp4")
    (tmp_path / "a").symlink_to("z")
    assert ids(tmp_path) == ["z/a"]


def test_a_folder_that_two_links_reach_is_read_once(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    put(root, "a.mp4")
    put(elsewhere, "part/b.mp4", "c.mp4")
    (root / "one").symlink_to(elsewhere / "part")
    (root / "two").symlink_to(elsewhere)
    files, warnings = scan(root)
    assert [f.video_id for f in files] == ["a", "one/b", "two/c"]
    assert warnings == ("'two/part' leads to the folder 'one', which is read already: left out",)


def test_real_folders_are_all_read_where_the_file_system_gives_no_inode_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.mp4", "x/b.mp4", "y/c.mp4")
    real = Path.stat

    def without_inode(path: Path, **options: bool) -> os.stat_result:
        mode, _, *rest = real(path, **options)
        return os.stat_result([mode, 0, *rest])

    monkeypatch.setattr(Path, "stat", without_inode)
    assert ids(tmp_path) == ["a", "x/b", "y/c"]


def test_links_that_lead_nowhere_are_left_out_with_a_warning(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    (tmp_path / "gone.mp4").symlink_to("no-such.mp4")
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    (tmp_path / "other").symlink_to("other")
    files, warnings = scan(tmp_path)
    assert [f.video_id for f in files] == ["a"]
    assert [w.split(" cannot")[0] for w in warnings] == ["'self.mp4'", "'gone.mp4'"]


def test_a_pipe_is_no_video(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "b.mp4")
    assert ids(tmp_path) == ["a"]


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.mp4", "wb"):  # noqa: PTH123
        pass
    with pytest.raises(ConfigError, match=r"'caf\\udce9\.mp4' is not UTF-8.*rename"):
        scan(tmp_path)


def test_a_folder_that_may_not_be_read_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.mp4", "closed/b.mp4")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=r"the folder 'closed' under .* cannot be read: Perm"):
        scan(tmp_path)


NAMES = st.text("aB.#=é ", min_size=1, max_size=5).filter(lambda name: not name.startswith("."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@settings(max_examples=30, deadline=None)
@given(
    names=st.dictionaries(
        PATHS, st.sampled_from(["", ".txt", *SUFFIXES, ".MP4", ".Avi"]), max_size=8
    )
)
def test_the_scan_finds_what_a_naive_walk_finds(
    names: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("scan")
    put(root, "always.mp4")
    for stem, suffix in names.items():
        try:
            put(root, stem + suffix)
        except OSError:  # a file stands where a folder would have to be, or the reverse
            continue
    expected = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and path.suffix.lower() in SUFFIXES
    ]
    stems = [path[: path.rindex(".")] for path in expected]
    if len(set(stems)) < len(stems):
        with pytest.raises(ConfigError, match="same one"):
            scan(root)
    else:
        files, _ = scan(root)
        assert [f.path for f in files] == [p for _, p in sorted(zip(stems, expected, strict=True))]
        assert [f.video_id for f in files] == sorted(stems)
