"""The one door: labels, figures and scores of training rows pass, and nothing else."""

import dataclasses
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.digest import read_json, write_json
from cache.errors import ConfigError, LeakageError
from manifests.schema import PROBING_SCORES, TRAINING_ROWS
from manifests.table import arrow_schema, read_table, write_arrow, write_table
from stages.probes.spans import spans_of
from stages.probes.training import (
    TrainingScores,
    fitted_files,
    read_training_rows,
    require_as_fitted,
    require_both_classes,
    require_unseen,
    segment_labels,
    training_scores,
    training_series,
    write_training_rows,
)
from tests.payload import Folder
from tests.training import as_written_before, labels_of, write_rows, write_scores


def columns(*borders):
    starts, ends = np.asarray(borders[:-1]), np.asarray(borders[1:])
    return {
        "segment": np.arange(len(starts)),
        "start_frame": starts,
        "end_frame": ends,
        "start_s": starts / 30,
        "end_s": ends / 30,
    }


def test_without_intervals_every_segment_has_the_videos_label():
    spans = spans_of(columns(0, 24, 48), "v")
    for label in (0, 1):
        entry = {"split": "train", "label": label, "intervals": None}
        assert segment_labels("v", entry, spans).tolist() == [label, label]


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([[0, 11]], [0, 0, 0]),
        ([[0, 12]], [1, 0, 0]),
        ([[13, 36]], [0, 1, 0]),
        ([[12, 54]], [1, 1, 1]),
        ([[47, 500]], [0, 0, 1]),
        ([[0, 8], [2, 10]], [0, 0, 0]),
        ([[2, 10], [0, 4], [9, 12]], [1, 0, 0]),
    ],
)
def test_a_segment_is_anomalous_where_half_of_its_frames_are(intervals, expected):
    spans = spans_of(columns(0, 24, 48, 60), "v")
    found = segment_labels("v", {"split": "train", "label": 1, "intervals": intervals}, spans)
    assert found.tolist() == expected


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 150), st.integers(1, 90)), min_size=1, max_size=5),
)
def test_labels_of_segments_are_those_of_counted_frames(lengths, drawn):
    borders = np.cumsum([0, *lengths])
    intervals = [[start, start + length] for start, length in drawn]
    mask = np.zeros(300, dtype=bool)
    for start, end in intervals:
        mask[start:end] = True
    expected = [int(mask[a:b].mean() >= 0.5) for a, b in pairwise(borders)]
    spans = spans_of(columns(*borders), "v")
    found = segment_labels("v", {"split": "train", "label": 1, "intervals": intervals}, spans)
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "entry",
    [
        {"split": "train", "label": 2, "intervals": None},
        {"split": "train", "label": None, "intervals": None},
        {"split": "train", "label": 1, "intervals": []},
        {"split": "train", "label": 0, "intervals": [[0, 5]]},
        {"split": "train", "label": 1, "intervals": [[5, 5]]},
        {"split": "train", "label": 1, "intervals": [[-1, 5]]},
    ],
)
def test_a_label_that_contradicts_itself_is_refused(entry):
    with pytest.raises(ConfigError, match=r"^v: "):
        segment_labels("v", entry, spans_of(columns(0, 24), "v"))


def test_the_class_without_a_sample_is_named():
    require_both_classes(1, 1)
    with pytest.raises(ConfigError, match=r"no anomalous sample.*add at least one anomalous"):
        require_both_classes(4, 0)
    with pytest.raises(ConfigError, match="no normal sample"):
        require_both_classes(0, 4)


@pytest.mark.parametrize("split", ["test", "", "Train", None])
def test_a_label_of_another_split_gives_no_sample(split):
    entry = {"split": split, "label": 0, "intervals": None}
    with pytest.raises(LeakageError, match=rf"^test/v: its split is {split!r}, .*'train'"):
        segment_labels("test/v", entry, spans_of(columns(0, 24), "test/v"))
    del entry["split"]
    with pytest.raises(LeakageError, match=r"^test/v: its split is None"):
        segment_labels("test/v", entry, spans_of(columns(0, 24), "test/v"))


SAMPLES = {"b": np.asarray([0, 1, 1]), "a": np.asarray([0, 0])}
FIGURES = {"n_normal": [3, 3, 3], "n_anomalous": [2, 2, 2]}


def test_a_table_says_which_videos_it_rests_on(tmp_path):
    write_training_rows(tmp_path / "training_rows.parquet", labels_of(["a", "b"]), SAMPLES)
    table = read_table(tmp_path / "training_rows.parquet", TRAINING_ROWS).to_pydict()
    assert table == {
        "video_id": ["a", "b"], "split": ["train", "train"], "n_normal": [2, 1],
        "n_anomalous": [0, 2],
    }  # fmt: skip
    rows = read_training_rows(Folder(tmp_path), labels_of(["a", "b", "failed"]), FIGURES)
    assert rows.record() == {"videos": 2, "n_normal": 3, "n_anomalous": 2}


def test_the_split_in_the_table_is_that_of_the_labels(tmp_path):
    labels = labels_of(["a", "b"])
    labels["b"]["split"] = "test"
    write_training_rows(tmp_path / "training_rows.parquet", labels, SAMPLES)
    with pytest.raises(LeakageError, match=r"^b: its split is 'test'"):
        read_training_rows(Folder(tmp_path), labels_of(["a", "b"]), FIGURES)


def test_a_table_of_other_videos_than_the_data_set_trains_with_is_refused(tmp_path):
    write_rows(tmp_path, {"a": (2, 0), "test/b": (1, 2)})
    with pytest.raises(LeakageError, match=r"^test/b: .* not in the probing subset"):
        read_training_rows(Folder(tmp_path), labels_of(["a"]), FIGURES)
    labels = labels_of(["a", "test/b"])
    labels["test/b"]["split"] = "test"
    with pytest.raises(LeakageError, match=r"^test/b: its split is 'test'"):
        read_training_rows(Folder(tmp_path), labels, FIGURES)


def test_a_table_that_says_nothing_or_other_numbers_is_refused(tmp_path):
    with pytest.raises(LeakageError, match=r"come without training_rows\.parquet"):
        read_training_rows(Folder(tmp_path), labels_of(["a", "b"]), FIGURES)
    write_rows(tmp_path, {"a": (2, 0), "b": (1, 2)})
    more = {"n_normal": [3, 4, 3], "n_anomalous": [2, 2, 2]}
    with pytest.raises(LeakageError, match=r"\(4, 2\)\] .* rows, .* have \(3, 2\)"):
        read_training_rows(Folder(tmp_path), labels_of(["a", "b"]), more)


ROWS = [("n", "train", "0f", 0, 0.1), ("n", "train", "0f", 0, 0.3), ("x", "train", "1f", 1, 0.9)]


def test_a_threshold_is_that_of_the_scores_in_the_table(tmp_path):
    mu, sigma = write_scores(tmp_path, ROWS)
    found = training_scores(Folder(tmp_path))
    assert (found.mu, found.sigma) == (mu, sigma)
    assert found.threshold(0.2) == mu + 0.2 * sigma
    assert found.threshold(-3.0) == mu - 3 * sigma
    assert found.sources() == {"0f": "n", "1f": "x"}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=300), st.floats(-3, 3))
def test_it_has_the_very_bits_of_a_threshold_without_the_table(tmp_path_factory, scores, kappa):
    folder = tmp_path_factory.mktemp("scores")
    write_scores(folder, [("n", "train", "0f", 0, score) for score in scores])
    record, array = read_json(folder / "scorer.json"), np.asarray(scores)
    found = training_scores(Folder(folder)).threshold(kappa)
    assert found == record["mu"] + kappa * record["sigma"]
    assert found == float(array.mean()) + kappa * float(array.std())


@pytest.mark.parametrize("split", ["test", ""])
def test_one_score_of_another_split_is_enough_to_refuse_all(tmp_path, split):
    # Also where other rows of the same video say that it is one to train with.
    write_scores(tmp_path, [*ROWS, ("n", split, "0f", 0, 0.2), ("n", "train", "0f", 0, 0.2)])
    with pytest.raises(LeakageError, match=rf"^n: its split is {split!r}"):
        training_scores(Folder(tmp_path))


def test_training_scores_are_not_made_of_other_rows_by_any_way():
    with pytest.raises(LeakageError, match=r"^test/v: its split is 'test'"):
        TrainingScores(np.zeros(2), frozenset({("a", "train", "0f"), ("test/v", "test", "1f")}))


@pytest.mark.parametrize(("name", "value"), [("mu", 0.3), ("sigma", 0.0), ("mu", float("nan"))])
def test_a_record_that_was_edited_moves_no_threshold(tmp_path, name, value):
    write_scores(tmp_path, ROWS)
    text = (tmp_path / "scorer.json").read_text()
    said = read_json(tmp_path / "scorer.json")[name]
    (tmp_path / "scorer.json").write_text(text.replace(str(said), str(value).replace("nan", "NaN")))
    with pytest.raises(LeakageError, match=rf"gives {name} = {value}, the training rows"):
        training_scores(Folder(tmp_path))


def test_a_table_without_rows_or_without_a_split_is_refused(tmp_path):
    write_scores(tmp_path, ROWS)
    empty = {name: [] for name in PROBING_SCORES.names}
    write_table(tmp_path / "probing_scores.parquet", PROBING_SCORES, empty)
    with pytest.raises(LeakageError, match=r"has no row"):
        training_scores(Folder(tmp_path))
    rows = {"video_id": ["n"], "segment": [0], "label": [0], "score": [0.1]}
    columns = tuple(c for c in PROBING_SCORES.columns if c.name in rows)
    older = dataclasses.replace(PROBING_SCORES, version=1, columns=columns)
    write_table(tmp_path / "probing_scores.parquet", older, rows)
    with pytest.raises(LeakageError, match=r"no column split, digest: an older hiprobe"):
        training_scores(Folder(tmp_path))


HELD_OUT = [0.2, 0.4, 0.8]


def test_the_series_of_a_scorer_are_those_of_its_table(tmp_path):
    write_scores(tmp_path, ROWS, HELD_OUT)
    found = training_series(Folder(tmp_path))
    assert [one.video_id for one in found] == ["n", "x"]
    assert [one.labels.tolist() for one in found] == [[0, 0], [1]]
    assert [one.fitted.tolist() for one in found] == [[0.1, 0.3], [0.9]]
    assert [one.held_out.tolist() for one in found] == [[0.2, 0.4], [0.8]]
    assert [one.spans.end_frame.tolist() for one in found] == [[24, 48], [24]]
    write_scores(tmp_path, ROWS)
    assert [one.held_out for one in training_series(Folder(tmp_path))] == [None, None]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_every_row_lies_in_the_series_of_its_video(tmp_path_factory, lengths, random):
    folder = tmp_path_factory.mktemp("series")
    names = [f"v{random.randrange(10**6)}-{n}" for n in range(len(lengths))]
    rows = [
        (name, "train", name, n % 2, random.random())
        for n, (name, length) in enumerate(zip(names, lengths, strict=True))
        for _ in range(length)
    ]
    write_scores(folder, rows, [1 - row[4] for row in rows])
    # A table from outside need not be sorted.
    columns = read_table(folder / "probing_scores.parquet", PROBING_SCORES).to_pydict()
    order = random.sample(range(len(rows)), len(rows))
    shuffled = pa.table({name: [column[i] for i in order] for name, column in columns.items()})
    cast = shuffled.cast(arrow_schema(PROBING_SCORES))
    write_arrow(folder / "probing_scores.parquet", cast)
    found = training_series(Folder(folder))
    assert [one.video_id for one in found] == sorted(names)
    for one in found:
        assert one.fitted.tolist() == [row[4] for row in rows if row[0] == one.video_id]
        assert one.held_out.tolist() == [1 - score for score in one.fitted]


def test_a_table_of_before_has_no_series(tmp_path):
    write_scores(tmp_path, ROWS)
    (tmp_path / "scorer.safetensors").write_bytes(b"weights")
    as_written_before(tmp_path)
    assert training_scores(Folder(tmp_path)).sources() == {"0f": "n", "1f": "x"}
    assert training_series(Folder(tmp_path)) == ()


@pytest.mark.parametrize("split", ["test", ""])
def test_one_row_of_another_split_is_enough_to_refuse_a_series(tmp_path, split):
    write_scores(tmp_path, [*ROWS[:1], ("n", split, "0f", 0, 0.2), *ROWS[1:]], [0.1] * 4)
    with pytest.raises(LeakageError, match=rf"^n: its split is {split!r}"):
        training_series(Folder(tmp_path))


def test_series_that_contradict_themselves_are_refused(tmp_path):
    write_scores(tmp_path, ROWS, [0.2, None, 0.8])
    with pytest.raises(ConfigError, match=r"^n: 1 of its 2 rows .* all or none"):
        training_series(Folder(tmp_path))
    write_scores(tmp_path, ROWS, [0.2, float("nan"), 0.8])
    with pytest.raises(ConfigError, match=r"1 of 2 numbers in column held_out are not finite"):
        training_series(Folder(tmp_path))
    columns = read_table(tmp_path / "probing_scores.parquet", PROBING_SCORES).to_pydict()
    columns |= {"score": [0.1, float("inf"), 0.9], "held_out": HELD_OUT}
    write_table(tmp_path / "probing_scores.parquet", PROBING_SCORES, columns)
    for read in (training_scores, training_series):
        with pytest.raises(ConfigError, match=r"1 of \d numbers in column score are not finite"):
            read(Folder(tmp_path))


def test_what_was_fitted_on_may_not_be_tested_whatever_its_name():
    fitted = {"0f": "n", "1f": "x"}
    require_unseen(fitted, {"n": "aa", "x": "bb", "unreadable": ""})
    with pytest.raises(LeakageError, match=r"files of 1 test video: test/y \(as x\);"):
        require_unseen(fitted, {"test/y": "1f", "test/z": "2f"})
    many = {f"t{n}": "0f" for n in range(8)}
    with pytest.raises(LeakageError, match=r"of 8 test .* t4 \(as n\) and 3 more;"):
        require_unseen(fitted, many)


def test_a_scorer_is_whole_only_as_one_fit_has_written_it(tmp_path):
    write_scores(tmp_path, ROWS)
    (tmp_path / "scorer.safetensors").write_bytes(b"weights")
    record = read_json(tmp_path / "scorer.json")
    write_json(tmp_path / "scorer.json", {**record, "files": fitted_files(tmp_path)})
    require_as_fitted(tmp_path)
    whole = (tmp_path / "probing_scores.parquet").read_bytes()
    write_scores(tmp_path, [(*row[:2], "2f", *row[3:]) for row in ROWS])
    with pytest.raises(LeakageError, match=r"probing_scores\.parquet is not the file"):
        require_as_fitted(tmp_path)
    (tmp_path / "probing_scores.parquet").write_bytes(whole)
    (tmp_path / "scorer.safetensors").write_bytes(b"of another fit")
    with pytest.raises(LeakageError, match=r"scorer\.safetensors is not the file"):
        require_as_fitted(tmp_path)
    write_json(tmp_path / "scorer.json", record)
    with pytest.raises(LeakageError, match=r"is not the file that scorer\.json was written with"):
        require_as_fitted(tmp_path)
