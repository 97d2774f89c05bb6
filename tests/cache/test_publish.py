"""Publishing: an artifact is there whole or not at all, whoever fails, dies or comes second."""

from __future__ import annotations

import errno
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from cache.artifact import Artifact
from cache.errors import (
    ItemError,
    MissingArtifact,
)
from cache.store import Store
from cache.verify import examine
from tests.cache.stores import (
    PAYLOAD,
    RECIPE,
    break_each,
    digest_of,
    fill,
    findings,
    inputs,
    key_of,
    payload_of,
    publish,
    record_of,
    staged,
    start,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def visible(store: Store) -> list[str]:
    return [f"{stage}/{key}" for stage in store.stages() for key in sorted(store.keys(stage))]


# Publishing


def test_a_published_artifact_is_what_was_written(store: Store) -> None:
    artifact = publish(store, rows=7, seconds={"read": 0.1234567}, notes=["one"])
    key = key_of(0)
    assert (artifact.stage, artifact.key) == ("decode", key)
    assert artifact.path == store.root / "decode" / key[:2] / key
    assert payload_of(artifact.path) == PAYLOAD
    assert artifact.digest == artifact.commit.digest == digest_of(PAYLOAD)
    record = record_of(artifact.path)
    assert (record["rows"], record["seconds"], record["notes"]) == (7, {"read": 0.123457}, ["one"])
    assert {f["path"]: f["bytes"] for f in record["files"]} == {
        name: len(content) for name, content in PAYLOAD.items()
    }
    assert store.find("decode", key) == store.artifact("decode", key) == artifact
    assert (visible(store), staged(store), findings(store)) == ([f"decode/{key}"], [], [])


def test_nothing_is_visible_before_it_is_published(store: Store) -> None:
    with store.draft("decode", 1, RECIPE, inputs(0)) as draft:
        fill(draft.path, PAYLOAD)
        assert draft.key == key_of(0)
        assert visible(store) == []
        assert store.find("decode", draft.key) is None
        with pytest.raises(MissingArtifact, match=draft.key):
            store.artifact("decode", draft.key)
    assert (visible(store), staged(store)) == ([], [])


def test_a_compute_that_raises_leaves_nothing(store: Store) -> None:
    def compute() -> None:
        with store.draft("decode", 1, RECIPE, inputs(0)) as draft:
            fill(draft.path, PAYLOAD)
            raise ItemError("no frame can be decoded")

    with pytest.raises(ItemError):
        compute()
    assert (visible(store), staged(store)) == ([], [])


def test_a_refusal_at_the_last_moment_commits_nothing(store: Store) -> None:
    def refuse() -> None:
        assert visible(store) == []
        raise ItemError("the source changed while it was read")

    with pytest.raises(ItemError, match="changed"):
        publish(store, before_rename=refuse)
    assert (visible(store), staged(store)) == ([], [])
    publish(store)
    assert findings(store) == []


@pytest.mark.parametrize(
    ("error", "forever"), [(errno.EIO, False), (errno.ENOSPC, True), (errno.EACCES, False)]
)
def test_whatever_operation_fails_the_store_stays_whole(
    store: Store, error: int, forever: bool
) -> None:
    number = 0

    def attempt() -> None:
        nonlocal number
        number += 1
        publish(store, number)

    tries = 0
    for tries in break_each(attempt, error, forever=forever):  # noqa: B007 -- counted
        seen = Artifact("decode", key_of(number), store.folder("decode", key_of(number)))
        if seen.path.exists():
            assert payload_of(seen.path) == PAYLOAD
            assert examine(seen, full=True) == ""
        assert publish(store, number) == seen
    assert tries > 40, "a publish of five files takes more operations than this"
    assert len(store.keys("decode")) == number
    assert findings(store) == []


def test_everything_is_on_the_disk_before_it_can_be_seen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real = os.rename

    def fsync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    def rename(source: Path, target: Path) -> None:
        events.append("rename")
        real(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    with store.draft("decode", 1, RECIPE, inputs(0)) as draft:
        fill(draft.path, PAYLOAD)
        store.publish(draft, rows=1)
    at = events.index("rename")
    files = {name.rpartition("/")[2] for name in PAYLOAD} | {"commit.json"}
    assert set(events[:at]) == files | {"states.zarr", "c", draft.path.name}
    assert events[at - 1] == draft.path.name
    assert events[at + 1 :] == [draft.key[:2], "decode", "store"]


# The first wins


def test_the_first_of_two_drafts_wins(store: Store) -> None:
    other = {**PAYLOAD, "table.bin": b"another result"}
    with (
        store.draft("decode", 1, RECIPE, inputs(0)) as first,
        store.draft("decode", 1, RECIPE, inputs(0)) as second,
    ):
        fill(first.path, PAYLOAD)
        fill(second.path, other)
        won = store.publish(second, rows=1)
        lost = store.publish(first, rows=1)
    assert lost == won
    assert lost.digest == digest_of(other)
    assert payload_of(won.path) == other
    assert staged(store) == []
    assert list((store.root / "quarantine").iterdir()) == []


@pytest.mark.parametrize("harm", ["no record", "bad record", "a file"])
def test_a_winner_that_cannot_be_read_is_set_aside(store: Store, harm: str) -> None:
    path = publish(store).path
    if harm == "no record":
        (path / "commit.json").unlink()
    elif harm == "bad record":
        (path / "commit.json").write_text("{}")
    else:
        shutil.rmtree(path)
        path.write_text("not even a folder")
    again = publish(store)
    assert again.digest == digest_of(PAYLOAD)
    assert findings(store) == []
    assert len(list((store.root / "quarantine").iterdir())) == 1


def test_a_bad_winner_that_somebody_else_sets_aside_first_is_no_trouble(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (publish(store).path / "commit.json").write_text("{}")
    quarantine = Store.quarantine

    def come_second(self: Store, stage: str, key: str) -> Path:
        quarantine(self, stage, key)
        return quarantine(self, stage, key)

    monkeypatch.setattr(Store, "quarantine", come_second)
    assert publish(store).digest == digest_of(PAYLOAD)
    assert findings(store) == []


RACE = """
import sys, time
from pathlib import Path
from cache.artifact import Artifact
from cache.store import Store
from cache.verify import examine
store = Store.open(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(10):
    with store.draft("decode", 1, {"size": 8}, {"source": number}) as draft:
        for name in ("one", "two"):
            (draft.path / name).write_text(f"{name} by process {sys.argv[2]}")
        artifact = store.publish(draft, rows=1)
    print(artifact.key, artifact.digest if sys.argv[3] == "nothing" else "")
"""


@pytest.mark.parametrize("before", ["nothing", "damage"])
def test_processes_that_publish_the_same_keys_agree(tmp_path: Path, before: str) -> None:
    root = tmp_path / "store"
    if before == "damage":
        store = Store.open(root)
        for number in range(10):
            with store.draft("decode", 1, {"size": 8}, {"source": number}) as draft:
                (store.folder("decode", draft.key) / "leftover").mkdir(parents=True)
    processes = [start(RACE, root, rank, before) for rank in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    store = Store.open(root)
    digests = {key: store.artifact("decode", key).digest for key in store.keys("decode")}
    assert len(digests) == 10
    assert (findings(store), staged(store)) == ([], [])
    if before == "nothing":
        assert all(dict(map(str.split, lines)) == digests for lines in said)
    else:
        assert [len(lines) for lines in said] == [10] * 4
        assert len(list((root / "quarantine").iterdir())) >= 10


# Killed


LOOP = """
import random, sys
from pathlib import Path
from tests.cache.stores import publish
from cache.artifact import Artifact
from cache.store import Store
from cache.verify import examine
store = Store.open(Path(sys.argv[1]))
numbers = list(range(40))
random.Random(int(sys.argv[2])).shuffle(numbers)
print("ready", flush=True)
for number in numbers:
    publish(store, number, {f"{place}/file": b"%d" % number * 2000 for place in range(4)})
"""


def test_a_process_killed_at_any_moment_leaves_only_whole_artifacts(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    chance = random.Random(11)
    for round_ in range(20):
        process = start(LOOP, store.root, round_)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert findings(store) == []
    killed = store.keys("decode")
    assert 0 < len(killed) <= 40
    drafts = len(staged(store))
    assert drafts > 0, "no kill fell between the first file and the rename"
    assert store.sweep() == drafts
    assert staged(store) == []
    before = {key: store.artifact("decode", key).digest for key in killed}
    rest = start(LOOP, store.root, 99)
    rest.communicate()
    assert rest.returncode == 0
    for number in range(40):
        payload = {f"{place}/file": b"%d" % number * 2000 for place in range(4)}
        artifact = store.artifact("decode", key_of(number))
        assert artifact.digest == digest_of(payload)
        assert before.get(artifact.key, artifact.digest) == artifact.digest
    assert findings(store) == []
