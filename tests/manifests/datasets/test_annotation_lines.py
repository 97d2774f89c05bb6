"""Published temporal annotations: what is read, and what each mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import ConfigError
from manifests.datasets.annotation_lines import AnnotatedVideo, read_annotations

CLASSES = ("Abuse", "Normal")


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "annotations.txt"
    path.write_text("\r\n".join([*lines, ""]), encoding="utf-8-sig", newline="")
    return path


def problems_of(path: Path, classes: tuple[str, ...] = CLASSES) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_annotations(path, "the.txt", classes)
    head, *problems = str(caught.value).split("\n  ")
    assert head.startswith(f"{path}: {len(problems)} problem")
    return problems


def test_lines_with_a_class_and_pairs_between_blanks(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "Abuse028_x264.mp4  Abuse  165  240  -1  -1  ",
        "",
        "Abuse030_x264.mp4\tAbuse 1275 1360 10 20",
        "Normal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1",
    )
    assert read_annotations(path, "the.txt", CLASSES) == (
        AnnotatedVideo("Abuse028_x264", "Abuse", ((165, 240),)),
        AnnotatedVideo("Abuse030_x264", "Abuse", ((10, 20), (1275, 1360))),
        AnnotatedVideo("Normal_Videos_003_x264", "Normal", ()),
    )


def test_lines_without_a_class_and_with_a_stray_suffix(tmp_path: Path) -> None:
    path = write(tmp_path, "v=S__#1_label_B4-0-0.mp4 0 1517 1970 3038", "A.B__#1_label_G-0-0 5 6")
    assert read_annotations(path, "the.txt") == (
        AnnotatedVideo("v=S__#1_label_B4-0-0", "", ((0, 1517), (1970, 3038))),
        AnnotatedVideo("A.B__#1_label_G-0-0", "", ((5, 6),)),
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a.mp4 Abuse 1", "line 2: a.mp4: 1 fields of frames; a start and an end belong together"),
        ("a.mp4 Abuse 1 2 3", "line 2: a.mp4: 3 fields of frames; a start and"),
        ("a.mp4 Abuse 5 5", "line 2: a.mp4: the interval [5, 5) is empty"),
        ("a.mp4 Abuse 9 5 -1 -1", "line 2: a.mp4: the interval [9, 5) is empty"),
        ("a.mp4 Abuse x 5", "line 2: a.mp4: start_frame is 'x'; expected a whole number"),
        ("a.mp4 Abuse 1 2.5", "line 2: a.mp4: end_frame is '2.5'; expected a whole number"),
        ("a.mp4 Abuse -1 5", "line 2: a.mp4: start_frame is -1; frames count from 0 (-1 -1 stands"),
        ("a.mp4 Abuse 1 99999999999", "line 2: a.mp4: end_frame is 99999999999; expected at most"),
        ("a.mp4 Abuze 1 2", "line 2: a.mp4: unknown class 'Abuze'; the nearest known name is 'Ab"),
        ("a.mp4", "line 2: a.mp4: no class; expected a name, a class and pairs of frames"),
    ],
)
def test_what_cannot_be_right_is_answered_with_its_line(
    tmp_path: Path, line: str, problem: str
) -> None:
    (found,) = problems_of(write(tmp_path, "b.mp4 Normal -1 -1", line))
    assert found.startswith(problem)


def test_twenty_problems_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    path = write(tmp_path, *(f"a{n} 5 1" for n in range(25)))
    with pytest.raises(ConfigError) as caught:
        read_annotations(path, "the.txt")
    lines = str(caught.value).split("\n  ")
    assert lines[0] == f"{path}: 25 problems"
    assert len(lines) == 22
    assert lines[-1] == "... and 5 more"


def test_no_file_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.annotations is empty: give .* \(the\.txt\)"):
        read_annotations(None, "the.txt")
    with pytest.raises(ConfigError, match=r"cannot be read: .*set data\.annotations to the\.txt"):
        read_annotations(tmp_path / "none.txt", "the.txt")
    with pytest.raises(ConfigError, match="names no video"):
        read_annotations(write(tmp_path), "the.txt")
    (tmp_path / "latin.txt").write_bytes(b"a 1 2\n\xe9 1 2\n")
    with pytest.raises(ConfigError, match="line 2: the text is not UTF-8"):
        read_annotations(tmp_path / "latin.txt", "the.txt")
