"""Labels in CSV: what is read, and what each mistake is answered with."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError
from manifests.datasets.contract import Annotation, SourceFile, VideoLabel, video_id_of
from manifests.datasets.label_csv import COLUMNS, read_labels

HEADER = ",".join(COLUMNS)


def files_of(*paths: str) -> list[SourceFile]:
    return [SourceFile(video_id_of(path), path, 1, 1, 1) for path in sorted(paths)]


FILES = files_of("n/Normal_001.mp4", "a/Abuse028_x264.mp4", "v=S__#1_label_B4-0-0.avi")
ABUSE, NORMAL, ODD = "a/Abuse028_x264", "n/Normal_001", "v=S__#1_label_B4-0-0"


def read_text(tmp_path: Path, text: str, unlisted: Any = "score") -> dict[str, VideoLabel]:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return read_labels(path, FILES, unlisted)[0]


def read_rows(tmp_path: Path, *rows: str, unlisted: Any = "score") -> dict[str, VideoLabel]:
    return read_text(tmp_path, "\n".join([HEADER, *rows, ""]), unlisted)


def problems_of(tmp_path: Path, *rows: str, unlisted: Any = "score") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_rows(tmp_path, *rows, unlisted=unlisted)
    head, *problems = str(caught.value).split("\n  ")
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    assert head == f"{tmp_path / 'labels.csv'}: {count}"
    return problems


def test_one_row_per_interval(tmp_path: Path) -> None:
    found = read_rows(
        tmp_path,
        f"{ABUSE}.mp4,test,1,Abuse,165,240",
        f"{NORMAL}.mp4,test,0,Normal,,",
        f"{ABUSE}.mp4,test,1,Abuse,12,90",
    )
    assert found[ABUSE] == VideoLabel(
        "test", 1, "Abuse", (Annotation(12, 90, "Abuse"), Annotation(165, 240, "Abuse"))
    )
    assert found[NORMAL] == VideoLabel("test", 0, "Normal", ())
    assert found[ODD] == VideoLabel("", None, "", ())
    assert list(found) == [file.video_id for file in FILES]


@pytest.mark.parametrize(
    "name",
    [
        ABUSE, f"{ABUSE}.mp4", f"{ABUSE}.MP4", f"./{ABUSE}.mp4", f"././{ABUSE}", f" {ABUSE} ",
        "a\\Abuse028_x264.mp4", ".\\a\\Abuse028_x264", "a//Abuse028_x264.mp4",
    ],
)  # fmt: skip
def test_a_video_is_known_by_its_path_written_in_any_usual_way(tmp_path: Path, name: str) -> None:
    assert read_rows(tmp_path, f"{name},train,1,,,")[ABUSE].label == 1


def test_an_exact_path_goes_before_a_video_id_that_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"{HEADER}\nx.mp4,train,0,,,\nx.mp4.mp4,train,1,,,\n")
    labels = read_labels(path, files_of("x.mp4", "x.mp4.mp4"), "error").labels
    assert {name: known.label for name, known in labels.items()} == {"x": 0, "x.mp4": 1}


@pytest.mark.parametrize(
    ("text", "label"),
    [("0", 0), ("1", 1), ("normal", 0), ("Anomalous", 1), ("NORMAL", 0), (" 1 ", 1), ("", None)],
)
def test_labels_are_read_in_both_spellings(tmp_path: Path, text: str, label: int | None) -> None:
    assert read_rows(tmp_path, f"{NORMAL},train,{text},,,")[NORMAL].label == label


def test_an_empty_cell_says_nothing(tmp_path: Path) -> None:
    found = read_rows(tmp_path, f"{ABUSE},,,,5,6", f"{ABUSE},test,1,Abuse,1,2", f"{ABUSE},,,,3,4")
    assert found[ABUSE] == VideoLabel(
        "test", 1, "Abuse", tuple(Annotation(n, n + 1, "Abuse") for n in (1, 3, 5))
    )


def test_an_anomalous_training_video_needs_no_interval(tmp_path: Path) -> None:
    assert read_rows(tmp_path, f"{ABUSE},train,1,Abuse,,")[ABUSE].annotations == ()


def test_byte_order_mark_blank_lines_line_ends_and_quotes_do_not_matter(tmp_path: Path) -> None:
    rows = f'\ufeff{HEADER}\r\n\r\n"{ABUSE}",train,1,"Abuse, ""verbal""",,\r\n'
    assert read_text(tmp_path, rows)[ABUSE].class_name == 'Abuse, "verbal"'


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    text = f"class, end_frame ,start_frame,label,split,video\nAbuse,9,3,1,test,{ABUSE}"
    assert read_text(tmp_path, text)[ABUSE] == VideoLabel(
        "test", 1, "Abuse", (Annotation(3, 9, "Abuse"),)
    )


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            "a/Abuse28_x264.mp4,train,1,,,",
            "the folder holds no video 'a/Abuse28_x264.mp4'; the nearest known name is "
            "'a/Abuse028_x264'",
        ),
        (",train,1,,,", "the folder holds no video ''"),
        ("#,train,1,,,", "the folder holds no video '#'"),
        (f"{ABUSE},valid,1,,,", "split is 'valid'; expected train, test or nothing"),
        (
            f"{ABUSE},train,abnormal,,,",
            "label is 'abnormal'; expected 0, 1, normal, anomalous or nothing",
        ),
        (f"{ABUSE},train,2,,,", "label is '2'; expected 0, 1, normal, anomalous or nothing"),
        (f"{ABUSE},train,1,,9,9", "the interval [9, 9) is empty; end_frame is one past"),
        (f"{ABUSE},train,1,,10,9", "the interval [10, 9) is empty"),
        (f"{ABUSE},train,1,,-1,-1", "start_frame is -1; frames count from 0 (leave both empty"),
        (f"{ABUSE},train,1,,0,-5", "end_frame is -5; frames count from 0"),
        (f"{ABUSE},train,1,,1.0,2", "start_frame is '1.0'; expected a whole number"),
        (f"{ABUSE},train,1,,1,1e3", "end_frame is '1e3'; expected a whole number"),
        (f"{ABUSE},train,1,,1_0,20", "start_frame is '1_0'; expected a whole number"),
        (f"{ABUSE},train,1,,\u0663,20", "start_frame is '\u0663'; expected a whole number"),
        (f"{ABUSE},train,1,,-,20", "start_frame is '-'; expected a whole number"),
        (f"{ABUSE},train,1,,0,2147483648", "end_frame is 2147483648; expected at most 2147483647"),
        (f"{ABUSE},train,1,,0,{'9' * 5000}", f"end_frame is {'9' * 5000}; expected at most"),
        (f"{ABUSE},train,1,,7,", "only one of start_frame and end_frame is given"),
        (f"{ABUSE},train,1,,,7", "only one of start_frame and end_frame is given"),
        (f"{NORMAL},train,0,,1,2", "an interval, but the label 0 (normal); an interval needs"),
        (f"{NORMAL},train,,,1,2", "an interval, but no label; an interval needs the label 1"),
        (f"{ABUSE},test,1,,,", "an anomalous test video without an interval cannot be evaluated"),
        (f"{ABUSE},test,1", "3 cells found, 6 expected"),
        (f"{ABUSE},test,1,,,,,", "8 cells found, 6 expected"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, row: str, problem: str) -> None:
    (found,) = problems_of(tmp_path, f"{ODD},train,0,Normal,,", row)
    assert found.startswith("line 3: ")
    assert problem in found


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ("train,1,Abuse,1,2", "test,1,Abuse,3,4", "split is 'test' here and 'train' in line 2"),
        ("train,1,Abuse,1,2", "train,0,Abuse,3,4", "label is 0 here and 1 in line 2"),
        ("train,normal,,,", "train,1,,1,2", "label is 1 here and 0 in line 2"),
        ("train,1,Abuse,1,2", "train,1,Riot,3,4", "class is 'Riot' here and 'Abuse' in line 2"),
        ("train,1,Abuse,1,2", "train,1,Abuse,1,2", "the same row stands in line 2 already"),
        ("train,1,Abuse,,", "train,1,Abuse,,", "the same row stands in line 2 already"),
        ("train,1,,1,2", "train,anomalous,,01,2", "the same row stands in line 2 already"),
    ],
)
def test_rows_that_contradict_or_repeat_each_other(
    tmp_path: Path, first: str, second: str, problem: str
) -> None:
    (found,) = problems_of(tmp_path, f"{ABUSE},{first}", f"{ABUSE}.mp4,{second}")
    assert found.startswith(f"line 3: video {ABUSE!r}: ")
    assert problem in found


def test_a_line_is_counted_where_it_begins(tmp_path: Path) -> None:
    (found,) = problems_of(tmp_path, f'{ODD},train,0,"two\nlines",,', "", f"{ABUSE},no,1,,,")
    assert found.startswith("line 5: ")


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    found = problems_of(
        tmp_path, f"{ABUSE},tset,2,,5,", "nobody,train,0,,,", f"{NORMAL},test,0,,4,5",
        unlisted="error",
    )  # fmt: skip
    assert [text.split(":")[0] for text in found[:-1]] == ["line 3", *["line 2"] * 3, "line 4"]
    assert found[-1].startswith(f"1 video ({ODD!r}) of the folder not named in this file")


def test_a_refused_interval_is_not_reported_as_a_missing_one(tmp_path: Path) -> None:
    (found,) = problems_of(tmp_path, f"{ABUSE},test,1,,9,3")
    assert "is empty" in found


def test_twenty_problems_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rows(tmp_path, *(f"video{n},train,0,,," for n in range(33)))
    lines = str(caught.value).split("\n  ")
    assert lines[0].endswith("labels.csv: 33 problems")
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "... and 13 more"


def test_videos_that_the_csv_does_not_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"{HEADER}\n00,train,0,,,\n")
    files = files_of(*(f"{n:02}.mp4" for n in range(14)))
    with pytest.raises(ConfigError, match=r"13 videos \('01', .*'10', \.\.\.\) of the folder"):
        read_labels(path, files, "error")
    labels, warnings, _ = read_labels(path, files, "score")
    assert labels["13"] == VideoLabel("", None, "", ())
    assert len(labels) == 14
    assert len(warnings) == 1
    assert warnings[0].startswith("13 videos ('01', ")
    assert warnings[0].endswith("not named in the label file")


def test_a_test_video_without_a_label_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"{HEADER}\na,test,,,,\nb,test,0,,,\n")
    warnings = read_labels(path, files_of("a.mp4", "b.mp4"), "error").warnings
    assert warnings == ("1 video ('a') in the test split without a label",)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("", "column 'video' is missing"),
        (HEADER.replace("label,", ""), "column 'label' is missing"),
        (f"{HEADER},fps", "unknown column 'fps'"),
        (
            HEADER.replace("start_frame", "start_frames"),
            "unknown column 'start_frames'; the nearest known name is 'start_frame'",
        ),
        (f"{HEADER},label", "column 'label' stands there twice"),
        (HEADER.replace(",", ";"), "column 'video' is missing"),
        (f"{ABUSE},train,1,Abuse,3,9", "column 'video' is missing"),
    ],
)
def test_the_header_is_required(tmp_path: Path, header: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"labels\.csv: line 1: ") as caught:
        read_text(tmp_path, header)
    assert problem in str(caught.value)
    assert f"expected the header {HEADER} (in any order)" in str(caught.value)


def test_an_unclosed_quote_does_not_swallow_the_rows_that_follow(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line \d: this is not CSV"):
        read_rows(tmp_path, f'"{ABUSE},train,1,,,', f"{NORMAL},train,0,,,")


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(f"{HEADER}\n{ABUSE},train,1,".encode() + b"caf\xe9,,\n")
    with pytest.raises(ConfigError, match=r"line 2: the text is not UTF-8"):
        read_labels(path, FILES, "score")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"labels\.csv cannot be read: No such file"):
        read_labels(tmp_path / "labels.csv", FILES, "score")


TEXT = st.text("aB1.,;\"' é日\\\n#=", max_size=5)
SPANS = st.dictionaries(st.integers(0, 40), st.integers(1, 9), min_size=1, max_size=3)


@st.composite
def labels_of(draw: st.DrawFn) -> VideoLabel:
    split = draw(st.sampled_from(["", "train", "test"]))
    label = draw(st.sampled_from([None, 0, 1]))
    name = draw(TEXT).strip()
    annotated = label == 1 and (split == "test" or draw(st.booleans()))
    spans = sorted((s, s + n) for s, n in draw(SPANS).items()) if annotated else []
    return VideoLabel(split, label, name, tuple(Annotation(s, e, name) for s, e in spans))


STEMS = st.lists(st.text("aB.# é\\=", min_size=1, max_size=4), min_size=1, max_size=2).filter(
    lambda parts: not any(part.startswith(".") for part in parts)
)
DATA = st.dictionaries(
    STEMS.map("/".join), st.tuples(st.sampled_from([".mp4", ".AVI"]), labels_of()), max_size=6
)


@settings(max_examples=80, deadline=None)
@given(
    data=DATA,
    columns=st.permutations(COLUMNS),
    mark=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_what_is_written_as_csv_is_read_again(
    data: dict[str, tuple[str, VideoLabel]],
    columns: list[str],
    mark: bool,
    random: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    spell = {None: [""], 0: ["0", "normal", "Normal"], 1: ["1", "ANOMALOUS"]}
    rows = []
    for stem, (suffix, known) in data.items():
        for span in known.annotations or [None]:
            frames = (span.start_frame, span.end_frame) if span else ("", "")
            name, label = random.choice([stem, stem + suffix]), random.choice(spell[known.label])
            cells = [name, known.split, label, known.class_name, *frames]
            rows.append(dict(zip(COLUMNS, cells, strict=True)))
    random.shuffle(rows)
    path = tmp_path_factory.mktemp("csv") / "labels.csv"
    with path.open("w", encoding="utf-8-sig" if mark else "utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    files = files_of(*(stem + suffix for stem, (suffix, _) in data.items()))
    labels = read_labels(path, files, "error").labels
    assert labels == {stem: known for stem, (_, known) in data.items()}
