"""One item of work: hit, made, in somebody else's hands, or a failure that says why."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cache.store import Store
from pipeline.task import Folder, SourceVideo, Task, execute, scorer_digest
from stages import index, score
from stages.contract import Result

LISTING = [["a", "a.mp4", 3, "d" * 64, "test", None, "", []]]


def task(root: Path, **changed: Any) -> Task:
    """The index of one video, which needs no other artifact."""
    made = Task(
        stage="index", version=1, item="dataset", settings=index.Settings(), recipe={},
        inputs={"listing": "x"}, members={}, store=root, single={}, many={},
        values={"listing": LISTING},
    )  # fmt: skip
    return dataclasses.replace(made, **changed)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Store.open(tmp_path / "store")
    return tmp_path / "store"


def test_it_is_made_once_and_then_found(root: Path) -> None:
    first, second = execute(task(root)), execute(task(root))
    assert (first.status, second.status) == ("built", "hit")
    assert first.digest == second.digest
    assert first.rows == 1
    commit = Store(root).artifact("index", Store(root).keys("index")[0]).commit
    assert commit.environment["packages"]["numpy"]
    assert len(commit.environment["source"]) == 64


def test_an_item_in_somebody_elses_hands_is_left_to_them(root: Path) -> None:
    from pipeline.task import _key

    with Store(root).claims.hold(f"index~{_key(task(root))}"):
        assert execute(task(root)).status == "busy"
    assert execute(task(root)).status == "built"


def test_an_input_that_was_made_again_with_other_content_is_refused(root: Path) -> None:
    execute(task(root))
    key = Store(root).keys("index")[0]
    reading: Mapping[str, Any] = {"plan": ("index", key)}
    outcome = execute(
        task(root, stage="score", settings=score.Settings(), inputs={"plan": "0" * 64},
             single=reading)
    )  # fmt: skip
    assert (outcome.status, outcome.error_class) == ("failed", "MissingArtifact")
    assert "made again with other content" in outcome.message


def test_a_record_that_cannot_be_read_is_a_failure_and_no_crash(root: Path) -> None:
    execute(task(root))
    record = next(root.glob("index/*/*/commit.json"))
    record.write_bytes(record.read_bytes()[:-9])
    outcome = execute(task(root))
    assert (outcome.status, outcome.error_class) == ("failed", "DamagedArtifact")


def test_a_source_that_is_not_the_one_in_the_key_commits_nothing(root: Path) -> None:
    video = root.parent / "a.mp4"
    video.write_bytes(b"other")
    outcome = execute(task(root, source=SourceVideo(video, "d" * 64)))
    assert outcome.status == "failed"
    assert "changed since it was indexed" in outcome.message
    assert Store(root).keys("index") == []


def test_an_outside_scorer_that_changed_since_it_was_planned_ends_the_run(root: Path) -> None:
    """The other run may be run again in the days that this one takes."""
    folder = root.parent / "scorer"
    folder.mkdir()
    (folder / "scorer.json").write_text("{}")
    (folder / "scorer.safetensors").write_bytes(b"weights")
    (folder / "probing_scores.parquet").write_bytes(b"rows")
    planned = Folder(folder, scorer_digest(folder))
    assert planned.checked() is planned
    (folder / "scorer.safetensors").write_bytes(b"others")
    reading = task(root, stage="score", settings=score.Settings(), inputs={"scorer": "0" * 64},
                   single={"scorer": planned})  # fmt: skip
    outcome = execute(reading)
    assert (outcome.status, outcome.error_class) == ("stopped", "ConfigError")
    assert "'scorer' was changed or removed" in outcome.message
    (folder / "scorer.json").unlink()
    assert execute(reading).status == "stopped"
    assert Store(root).keys("score") == []


def test_a_crash_leaves_no_draft_and_names_the_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(job: Any) -> Result:
        (job.out / "half").write_text("half")
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(index, "compute", compute)
    outcome = execute(task(root))
    assert (outcome.status, outcome.message) == ("failed", "ZeroDivisionError: by nothing")
    assert not [p for p in (root / "staging").iterdir() if p.name != "parts"]
    monkeypatch.undo()
    assert execute(task(root)).status == "built"
