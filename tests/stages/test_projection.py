"""Stage projection: the pictures are of the rows that they say they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.digest import read_json, write_json
from cache.errors import ConfigError, ItemError
from cache.fields import notes
from manifests.schema import PROJECTIONS, SEGMENTS
from manifests.table import read_table, write_table
from stages import projection
from stages.contract import Job
from stages.probes.projection import components_of, principal
from stages.probes.silhouette import stratified_rows
from tests.payload import Folder
from tests.states import QUESTION, write_artifact, write_heads_artifact
from tests.training import spans_of

LENGTHS = (20, 9, 14)


def made_rows() -> list[Any]:
    generator = np.random.default_rng(0)
    return [
        (generator.normal(size=(n, 4, 6)) + 2 * (i % 2)).astype(np.float32)
        for i, n in enumerate(LENGTHS)
    ]


def make_job(
    root: Path, choice: dict[str, Any], *, heads: bool = False, **changed: Any
) -> Job[Any]:
    entries, many = {}, {"states": {}, "plan": {}}
    for number, rows in enumerate(made_rows()):
        name = f"v{number}"
        entries[name] = {"split": "train", "label": number % 2, "intervals": None}
        if heads:
            kept = [(1, 0), (2, 3)]
            write_heads_artifact(
                root / name / "states", rows.reshape(len(rows), 1, 4, 6)[:, :, :2], heads=kept
            )
        else:
            write_artifact(root / name / "states", rows, layers=[0, 3, 5, 8])
        (root / name / "plan").mkdir(parents=True)
        write_table(root / name / "plan/segments.parquet", SEGMENTS, spans_of(range(len(rows))))
        for part, payloads in many.items():
            payloads[name] = Folder(root / name / part)
    (root / "choice").mkdir()
    write_json(root / "choice" / "choice.json", choice)
    (root / "out").mkdir()
    settings = projection.Settings(**{"iterations": 250, **changed})
    values = {"labels": entries, "question": QUESTION}
    return Job("set", settings, root / "out", {"choice": Folder(root / "choice")}, many, values)


def test_the_lowest_the_chosen_and_the_last_layer_are_drawn(tmp_path: Path) -> None:
    job = make_job(tmp_path, {"layer": 5})
    assert projection.compute(job).rows == 3 * 2 * 43
    found = read_table(job.out / "projections.parquet", PROJECTIONS).to_pandas()
    assert set(found["what"]) == {"layer 0", "layer 5", "layer 8"}
    record = read_json(job.out / "projection.json")
    assert (record["samples"], record["rows"], record["chosen"]) == (43, 43, {"layer": 5})
    assert [(p["what"], p["method"]) for p in record["pictures"]] == [
        (f"layer {layer}", method) for layer in (0, 5, 8) for method in ("pca", "tsne")
    ]
    assert record["notes"] == [
        f"layer {layer}: perplexity 14 instead of 30: there are 43 rows" for layer in (0, 5, 8)
    ]
    for what, place in (("layer 0", 0), ("layer 5", 2), ("layer 8", 3)):
        part = found[(found["what"] == what) & (found["method"] == "pca")]
        assert part["video_id"].tolist() == [
            f"v{i}" for i, n in enumerate(LENGTHS) for _ in range(n)
        ]
        assert part["segment"].tolist() == [s for n in LENGTHS for s in range(n)]
        assert part["label"].tolist() == [i % 2 for i, n in enumerate(LENGTHS) for _ in range(n)]
        rows = np.concatenate(made_rows())[:, place].astype(np.float64)
        expected = principal(components_of(rows)).points
        assert expected is not None
        np.testing.assert_allclose(part[["x", "y"]].to_numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize(("layer", "drawn"), [(0, [0, 8]), (8, [0, 8]), (3, [0, 3, 8])])
def test_a_layer_is_drawn_once(tmp_path: Path, layer: int, drawn: list[int]) -> None:
    job = make_job(tmp_path, {"layer": layer}, methods=("pca",))
    projection.compute(job)
    pictures = read_json(job.out / "projection.json")["pictures"]
    assert [p["what"] for p in pictures] == [f"layer {n}" for n in drawn]


def test_every_picture_is_of_one_sample_that_keeps_the_classes(tmp_path: Path) -> None:
    job = make_job(tmp_path, {"layer": 3}, samples=12, seed=4, methods=("pca",))
    projection.compute(job)
    found = read_table(job.out / "projections.parquet", PROJECTIONS).to_pandas()
    labels = np.repeat([0, 1, 0], LENGTHS)
    kept = stratified_rows(labels, 12, 4)
    where = [(f"v{i}", s) for i, n in enumerate(LENGTHS) for s in range(n)]
    for _, part in found.groupby("what"):
        assert [*zip(part["video_id"], part["segment"], strict=True)] == [where[k] for k in kept]
        assert part["label"].tolist() == labels[kept].tolist()
    rows = np.concatenate(made_rows())[kept, 1].astype(np.float64)
    expected = principal(components_of(rows)).points
    assert expected is not None
    drawn = found[found["what"] == "layer 3"][["x", "y"]].to_numpy()
    np.testing.assert_allclose(drawn, expected, rtol=1e-9)
    assert read_json(job.out / "projection.json")["samples"] == 12


def test_of_chosen_heads_their_rows_are_drawn(tmp_path: Path) -> None:
    job = make_job(tmp_path, {"heads": [[1, 0], [2, 3]]}, heads=True, methods=("pca",))
    projection.compute(job)
    found = read_table(job.out / "projections.parquet", PROJECTIONS).to_pandas()
    assert set(found["what"]) == {"heads"}
    rows = np.concatenate(made_rows())[:, :2].reshape(43, 12).astype(np.float64)
    expected = principal(components_of(rows)).points
    assert expected is not None
    np.testing.assert_allclose(found[["x", "y"]].to_numpy(), expected, rtol=1e-9)


def test_nothing_is_drawn_where_nothing_is_asked_for(tmp_path: Path) -> None:
    job = make_job(tmp_path, {"layer": 3}, methods=())
    assert projection.compute(job).rows == 0
    assert read_json(job.out / "projection.json")["pictures"] == []


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    outs = []
    for name in ("one", "two"):
        job = make_job(tmp_path / name, {"layer": 5})
        projection.compute(job)
        outs.append([path.read_bytes() for path in sorted(job.out.iterdir())])
    assert outs[0] == outs[1]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"v0: layer 4 is needed.* 0, 3, 5, 8"):
        projection.compute(make_job(tmp_path / "layer", {"layer": 4}))
    job = make_job(tmp_path / "class", {"layer": 3})
    for label in job.values["labels"].values():
        label["label"] = 0
    with pytest.raises(ConfigError, match="no anomalous sample"):
        projection.compute(job)
    job = make_job(tmp_path / "rows", {"layer": 3})
    path = job.many["plan"]["v1"].file("segments.parquet")
    write_table(path, SEGMENTS, spans_of(range(7)))
    with pytest.raises(ItemError, match="v1: hidden states of 9 segments, but the plan has 7"):
        projection.compute(job)


def test_settings_are_checked_before_anything_runs() -> None:
    known = notes(projection.Settings)
    check = known["methods"].check
    assert check is not None
    assert check(("pca",)) is check(()) is check(("tsne", "pca")) is None
    assert check(("umap",)) == "must be a list of some of pca, tsne, each once"
    assert check(("pca", "pca")) is not None
    assert {note.kind for note in known.values()} == {"recipe"}
