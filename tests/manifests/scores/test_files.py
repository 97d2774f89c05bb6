"""Every shape that people keep scores in is read as the same scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache.errors import ConfigError
from manifests.scores.contract import VideoScores
from manifests.scores.files import digest_of, read_scores


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def told(scores: VideoScores) -> tuple[Any, Any, Any, Any]:
    """What a file said of a video, as plain lists."""
    start = None if scores.start is None else scores.start.tolist()
    end = None if scores.end is None else scores.end.tolist()
    return scores.score.tolist(), start, end, scores.unit


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [0.1, 0.2]}, ([0.1, 0.2], None, None, None)),
        ({"vid_score": {"a": [0.1, 0.2]}}, ([0.1, 0.2], None, None, None)),
        ({"a": {"16": 0.2, "0": 0.1}}, ([0.1, 0.2], [0, 16], None, None)),
        ({"x": {"a": {"0": 0.1, "16": 0.2}}}, ([0.1, 0.2], [0, 16], None, None)),
        ({"a": {"0-16": 0.1, "16-20": 0.2}}, ([0.1, 0.2], [0, 16], [16, 20], None)),
        ({"a": [[16, 20, 0.2], [0, 16, 0.1]]}, ([0.1, 0.2], [0, 16], [16, 20], None)),
        (
            {"a": [{"start": 0, "end": 16, "score": 0.1}, {"start": 16, "end": 20, "score": 0.2}]},
            ([0.1, 0.2], [0, 16], [16, 20], None),
        ),
        (
            {"a": [{"start_frame": 0, "end_frame": 20, "score": 0.1}]},
            ([0.1], [0], [20], None),
        ),
        (
            [{"video": "a", "start_frame": 0, "end_frame": 20, "score": 0.1}],
            ([0.1], [0], [20], None),
        ),
        (
            [{"video": "a", "clip": 1, "score": 0.2}, {"video": "a", "clip": 0, "score": 0.1}],
            ([0.1, 0.2], None, None, "clip"),
        ),
    ],
)
def test_json(tmp_path: Path, value: Any, expected: Any) -> None:
    found = read_scores(write(tmp_path / "s.json", value))
    assert set(found.videos) == {"a"}
    assert told(found.videos["a"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("video,score\na,0.1\na,0.2\n", ([0.1, 0.2], None, None, None)),
        ("\ufeffvideo_id;score\na;0.1\na;0.2\n", ([0.1, 0.2], None, None, None)),
        ("Video\tFrame\tScore\na\t1\t0.2\na\t0\t0.1\n", ([0.1, 0.2], [0, 1], None, None)),
        ("video,start_frame,score\na,0,1\na,9,0\n", ([1.0, 0.0], [0, 9], None, None)),
        ("video,start,end,score\na,9,12,0\na,0,9,1\n", ([1.0, 0.0], [0, 9], [9, 12], None)),
        ("video,segment,score\na,0,0.1\na,1,0.2\n", ([0.1, 0.2], None, None, "clip")),
        ("video,score,smoothed\na,0.1,0.5\n", ([0.5], None, None, None)),
        ("a,0.1,0.2\n", ([0.1, 0.2], None, None, None)),
        ("a,0.1,0.2,,\n", ([0.1, 0.2], None, None, None)),
    ],
)
def test_csv(tmp_path: Path, text: str, expected: Any) -> None:
    found = read_scores(write(tmp_path / "s.csv", text))
    assert told(found.videos["a"]) == expected


def test_names_of_digits_stay_text(tmp_path: Path) -> None:
    found = read_scores(write(tmp_path / "s.csv", "video,score\n01,0.1\n1,0.2\n"))
    assert set(found.videos) == {"01", "1"}


def test_rows_of_videos_may_be_mixed(tmp_path: Path) -> None:
    text = "video,score\nb,0.1\na,0.2\nb,0.3\n"
    found = read_scores(write(tmp_path / "s.csv", text))
    assert {name: v.score.tolist() for name, v in found.videos.items()} == {
        "b": [0.1, 0.3],
        "a": [0.2],
    }


def test_parquet_takes_the_smoothed_scores_and_keeps_the_others(tmp_path: Path) -> None:
    table = pa.table({"video_id": ["a"], "score": [0.1], "smoothed": [0.5], "segment": [0]})
    pq.write_table(table, tmp_path / "s.parquet")
    scores = read_scores(tmp_path / "s.parquet").videos["a"]
    assert scores.unsmoothed is not None
    assert (scores.score.tolist(), scores.unsmoothed.tolist()) == ([0.5], [0.1])
    named = read_scores(tmp_path / "s.parquet", "score").videos["a"]
    assert (named.score.tolist(), named.unsmoothed) == ([0.1], None)


def test_numpy(tmp_path: Path) -> None:
    (tmp_path / "f" / "Abuse").mkdir(parents=True)
    np.save(tmp_path / "f" / "Abuse" / "a.b.npy", np.asarray([[0.5], [0.25]], dtype="f4"))
    np.save(tmp_path / "f" / "c.npy", np.asarray([1, 0]))
    np.savez(tmp_path / "s.npz", a=[0.1, 0.2], b=[True])
    np.save(tmp_path / "all.npy", [0.1, 0.2])
    folder = read_scores(tmp_path / "f")
    assert {n: v.score.tolist() for n, v in folder.videos.items()} == {
        "Abuse/a.b": [0.5, 0.25],
        "c": [1.0, 0.0],
    }
    archive = read_scores(tmp_path / "s.npz")
    assert {n: v.score.tolist() for n, v in archive.videos.items()} == {"a": [0.1, 0.2], "b": [1.0]}
    joined = read_scores(tmp_path / "all.npy")
    assert joined.joined is not None
    assert joined.joined.tolist() == [0.1, 0.2]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.json", '{"a": [0.1, NaN]}', "a: score 1 of 2, counted from 0, is nan"),
        ("s.json", '{"a": [0.1, null]}', "a: score 1 of 2, counted from 0, is nan"),
        ("s.json", '{"a": [0.1, "x"]}', "a: expected plain numbers, found 'x'"),
        ("s.json", '{"a": []}', "a: no score is given"),
        ("s.json", '{"a": 0.5, "b": 0.5}', "a: expected a list of scores"),
        ("s.json", '{"a": [1], "a": [2]}', "'a' is given twice"),
        ("s.json", '{"a": {"0": 1, "x": 2}}', "a: expected frames as names of its scores"),
        ("s.json", '{"a": {"0": 1, "00": 2}}', "a: frame 0 has more than one score"),
        ("s.json", '{"a": [[0, 16]]}', r"a: expected \[start, end, score\]"),
        ("s.json", '{"a": [[16, 16, 0.1]]}', r"a: the interval \[16, 16\) holds no frame"),
        ("s.json", '{"a": [[0.5, 16, 0.1]]}', "expected whole numbers from 0 on, found 0.5"),
        ("s.json", '{"a": [{"start": 0, "score": 1}]}', "a: every interval needs 'end_frame' or"),
        ("s.json", '[{"video": "a"}]', "no column 'score'; it has 'video'"),
        ("s.json", "[1]", "expected {video: scores} or a list of rows"),
        ("s.json", "[]", "an empty list"),
        ("s.json", "{", "not valid JSON"),
        ("s.csv", "video,score\na,0.1\na,inf\n", "a: score 1 of 2, counted from 0, is inf"),
        ("s.csv", "video,score\na,0.1\na,\n", "a: score 1 of 2, counted from 0, is nan"),
        ("s.csv", "video,score\na,x\n", "column 'score': expected plain numbers, found 'x'"),
        ("s.csv", "video,frame,score\na,1.5,1\n", "a: frame: expected whole numbers"),
        ("s.csv", "video,clip,score\na,0,1\na,2,1\n", "a: clip 1 is not given"),
        ("s.csv", "video,clip,score\na,1,1\n", "a: clip 0 is not given"),
        ("s.csv", "video,frame,score\na,0,1\na,0,1\n", "a: frame 0 has more than one score"),
        ("s.csv", "file,score\na,0.1\n", "no column of videos"),
        ("s.csv", "video,pred\na,0.1\n", "no column 'score'; it has 'video', 'pred'; --column"),
        ("s.csv", "a,0.1\na,0.2\n", "row 2: a has a row already"),
        ("s.csv", "video,score\n", "holds no scores"),
        ("s.txt", "0.1", "scores are read from files that end in"),
        ("s.parquet", "text", "not a readable Parquet file"),
        ("s.npy", "text", "not a NumPy file of plain numbers"),
        ("s.npz", "text", "not a NumPy file of plain numbers"),
    ],
)
def test_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_scores(write(tmp_path / name, text))


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.asarray([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match="never unpickled"):
        read_scores(tmp_path / "s.npy")


def test_an_array_that_is_not_one_after_the_other_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.zeros((3, 2)))
    with pytest.raises(ConfigError, match=r"shape \(3, 2\)"):
        read_scores(tmp_path / "s.npy")


def test_a_column_is_only_named_where_there_are_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.zeros(3))
    for path in (
        tmp_path / "s.npy",
        write(tmp_path / "s.json", {"a": [1]}),
        write(tmp_path / "w.csv", "a,1\n"),
    ):
        with pytest.raises(ConfigError, match="--column pred"):
            read_scores(path, "pred")
    with pytest.raises(ConfigError, match="no column 'pred'; it has 'video', 'score'"):
        read_scores(write(tmp_path / "t.csv", "video,score\na,1\n"), "pred")


def test_a_folder_without_arrays_says_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "s.txt", "")
    with pytest.raises(ConfigError, match=r"holds no .npy file; it has files that end in .txt"):
        read_scores(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        read_scores(tmp_path / "nothing.json")


def test_the_digest_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", np.zeros(3))
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")
    np.save(tmp_path / "two" / "a.npy", np.ones(3))
    assert digest_of(tmp_path / "one") != digest_of(tmp_path / "two")
