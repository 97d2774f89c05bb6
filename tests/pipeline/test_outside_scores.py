"""`hiprobe evaluate-scores`: whatever shape scores come in, the same figures as a run's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from manifests.schema import REPLICATES, VIDEOS
from manifests.table import read_table, write_table
from pipeline.cli import main
from tests.conftest import Called, Demo

FRAMES = {"a": 100, "b": 33, "c": 48, "d": 20}
SPANS = {"a": [(10, 40)], "b": [(0, 5), (20, 30)]}
CLIP = 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration whose four test videos are known by its lists alone."""
    return write_lists(tmp_path_factory.mktemp("lists"))


def write_lists(folder: Path, frames: Mapping[str, int] = FRAMES) -> Path:
    rows = ["video,split,label,class,start_frame,end_frame"]
    for name in FRAMES:
        spans = SPANS.get(name, [])
        rows += [f"{name},test,1,Fight,{start},{end}" for start, end in spans]
        rows += [] if spans else [f"{name},test,0,Normal,,"]
    (folder / "labels.csv").write_text("\n".join([*rows, "t,train,0,Normal,,"]))
    counts = [f"{name},{count},10" for name, count in frames.items()]
    (folder / "frames.csv").write_text("\n".join(["video,n_frames,fps", *counts]))
    config = folder / "run.toml"
    config.write_text('[data]\nlabels = "labels.csv"\nframe_counts = ["frames.csv"]\n')
    return config


Scores = Mapping[str, Sequence[float]]
Write = Callable[[Path, Scores], Path]


def as_json(folder: Path, scores: Any) -> Path:
    path = folder / "s.json"
    path.write_text(json.dumps(scores))
    return path


def runs_of(values: Sequence[float]) -> list[tuple[int, int, float]]:
    """[start, end) and value of the runs of equal values."""
    borders = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(s, e, float(values[s])) for s, e in pairwise(borders)]


def rows_of(scores: Scores) -> list[dict[str, Any]]:
    return [
        {"video": name, "start_frame": s, "end_frame": e, "score": v}
        for name, values in scores.items()
        for s, e, v in runs_of(values)
    ]


def frame_table(scores: Scores) -> pa.Table:
    return pa.table(
        {
            "video": [name for name, values in scores.items() for _ in values],
            "frame": [frame for values in scores.values() for frame in range(len(values))],
            "score": [float(v) for values in scores.values() for v in values],
        }
    )


def as_csv(folder: Path, scores: Scores) -> Path:
    rows = [f"{r['video']},{r['frame']},{r['score']!r}" for r in frame_table(scores).to_pylist()]
    path = folder / "s.csv"
    path.write_text("\n".join(["video,frame,score", *rows[::-1]]))  # rows may be in any order
    return path


def as_wide_csv(folder: Path, scores: Scores) -> Path:
    path = folder / "s.csv"
    path.write_text("\n".join(",".join([n, *map(repr, v)]) for n, v in scores.items()))
    return path


def as_parquet(folder: Path, scores: Scores) -> Path:
    pq.write_table(pa.Table.from_pylist(rows_of(scores)), folder / "s.parquet")
    return folder / "s.parquet"


def as_folder(folder: Path, scores: Scores) -> Path:
    arrays = folder / "arrays"
    arrays.mkdir()
    for name, values in scores.items():
        np.save(arrays / f"{name}.npy", values)
    return arrays


def as_archive(folder: Path, scores: Scores) -> Path:
    arrays: dict[str, Any] = {name: np.asarray(values) for name, values in scores.items()}
    np.savez(folder / "s.npz", **arrays)
    return folder / "s.npz"


def as_joined(folder: Path, scores: Scores) -> Path:
    np.save(folder / "s.npy", np.concatenate([scores[name] for name in FRAMES]))
    return folder / "s.npy"


SHAPES: Mapping[str, Write] = {
    "list of frames": as_json,
    "under one name, with a suffix": lambda f, s: as_json(
        f, {"vid_score": {f"x/{n.upper()}.mp4": v for n, v in s.items()}}
    ),
    "intervals": lambda f, s: as_json(f, {n: runs_of(v) for n, v in s.items()}),
    "ranges": lambda f, s: as_json(
        f, {n: {f"{a}-{b}": x for a, b, x in runs_of(v)} for n, v in s.items()}
    ),
    "objects": lambda f, s: as_json(
        f,
        {n: [{"start": a, "end": b, "score": x} for a, b, x in runs_of(v)] for n, v in s.items()},
    ),
    "starts": lambda f, s: as_json(f, {n: dict(enumerate(v)) for n, v in s.items()}),
    "rows": lambda f, s: as_json(f, rows_of(s)),
    "csv": as_csv,
    "wide csv": as_wide_csv,
    "parquet": as_parquet,
    "folder": as_folder,
    "archive": as_archive,
    "joined": as_joined,
}


def evaluate(*words: object) -> Any:
    """The metrics that the command prints as JSON."""
    called = call(*words, "--json")
    assert called.code == 0, called.out
    return called.value()


def call(path: object, config: object, *words: object) -> Called:
    line = ["evaluate-scores", path, "--dataset", config, *words]
    result = CliRunner(catch_exceptions=False).invoke(main, [str(word) for word in line])
    return Called(result.exit_code, result.stdout if result.exit_code == 0 else result.output)


def without_source(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "scores"}


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 1000), levels=st.sampled_from([2, 5, 10**6]))
def test_every_shape_of_the_same_scores_gives_the_same_metrics(
    seed: int, levels: int, dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    scores = {n: (rng.integers(0, levels, c) / levels).tolist() for n, c in FRAMES.items()}
    found = {}
    for name, write in SHAPES.items():
        path = write(tmp_path_factory.mktemp("shape"), scores)
        words = ("--bootstrap", 20, "--threshold", 0.5)
        found[name] = without_source(evaluate(path, dataset, *words))
    first = found["list of frames"]
    for name, metrics in found.items():
        assert metrics == first, name
    assert first["auc"] == pytest.approx(naive_auc(scores))


def naive_auc(scores: Scores) -> float:
    labels = np.concatenate([labels_of(name) for name in FRAMES])
    return float(roc_auc_score(labels, np.concatenate([scores[name] for name in FRAMES])))


def labels_of(name: str) -> Any:
    labels = np.zeros(FRAMES[name])
    for start, end in SPANS.get(name, []):
        labels[start:end] = 1
    return labels


def clips(size: int = CLIP, drop: bool = False) -> dict[str, list[float]]:
    """Scores per clip: the share of its frames that are annotated, and a little of its place."""
    found = {}
    for name, count in FRAMES.items():
        starts = range(0, count // size * size if drop else count, size)
        found[name] = [float(labels_of(name)[s : s + size].mean()) + s / 1000 for s in starts]
    return found


def held(scores: Scores, size: int = CLIP) -> dict[str, list[float]]:
    """A score per clip as one per frame."""
    return {n: np.repeat(v, size)[: FRAMES[n]].tolist() for n, v in scores.items()}


@pytest.mark.parametrize("size", [16, 7])
def test_a_score_per_clip_is_one_per_frame_of_it(dataset: Path, tmp_path: Path, size: int) -> None:
    per_clip = as_json(tmp_path, clips(size))
    got = evaluate(per_clip, dataset, "--clip", size)
    assert got["scores"]["unit"] == "clip"
    starts = {n: {str(i * size): s for i, s in enumerate(v)} for n, v in clips(size).items()}
    for same in (held(clips(size), size), starts):
        assert without_source(evaluate(as_json(tmp_path, same), dataset)) == without_source(got)


def test_whole_clips_are_what_floor16_evaluates(dataset: Path, tmp_path: Path) -> None:
    dropped = clips(drop=True)
    floor = evaluate(as_json(tmp_path, dropped), dataset, "--labels", "floor16")
    frames = evaluate(as_json(tmp_path, held(clips())), dataset, "--labels", "floor16")
    joined = np.concatenate([dropped[n] for n in FRAMES])
    np.save(tmp_path / "all.npy", joined)
    assert without_source(floor) == without_source(frames)
    assert floor["counts"]["frames"] == 96 + 32 + 48 + 16
    assert floor["labels"] == "floor16"
    one = evaluate(tmp_path / "all.npy", dataset, "--labels", "floor16")
    assert without_source(one) == without_source(floor)


def test_frames_without_a_score_are_left_out_and_told(dataset: Path, tmp_path: Path) -> None:
    path = as_json(tmp_path, clips(drop=True))
    refused = call(path, dataset)
    assert refused.code == 2
    assert "a has 6 scores and 100 frames: 100 (one per frame) or 7 (one per" in refused.out
    assert "--allow-short 4" in refused.out
    metrics = evaluate(path, dataset, "--allow-short", 4)
    assert metrics["counts"]["frames"] == 96 + 32 + 48 + 16
    assert metrics["scores"]["short"] == [
        {"video_id": "a", "scored": 96, "frames": 100},
        {"video_id": "b", "scored": 32, "frames": 33},
        {"video_id": "d", "scored": 16, "frames": 20},
    ]
    floor = evaluate(path, dataset, "--labels", "floor16")
    assert {k: metrics[k] for k in ("auc", "ap", "baselines")} == {
        k: floor[k] for k in ("auc", "ap", "baselines")
    }
    text = call(path, dataset, "--allow-short", 4).out
    assert "NOT COMPLETE: 3 test videos have no score for the last frames" in text
    assert "a: 96 of 100 frames; b: 32 of 33 frames; d: 16 of 20 frames" in text


def test_an_annotation_in_frames_without_a_score_is_cut_or_left_out(tmp_path: Path) -> None:
    config = write_lists(tmp_path)
    scores = {name: np.arange(count).tolist() for name, count in FRAMES.items()}
    scores["b"] = scores["b"][:22]
    half = evaluate(as_json(tmp_path, scores), config, "--allow-short", 15)
    scores["b"] = scores["b"][:19]
    none = evaluate(as_json(tmp_path, scores), config, "--allow-short", 15)
    assert half["counts"]["positive_frames"] == 30 + 5 + 2
    assert none["counts"]["positive_frames"] == 30 + 5
    assert (half["counts"]["left_out"], none["counts"]["left_out"]) == (0, 1)


def test_videos_without_scores_are_refused_or_told(dataset: Path, tmp_path: Path) -> None:
    path = as_json(tmp_path, {n: v for n, v in held(clips()).items() if n != "c"})
    refused = call(path, dataset)
    assert refused.code == 2
    assert "1 of 4 test videos have no scores: 'c'" in refused.out
    metrics = evaluate(path, dataset, "--allow-missing")
    assert metrics["missing"] == {"count": 1, "videos": ["c"]}
    assert metrics["counts"]["videos"] == 3
    assert (
        "NOT COMPLETE: 1 test video has no scores in the file"
        in call(path, dataset, "--allow-missing").out
    )


def test_scores_of_training_videos_are_left_out_and_told(dataset: Path, tmp_path: Path) -> None:
    path = as_json(tmp_path, {**held(clips()), "t": [1.0, 2.0, 3.0]})
    metrics = evaluate(path, dataset)
    assert metrics["scores"]["not_test"] == {"count": 1, "videos": ["t"]}
    alone = evaluate(as_json(tmp_path, held(clips())), dataset)
    assert without_source(metrics) == without_source(alone)
    text = call(as_json(tmp_path, {**held(clips()), "t": [1.0]}), dataset).out
    assert "1 video of the file is no test video: left out: t" in text


@pytest.mark.parametrize(
    ("scores", "words", "message"),
    [
        ({"e": [1]}, (), "'e'"),
        ({"t": [1]}, (), "none of its 1 videos is a test video"),
        ({**held(clips()), "a": [1.0] * 99}, (), "a has 99 scores and 100 frames"),
        ({**held(clips()), "a": [1.0] * 101}, (), "a has 101 scores and 100 frames"),
        ({**held(clips()), "a": [[0, 50, 1], [60, 100, 1]]}, (), "frames 50 to 59"),
        (held(clips()), ("--unit", "clip"), "a has 100 scores and 100 frames: 7 (one per clip"),
        (held(clips()), ("--column", "x"), "--column x"),
        (held(clips()), ("--threshold", "nan"), "--threshold nan: must be a finite number"),
    ],
)
def test_refused_by_name(
    dataset: Path, tmp_path: Path, scores: Any, words: Sequence[str], message: str
) -> None:
    called = call(as_json(tmp_path, scores), dataset, *words)
    assert called.code == 2
    assert message in called.out


def test_a_video_of_unknown_length_is_refused(tmp_path: Path) -> None:
    config = write_lists(tmp_path, {n: c for n, c in FRAMES.items() if n != "b"})
    called = call(as_json(tmp_path, held(clips())), config)
    assert called.code == 2
    assert "how many frames 1 test videos have: 'b'; give a list of them" in called.out


def test_lists_without_test_videos_are_refused(tmp_path: Path) -> None:
    config = write_lists(tmp_path)
    head = "video,split,label,class,start_frame,end_frame"
    (tmp_path / "labels.csv").write_text(f"{head}\na,train,0,Normal,,\n")
    called = call(as_json(tmp_path, held(clips())), config)
    assert called.code == 2
    assert "none of them is a test video" in called.out


def test_without_a_threshold_nothing_is_detected(dataset: Path, tmp_path: Path) -> None:
    path = as_json(tmp_path, held(clips()))
    without, given = evaluate(path, dataset), evaluate(path, dataset, "--threshold", 0.5)
    assert without["auc_thresholded"] is None
    reasons = without["undefined"]
    for name in ("false_alarms_per_hour", "events.0.5.f1", "per_class.Fight.event_ap.0.5"):
        assert reasons[name] == "no threshold is given, so nothing is detected"
    assert given["false_alarms_per_hour"] == 0  # of 68 frames of normal video, 10 a second
    assert given["counts"]["normal_hours"] == pytest.approx(68 / 10 / 3600)
    assert given["events"]["0.5"]["matched"] >= 1
    assert given["threshold"] == {"threshold": 0.5, "rule": "given"}


def test_what_is_written_is_what_a_run_writes(dataset: Path, tmp_path: Path) -> None:
    path, out = as_json(tmp_path, held(clips())), tmp_path / "out"
    metrics = evaluate(path, dataset, "--out", out, "--bootstrap", 7, "--seed", 3)
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert (metrics["bootstrap"]["replicates"], metrics["bootstrap"]["seed"]) == (7, 3)
    assert len(read_table(out / "replicates.parquet", REPLICATES)) == 7


def test_frames_that_decoding_counted_go_before_a_list(tmp_path: Path) -> None:
    config = write_lists(tmp_path, {**FRAMES, "a": 101})
    names = [f"set/{name}" for name in FRAMES]
    columns: dict[str, Any] = {c.name: [None] * 4 for c in VIDEOS.columns}
    columns.update(dict.fromkeys(("path", "digest", "split", "class", "subset"), [""] * 4))
    columns.update(video_id=names, bytes=[0] * 4)
    columns.update(n_frames=list(FRAMES.values()), duration=[9.0] * 4)
    (tmp_path / "runs" / "run").mkdir(parents=True)
    write_table(tmp_path / "runs" / "run" / "videos.parquet", VIDEOS, columns)
    metrics = evaluate(as_json(tmp_path, held(clips())), config)
    assert metrics["frame_counts"] == [{"video_id": "set/a", "decoded": 100, "listed": 101}]
    assert metrics["counts"]["hours"] == pytest.approx(4 * 9 / 3600)


def test_the_scores_of_a_run_give_the_metrics_of_the_run(demo: Demo, tmp_path: Path) -> None:
    expected = json.loads((demo.folder / "metrics.json").read_text())
    threshold = repr(expected["threshold"]["threshold"])
    words = ("--threshold", threshold, "--out", tmp_path / "again")
    found = evaluate(demo.folder / "scores.parquet", demo.config, *words)
    assert found["scores"]["not_test"]["count"] > 0
    assert found["threshold"]["threshold"] == expected["threshold"]["threshold"]
    for metrics in (found, expected):
        del metrics["threshold"]
    assert without_source(found) == expected

    compared = CliRunner().invoke(
        main, ["compare", str(demo.config), str(tmp_path / "again"), "--json"]
    )
    figures = json.loads(compared.stdout)
    assert figures["unpaired"] == {}
    assert {d for f in figures["figures"] for d in f["differences"]} == {0}


def test_another_column_of_a_run_has_no_smoothed_scores_beside_it(demo: Demo) -> None:
    expected = json.loads((demo.folder / "metrics.json").read_text())
    found = evaluate(demo.folder / "scores.parquet", demo.config, "--column", "score")
    assert found["auc"] == expected["unsmoothed"]["auc"]
    assert found["unsmoothed"]["auc"] is None
    assert "nothing was smoothed" in found["undefined"]["unsmoothed.auc"]
