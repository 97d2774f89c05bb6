"""The catalog: always what the commits say, however old, foreign or broken its table is."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from cache import artifact as artifact_module
from cache.catalog import WORTH_WRITING, StageCatalog, load_catalog, save_catalog
from cache.store import Store
from tests.cache.stores import key_of, publish, record_of, sha, unwritable

MANY = WORTH_WRITING + 8


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here: what is forced to the disk is tested in test_publish."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path / "store")


def filled(root: Path, text: str = "") -> Store:
    """A store of many artifacts, and no table yet."""
    store = Store.open(root)
    for number in range(MANY):
        publish(store, number, {"a": b"%d" % number + text.encode()}, rows=number)
    return store


def table(store: Store) -> Path:
    return store.root / "catalog" / "decode.txt"


def truth(store: Store) -> dict[str, tuple[str, int, int]]:
    """Digest, rows and bytes by key, read from the records and nothing else."""
    records = [record_of(path.parent) for path in store.root.glob("decode/*/*/commit.json")]
    return {
        r["key"]: (r["digest"], r["rows"], sum(f["bytes"] for f in r["files"])) for r in records
    }


def said(store: Store) -> dict[str, tuple[str, int, int]]:
    found = load_catalog(store, ["decode"])["decode"]
    assert found.digests.keys() == found.sizes.keys()
    return {key: (digest, *found.sizes[key]) for key, digest in found.digests.items()}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the records that are opened."""
    keys: list[str] = []
    read = artifact_module.read_commit

    def count(folder: Path) -> object:
        keys.append(folder.name)
        return read(folder)

    monkeypatch.setattr(artifact_module, "read_commit", count)
    return keys


def test_it_says_what_the_commits_say(store: Store, opened: list[str]) -> None:
    expected = truth(store)
    assert len(expected) == MANY
    assert said(store) == expected
    assert len(opened) == MANY
    assert said(store) == expected
    assert len(opened) == MANY, "the second look opens no record"
    assert load_catalog(store, ["decode", "sample"])["sample"] == StageCatalog()


def test_a_few_new_artifacts_are_looked_up_and_not_worth_a_table(
    store: Store, opened: list[str]
) -> None:
    said(store)
    before = table(store).read_bytes()
    opened.clear()
    for number in range(MANY, MANY + 3):
        publish(store, number)
    assert said(store) == truth(store)
    assert sorted(opened) == sorted(key_of(number) for number in range(MANY, MANY + 3))
    assert table(store).read_bytes() == before


def test_what_a_run_has_added_is_not_opened_again(store: Store, opened: list[str]) -> None:
    known = load_catalog(store, ["decode"])
    artifact = publish(store, MANY, {"a": b"new"})
    known["decode"].add(artifact.key, artifact.digest, 3, 3)
    save_catalog(store, known)
    opened.clear()
    assert said(store) == truth(store)
    assert opened == []


def test_a_deleted_artifact_is_gone_at_once(store: Store, opened: list[str]) -> None:
    said(store)
    opened.clear()
    shutil.rmtree(store.folder("decode", key_of(3)))
    store.quarantine("decode", key_of(4))
    assert key_of(3) not in said(store)
    assert said(store) == truth(store)
    assert len(truth(store)) == MANY - 2
    assert opened == []
    shutil.rmtree(store.root / "decode")
    assert said(store) == {}


@pytest.mark.parametrize("gone", ["set aside", "deleted"])
def test_a_key_that_was_made_again_has_its_new_digest(store: Store, gone: str) -> None:
    old = said(store)[key_of(3)]
    memory = load_catalog(store, ["decode"])
    if gone == "set aside":
        store.quarantine("decode", key_of(3))
    else:
        shutil.rmtree(store.folder("decode", key_of(3)))
        assert key_of(3) not in said(store)
        assert key_of(3) not in table(store).read_text(), "its inode may come back"
    publish(store, 3, {"a": b"other bytes of the same recipe"})
    assert said(store)[key_of(3)] != old
    assert said(store) == truth(store)
    if gone == "set aside":
        save_catalog(store, memory)  # by a run that had loaded the catalog before
        assert said(store) == truth(store)


def test_a_run_that_made_a_key_again_remembers_the_new_digest(
    store: Store, opened: list[str]
) -> None:
    memory = load_catalog(store, ["decode"])
    store.quarantine("decode", key_of(3))
    artifact = publish(store, 3, {"a": b"other"})
    memory["decode"].add(artifact.key, artifact.digest, 3, 5)
    save_catalog(store, memory)
    opened.clear()
    assert said(store) == truth(store)
    assert opened == []


def test_the_table_of_another_store_says_nothing_about_this_one(
    store: Store, tmp_path: Path
) -> None:
    said(store)
    other = filled(tmp_path / "other", " and other bytes of the same recipe")
    shutil.copy(table(store), table(other))
    assert said(other) == truth(other) != truth(store)
    shutil.copytree(store.root, tmp_path / "copied")
    assert said(Store.open(tmp_path / "copied")) == truth(store)


def test_a_damaged_table_is_ignored_and_written_anew(store: Store, opened: list[str]) -> None:
    expected = said(store)
    whole = table(store).read_bytes()
    assert said(store) == expected == truth(store)
    chance = random.Random(3)
    for _ in range(40):
        content = bytearray(whole)
        content[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        table(store).write_bytes(content)
        opened.clear()
        assert said(store) == expected
        assert len(opened) == MANY, "a table with a flipped bit is not believed in part"
        assert table(store).read_bytes() == whole


def lines(*rows: str) -> bytes:
    body = "".join(f"{row}\n" for row in rows)
    return f"{sha(body.encode())}\n{body}".encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\xff\xfe\x00",
        b"key,digest\n1,2\n",
        b"0" * 64,
        lines(),
        lines("a b"),
        lines(f"{key_of(0)} {'d' * 64} three 4 5"),
        lines(f"{key_of(0)} {'d' * 64} 3 4 5 6 7"),
        lines(f"{key_of(0)} {'d' * 64} 3 4 0"),
    ],
    ids=[
        "empty", "line", "binary", "csv", "digits", "no rows", "short row", "no number",
        "later version", "other inode",
    ],
)  # fmt: skip
def test_a_foreign_table_is_ignored(store: Store, content: bytes) -> None:
    table(store).write_bytes(content)
    assert said(store) == truth(store)


@pytest.mark.parametrize("size", [1, 64, 65, 66, 500, -1])
def test_a_cut_table_is_ignored(store: Store, size: int) -> None:
    said(store)
    table(store).write_bytes(table(store).read_bytes()[:size])
    assert said(store) == truth(store)


def test_a_table_that_cannot_be_written_is_done_without(store: Store) -> None:
    table(store).mkdir()
    assert said(store) == truth(store)
    assert [p.name for p in (store.root / "catalog").iterdir()] == ["decode.txt"]
    shutil.rmtree(store.root / "catalog")
    assert said(store) == truth(store)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("remembered", [False, True])
def test_a_store_that_cannot_be_written_can_be_read(
    store: Store, error: int, remembered: bool
) -> None:
    if remembered:
        said(store)
        shutil.rmtree(store.folder("decode", key_of(0)))
    before = sorted(p.name for p in (store.root / "catalog").iterdir())
    with unwritable(store.root, error):
        assert said(store) == truth(store)
    assert sorted(p.name for p in (store.root / "catalog").iterdir()) == before


def test_a_record_that_cannot_be_read_is_named_and_not_committed(store: Store) -> None:
    (store.folder("decode", key_of(1)) / "commit.json").write_text("{}")
    (store.folder("decode", key_of(2)) / "commit.json").unlink()
    found = load_catalog(store, ["decode"])["decode"]
    assert found.damaged.keys() == {key_of(1), key_of(2)}
    assert key_of(1) in found.damaged[key_of(1)]
    assert not found.damaged.keys() & found.digests.keys()
    assert len(found.digests) == MANY - 2
    publish(store, 1)
    again = load_catalog(store, ["decode"])["decode"]
    assert again.damaged.keys() == {key_of(2)}
    assert again.digests[key_of(1)] == store.artifact("decode", key_of(1)).digest


def test_one_that_vanishes_while_it_is_looked_up_is_not_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = store.listing("decode")
    monkeypatch.setattr(Store, "listing", lambda self, stage: listing)
    store.quarantine("decode", key_of(5))
    found = load_catalog(store, ["decode"])["decode"]
    assert key_of(5) not in found.digests
    assert len(found.digests) == MANY - 1
