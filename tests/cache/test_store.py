"""The store as a folder: what it opens, what it hands out, and what it tidies up."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest

from cache import layout as layout_module
from cache.errors import ConfigError, DamagedArtifact, MissingArtifact, NotAStore, StoreTooNew
from cache.store import Store
from tests.cache.stores import (
    PAYLOAD,
    RECIPE,
    break_each,
    digest_of,
    findings,
    inputs,
    key_of,
    publish,
    start,
    unwritable,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


# Opening


@pytest.mark.parametrize("kind", ["missing", "missing parents", "empty"])
def test_a_missing_or_empty_folder_becomes_a_store(tmp_path: Path, kind: str) -> None:
    root = tmp_path / ("a/b/store" if kind == "missing parents" else "store")
    if kind == "empty":
        root.mkdir()
    store = Store.open(root)
    assert store.stages() == []
    tag = (root / "CACHEDIR.TAG").read_bytes()
    assert tag.startswith(b"Signature: 8a477f597d28d172789f06886806bc55")
    assert (root / "format.json").read_text() == '{"hiprobe_store":1}\n'
    publish(store)
    assert Store.open(root).keys("decode") == [key_of(0)]


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", "null", "", "{", '{"hiprobe_store":"x"}', '{"zarr_format":3}', "[" * 100_000],
)
def test_a_folder_with_a_foreign_mark_is_no_store(tmp_path: Path, content: str) -> None:
    (tmp_path / "format.json").write_text(content)
    with pytest.raises(NotAStore, match=r"format\.json does not say"):
        Store.open(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["format.json"]


def test_what_is_something_else_is_no_store_and_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    full = tmp_path / "full"
    (full / "staging").mkdir(parents=True)
    (full / "thesis.tex").write_text("years of work")
    marked = tmp_path / "marked"
    (marked / "format.json").mkdir(parents=True)
    for root in (file, full, marked):
        with pytest.raises(NotAStore) as refused:
            Store.open(root)
        assert isinstance(refused.value, ConfigError)
    assert file.read_text() == "x"
    assert sorted(p.name for p in full.iterdir()) == ["staging", "thesis.tex"]


def test_a_newer_store_is_refused_by_number(tmp_path: Path) -> None:
    (tmp_path / "format.json").write_text('{"hiprobe_store": 12}')
    with pytest.raises(StoreTooNew, match="store format 12, this hiprobe reads up to 1"):
        Store.open(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["format.json"]


@pytest.mark.parametrize("forever", [False, True])
def test_a_store_whose_making_was_interrupted_can_be_made(tmp_path: Path, forever: bool) -> None:
    number = 0

    def attempt() -> None:
        nonlocal number
        number += 1
        Store.open(tmp_path / str(number))

    for _ in break_each(attempt, errno.EIO, forever=forever):
        publish(Store.open(tmp_path / str(number)))
    assert number > 10


def test_a_store_that_somebody_makes_this_very_moment_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_blank = layout_module._is_blank

    def come_second(root: Path) -> bool:
        monkeypatch.setattr(layout_module, "_is_blank", is_blank)
        Store.open(root)
        return is_blank(root)

    monkeypatch.setattr(layout_module, "_is_blank", come_second)
    assert Store.open(tmp_path / "store").stages() == []
    half = tmp_path / "half"
    half.mkdir()
    (half / ".format.json.0123456789ab.tmp").touch()
    assert Store.open(half).stages() == []


def test_processes_that_open_a_new_store_at_once_agree(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from cache.store import Store\n"
    code += "[Store.open(Path(line.strip())) for line in sys.stdin]"
    processes = [start(code) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.writelines(f"{tmp_path / str(number)}\n" for number in range(30))
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0] * 4


@pytest.mark.parametrize("how", ["moved", "copied", "copied without empty folders"])
def test_a_store_works_where_it_is_put(store: Store, tmp_path: Path, how: str) -> None:
    publish(store)
    there = tmp_path / "mounted" / "elsewhere"
    if how == "moved":
        there.parent.mkdir()
        store.root.rename(there)
    else:
        shutil.copytree(store.root, there)
    if how == "copied without empty folders":
        for name in ("staging/parts", "staging", "claims", "quarantine", "catalog"):
            (there / name).rmdir()
    moved = Store.open(there)
    assert moved.artifact("decode", key_of(0)).file("table.bin").is_relative_to(there)
    assert moved.sweep() == 0
    with moved.claims.hold("decode~1") as got:
        assert got
        publish(moved, 1)
    moved.quarantine("decode", key_of(0))
    assert findings(moved) == []


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS])
def test_a_read_only_store_can_be_read(store: Store, error: int) -> None:
    publish(store)
    (store.root / "CACHEDIR.TAG").unlink()
    (store.root / "quarantine").rmdir()
    with unwritable(store.root, error):
        opened = Store.open(store.root)
        artifact = opened.artifact("decode", key_of(0))
        assert artifact.file("table.bin").read_bytes() == PAYLOAD["table.bin"]
        assert artifact.digest == digest_of(PAYLOAD)
        assert opened.stages() == ["decode"]
        assert findings(opened) == []
        with pytest.raises(OSError, match=os.strerror(error)):
            publish(opened, 1)


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_files_and_folders_follow_the_umask(tmp_path: Path, umask: None, mask: int) -> None:
    os.umask(mask)
    store = Store.open(tmp_path / "store")
    with store.claims.hold("decode~1"), store.draft("decode", 1, RECIPE, inputs(1)):
        publish(store)
        found = list(store.root.rglob("*"))
        assert len([p for p in found if p.is_file()]) == 2 + len(PAYLOAD) + 1 + 1
        for path in [store.root, *found]:
            assert S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask, path


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_only_what_lies_where_an_artifact_would_is_one(store: Store) -> None:
    key = publish(store).key
    publish(store, 1, stage="sample")
    for name in (
        f"decode/{'0' * 64}",
        f"decode/xy/{key}",
        f"decode/{key[:2]}/notes",
        "lost+found/a/b",
    ):
        (store.root / name).mkdir(parents=True)
    (store.root / "decode" / ".DS_Store").touch()
    (store.root / "decode" / key[:2] / ".nfs0001").touch()
    (store.root / "README").touch()
    assert store.stages() == ["decode", "sample"]
    assert store.keys("decode") == [key]
    assert store.keys("forward") == []
    assert list(store.listing("decode").inodes.values()) == [
        store.folder("decode", key).stat().st_ino
    ]
    assert findings(store) == []


# Reading


def test_files_and_folders_of_a_payload_are_found_by_name(store: Store) -> None:
    artifact = publish(store)
    assert artifact.file("table.bin").read_bytes() == PAYLOAD["table.bin"]
    assert artifact.file("states.zarr/c/1").read_bytes() == PAYLOAD["states.zarr/c/1"]
    for folder in ("states.zarr", "states.zarr/c"):
        assert artifact.file(folder) == artifact.path / folder
        assert artifact.file(folder).is_dir()


@pytest.mark.parametrize(
    "name", ["other", "", ".", "..", "table", "states", "states.zarr/", "commit.json", "../x"]
)
def test_a_name_that_is_not_listed_is_not_held(store: Store, name: str) -> None:
    artifact = publish(store)
    (artifact.path / "other").write_bytes(b"lies there, but was never committed")
    with pytest.raises(DamagedArtifact, match="does not hold"):
        artifact.file(name)


@pytest.mark.parametrize(
    "harm", ["gone", "short", "long", "empty", "folder", "link", "link of its size", "no folder"]
)
@pytest.mark.parametrize("asked", ["states.zarr/c/0", "states.zarr"])
def test_a_file_that_is_not_whole_is_named(store: Store, harm: str, asked: str) -> None:
    artifact = publish(store)
    path = artifact.path / "states.zarr/c/0"
    whole = path.read_bytes()
    path.unlink()
    if harm in ("short", "long", "empty"):
        path.write_bytes({"short": whole[:-1], "long": whole + b"\0", "empty": b""}[harm])
    elif harm == "folder":
        path.mkdir()
    elif harm == "link":
        (store.root.parent / "elsewhere").write_bytes(whole)
        path.symlink_to(store.root.parent / "elsewhere")
    elif harm == "link of its size":
        path.symlink_to("x" * len(whole))
    elif harm == "no folder":
        shutil.rmtree(path.parent)
        path.parent.write_text("a file where a folder was")
    expected = rf"decode/{artifact.key}: states.zarr/c/0 should have {len(whole)} bytes, found"
    with pytest.raises(DamagedArtifact, match=expected):
        artifact.file(asked)
    assert artifact.file("table.bin").exists(), "what is whole can still be read"


def test_a_draft_with_a_link_is_refused(store: Store) -> None:
    outside = store.root.parent
    (outside / "real").write_bytes(b"x")
    for name, target in (("link", "real"), ("folder", "store"), ("broken", "nowhere")):
        with store.draft("decode", 1, RECIPE, inputs(0)) as draft:
            (draft.path / name).symlink_to(outside / target)
            with pytest.raises(DamagedArtifact, match=f"{name}.*plain files"):
                store.publish(draft, rows=1)
    assert store.keys("decode") == []
    assert (outside / "real").read_bytes() == b"x"


def test_a_draft_with_a_pipe_or_a_record_of_its_own_is_refused(store: Store) -> None:
    with store.draft("decode", 1, RECIPE, inputs(0)) as draft:
        os.mkfifo(draft.path / "pipe")
        with pytest.raises(DamagedArtifact, match="pipe"):
            store.publish(draft, rows=1)
    with pytest.raises(DamagedArtifact, match=r"commit\.json"):
        publish(store, payload={**PAYLOAD, "commit.json": b"{}"})
    publish(store, payload={**PAYLOAD, "inner/commit.json": b"{}"})
    assert findings(store) == []


def test_auxiliary_files_are_checked_but_change_no_digest(store: Store) -> None:
    rest = {name: content for name, content in PAYLOAD.items() if name != "preview.webp"}
    one = publish(store, 1, auxiliary=["preview.webp"])
    two = publish(store, 2, {**rest, "preview.webp": b"!"}, auxiliary=iter(["preview.webp"]))
    assert one.digest == two.digest == digest_of(rest)
    assert publish(store, 3).digest == digest_of(PAYLOAD)
    (one.path / "preview.webp").write_bytes(b"A picture")
    assert [f.split(":")[0] for f in findings(store)] == [f"decode/{one.key[:6]}"]
    with pytest.raises(DamagedArtifact, match=r"lacks the files \['page.html'\]"):
        publish(store, 4, auxiliary=["page.html"])


def test_a_logical_digest_stands_for_the_bytes_of_a_table(store: Store) -> None:
    def logical(path: Path) -> str:
        return path.read_bytes().partition(b"|")[0].hex().ljust(64, "0")

    one = publish(store, 1, {"t.parquet": b"says|v1", "t.bin": b"a"}, logical=logical)
    two = publish(store, 2, {"t.parquet": b"says|version 2", "t.bin": b"a"}, logical=logical)
    three = publish(store, 3, {"t.parquet": b"other|v1", "t.bin": b"a"}, logical=logical)
    four = publish(store, 4, {"t.parquet": b"says|v1", "t.bin": b"b"}, logical=logical)
    assert one.digest == two.digest
    assert len({one.digest, three.digest, four.digest}) == 3
    (one.path / "t.parquet").write_bytes(b"says|v2")
    assert len(findings(store)) == 1, "every byte is checked all the same"


# Setting aside


def test_quarantine_takes_out_of_sight_and_keeps_the_bytes(store: Store) -> None:
    artifact = publish(store)
    (artifact.path / "table.bin").write_bytes(b"damaged")
    there = store.quarantine("decode", artifact.key)
    assert store.find("decode", artifact.key) is None
    assert store.keys("decode") == []
    assert there.parent == store.root / "quarantine"
    assert there.name.startswith(f"decode~{artifact.key}~")
    assert (there / "table.bin").read_bytes() == b"damaged"
    assert store.stages() == ["decode"]
    publish(store)
    assert store.quarantine("decode", artifact.key) != there, "two of one key lie side by side"
    with pytest.raises(MissingArtifact, match=artifact.key):
        store.quarantine("decode", artifact.key)


def test_free_space_is_that_of_the_stores_disk(store: Store) -> None:
    assert abs(store.free_bytes() - shutil.disk_usage(store.root).free) < 1 << 30
