"""Durable writes: the old state or the new one, whatever fails, and in which order."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from cache.atomic import (
    clock_of,
    replace_bytes,
    replace_json,
    sync_file,
    sync_folder,
    sync_tree,
    walk,
)
from tests.cache.stores import break_each, failing


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("forever", [False, True])
def test_a_write_that_fails_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, error: int, forever: bool
) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"old")
    seen = set()
    for at in break_each(lambda: replace_bytes(path, b"new content"), error, forever=forever):
        assert [p.name for p in tmp_path.iterdir()] == ["table"]
        seen.add((at, path.read_bytes()))
        path.write_bytes(b"old")
    # the write and its open, the sync and its open, the rename, then the folder's
    assert seen == {(at, b"old" if at <= 5 else b"new content") for at in range(1, 8)}


def test_a_new_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="space"), failing(1, errno.ENOSPC):
        replace_bytes(tmp_path / "table", b"new content")
    assert list(tmp_path.iterdir()) == []


def test_json_is_written_canonically(tmp_path: Path) -> None:
    replace_json(tmp_path / "value.json", {"b": 1, "a": ["é", 0.5]})
    assert (tmp_path / "value.json").read_bytes() == b'{"a":["\\u00e9",0.5],"b":1}\n'


def synced(patch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is forced to the disk from here on, in order."""
    names: list[str] = []

    def note(descriptor: int) -> None:
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    patch.setattr(os, "fsync", note)
    return names


def test_the_bytes_are_on_the_disk_before_the_name_points_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = synced(monkeypatch)
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        events.append("replace")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    replace_bytes(tmp_path / "table", b"new")
    assert events[0].startswith(".table.")
    assert events[1:] == ["replace", tmp_path.name]


def test_a_tree_is_forced_out_files_first_then_the_deepest_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    for name in ("a/b/deep", "a/file", "c/other"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    events = synced(monkeypatch)
    sync_tree(root)
    assert sorted(events) == ["a", "b", "c", "deep", "file", "other", "root"]
    folders = [name for name in events if name in {"a", "b", "c", "root"}]
    assert set(events[:3]) == {"deep", "file", "other"}
    assert folders.index("b") < folders.index("a") < folders.index("root") == 3


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_fsync_of_folders_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir():
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    replace_bytes(tmp_path / "table", b"new")
    assert (tmp_path / "table").read_bytes() == b"new"


def test_a_disk_that_cannot_keep_the_bytes_is_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()

    def fail(code: int) -> None:
        def fsync(descriptor: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)

    fail(errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
    for code in (errno.EIO, errno.EINVAL):
        fail(code)
        with pytest.raises(OSError, match=os.strerror(code)):
            sync_file(tmp_path / "file")


def test_walk_sees_everything_once_sorted_and_follows_no_link(tmp_path: Path) -> None:
    for name in ("b/x", "a/y/z", "a/k", "c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = [Path(entry.path).relative_to(tmp_path).as_posix() for entry in walk(tmp_path)]
    assert found == ["a", "a/k", "a/y", "a/y/z", "b", "b/x", "c", "gone", "loop"]


def test_the_clock_is_the_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert 0 <= clock_of(tmp_path) - file.stat().st_mtime < 60
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
