"""What is finished early is digested early, and never believed once it was touched."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from cache import drafts
from cache.arrays import write_heads, write_states
from cache.store import Store
from tests.cache.stores import RECIPE, findings, inputs, record_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def shas(folder: Path) -> dict[str, str]:
    found = record_of(folder)["files"]
    return {entry["path"]: entry["sha256"] for entry in found}


def test_a_finished_file_is_digested_while_the_next_is_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    plain = drafts.sync_file

    def sync(path: str) -> None:
        plain(path)
        done.set()

    monkeypatch.setattr(drafts, "sync_file", sync)
    with store.draft("forward", 1, RECIPE, inputs(0)) as draft:
        first, second = draft.path / "first", draft.path / "second"
        first.write_bytes(b"one" * 1000)
        draft.finished(first)
        assert done.wait(20)  # digested and on the disk, and the second is not there yet
        second.write_bytes(b"two")
        read: list[str] = []
        digest = drafts.file_digest
        monkeypatch.setattr(
            drafts, "file_digest", lambda path: (read.append(Path(path).name), digest(path))[1]
        )
        artifact = store.publish(draft, rows=1)
    assert read == ["second"]
    assert shas(artifact.path) == {
        "first": hashlib.sha256(b"one" * 1000).hexdigest(),
        "second": hashlib.sha256(b"two").hexdigest(),
    }
    assert findings(store) == []


@pytest.mark.parametrize("change", ["other size", "same size", "other file", "removed"])
def test_one_that_was_touched_after_all_is_digested_again(store: Store, change: str) -> None:
    with store.draft("forward", 1, RECIPE, inputs(0)) as draft:
        path = draft.path / "file"
        path.write_bytes(b"before")
        os.utime(path, ns=(1, 1))
        draft.finished(path)
        draft.early.of(str(path))
        if change == "removed":
            path.unlink()
        elif change == "other file":
            (draft.path / "heir").write_bytes(b"behind")
            (draft.path / "heir").replace(path)
        else:
            path.write_bytes(b"behind" if change == "same size" else b"longer than before")
        expected = (
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest()} if path.exists() else {}
        )
        artifact = store.publish(draft, rows=1)
    assert shas(artifact.path) == expected
    assert findings(store) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_what_the_disk_refused_early_is_told_when_it_is_published(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A failed write to the disk is told once: asked again, the file system says that all is well."""
    plain, told = drafts.sync_file, [0]

    def sync(path: str) -> None:
        told[0] += 1
        if told[0] == 1:
            raise OSError(number, os.strerror(number))
        plain(path)

    monkeypatch.setattr(drafts, "sync_file", sync)
    with store.draft("forward", 1, RECIPE, inputs(0)) as draft:
        (draft.path / "file").write_bytes(b"x")
        draft.finished(draft.path / "file")
        with pytest.raises(OSError, match=os.strerror(number)):
            store.publish(draft, rows=1)
    assert store.keys("forward") == []


def test_a_draft_that_is_dropped_leaves_no_thread(store: Store) -> None:
    before = threading.active_count()
    with pytest.raises(RuntimeError), store.draft("forward", 1, RECIPE, inputs(0)) as draft:  # noqa: PT012
        (draft.path / "file").write_bytes(b"x")
        draft.finished(draft.path / "file")
        raise RuntimeError
    assert threading.active_count() == before
    assert [p.name for p in (store.root / "staging").iterdir()] == ["parts"]


def test_every_shard_is_told_when_it_is_whole(tmp_path: Path) -> None:
    told: dict[str, bytes] = {}

    def note(path: Path) -> None:
        told[path.relative_to(tmp_path).as_posix()] = path.read_bytes()

    rows = np.arange(600 * 2 * 3, dtype=np.float32).reshape(600, 1, 2, 3)
    write_states(
        tmp_path / "states.zarr", [rows[:300], rows[300:]], segments=600, layers=[1, 4], dim=3,
        logical_dtype="float32", finished=note,
    )  # fmt: skip
    write_heads(
        tmp_path / "heads.zarr", [rows[:300], rows[300:]], segments=600, heads=[(0, 0), (0, 1)],
        head_dim=3, logical_dtype="float32", finished=note,
    )  # fmt: skip
    names = [f"{array}.zarr/c/{shard}/0/0" for array in ("heads", "states") for shard in (0, 1)]
    assert sorted(told) == names
    assert all((tmp_path / name).read_bytes() == content for name, content in told.items())
