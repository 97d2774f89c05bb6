"""Lists of names: the forms in circulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import ConfigError
from manifests.datasets.split_lists import ListedName, read_names


def read(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8", newline="")
    return [(listed.name, listed.path) for listed in read_names(path, "data.test_list")]


def test_a_name_or_path_a_line(tmp_path: Path) -> None:
    text = "Abuse/Abuse001_x264.mp4\r\n\r\nv=x__#1_label_A\nA.B.2002__#0_label_G-0-0.mp4 \n"
    assert read(tmp_path, text) == [
        ("Abuse001_x264", "Abuse/Abuse001_x264.mp4"),
        ("v=x__#1_label_A", "v=x__#1_label_A"),
        ("A.B.2002__#0_label_G-0-0", "A.B.2002__#0_label_G-0-0.mp4"),
    ]


def test_numbers_behind_a_name_are_no_part_of_it_and_words_are(tmp_path: Path) -> None:
    assert read(tmp_path, "Assault_2 0 235 1\nframes/Abuse/a.mp4 0 9 -1\nmy video 1\n") == [
        ("Assault_2", "Assault_2"),
        ("a", "frames/Abuse/a.mp4"),
        ("my video 1", "my video 1"),
    ]


def test_the_column_video_of_csv(tmp_path: Path) -> None:
    assert read(tmp_path, 'labels,video\r\nA,"a,b.mp4"\r\nB1,c\r\n') == [
        ("a,b", "a,b.mp4"),
        ("c", "c"),
    ]


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"names no video; set data\.test_list to a list"):
        read(tmp_path, "\n\n")
    with pytest.raises(ConfigError, match="line 3: the column 'video' is empty"):
        read(tmp_path, "video,n\na,1\n,2\n")
    with pytest.raises(ConfigError, match="this is not CSV"):
        read(tmp_path, 'video\n"a\nb\n')
    with pytest.raises(ConfigError, match=r"none\.txt cannot be read"):
        read_names(tmp_path / "none.txt", "data.test_list")


def test_a_name_that_stands_there_twice_is_given_twice(tmp_path: Path) -> None:
    assert read(tmp_path, "a\na\n") == [("a", "a"), ("a", "a")]
    assert ListedName("a", "b/a.mp4").path == "b/a.mp4"
