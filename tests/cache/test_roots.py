"""Roots: what runs and people need is known exactly, or it is known that it is not."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cache import roots
from cache.errors import ConfigError, DamagedArtifact, StoreTooNew
from cache.roots import (
    Root,
    announced,
    forget,
    named,
    pin,
    planning,
    read_root,
    read_roots,
    renew_root,
    root_id,
    unpin,
    write_root,
)
from cache.store import Store
from tests.cache.stores import flip, start, unwritable

keys = st.integers(0, 9).map(lambda n: hashlib.sha256(b"%d" % n).hexdigest())
reaches = st.dictionaries(
    st.sampled_from(["decode", "sample", "forward"]),
    st.dictionaries(st.text(max_size=8), keys, min_size=1, max_size=4),
    max_size=3,
)
A, B, C = (hashlib.sha256(name).hexdigest() for name in (b"a", b"b", b"c"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return Store.open(tmp_path / "store").root


def path_of(store: Path, root: Root) -> Path:
    return store / ("pins" if root.pinned else "roots") / f"{root.id}.txt"


@settings(deadline=None)
@given(reach=reaches, name=st.text(max_size=12), feature=st.text())
def test_a_root_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    reach: dict[str, dict[str, str]],
    name: str,
    feature: str,
) -> None:
    store = tmp_path_factory.mktemp("store")
    root = Root("run", name, reach, features={"videos": 3, feature: feature})
    write_root(store, root)
    (found,) = read_roots(store)
    assert (found.name, found.reach, found.features) == (root.name, reach, root.features)
    assert found.keys() == {(s, k) for s, items in reach.items() for k in items.values()}
    assert found.by
    assert found.written


def test_a_flipped_bit_of_a_root_is_found(store: Path) -> None:
    root = Root("run", "run", {"decode": {"v": A}}, earlier={"sample": {B: 0}})
    write_root(store, root)
    path = path_of(store, root)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 13):
        flip(path, bit)
        with pytest.raises(DamagedArtifact, match=r"roots/run\.txt cannot be read"):
            read_roots(store)
        path.write_bytes(whole)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedArtifact):
            read_roots(store)


def forged(store: Path, **changes: object) -> None:
    """A root with another head or body, and with the digests that belong to them."""
    path = store / "roots" / "run.txt"
    line, _, body = path.read_bytes().partition(b"\n")
    head = {**json.loads(line), **changes}
    body = changes.pop("lines", body)  # type: ignore[assignment]
    head = {k: v for k, v in head.items() if k not in ("record", "lines") and v is not None}
    head["body"] = hashlib.sha256(body).hexdigest()
    text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    head["record"] = hashlib.sha256(text).hexdigest()
    text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    path.write_bytes(text + b"\n" + body)


@pytest.mark.parametrize(
    "lines",
    [
        b'["reach","decode",{"v":"../../../etc"}]\n',
        b'["reach","../roots",{"v":"%s"}]\n' % A.encode(),
        b'["reach","roots",{"v":"%s"}]\n' % A.encode(),
        b'["reach","decode",{"v":7}]\n',
        b'["earlier","decode",{"..":0}]\n',
        b'["other","decode",{"v":"%s"}]\n' % A.encode(),
        b"[" * 100_000,
        b"\xff\n",
    ],
)
def test_what_is_no_artifact_is_in_no_root(store: Path, lines: bytes) -> None:
    """Stage and key become a path in whatever reads a root of others."""
    write_root(store, Root("run", "run", {"decode": {"v": A}}))
    forged(store)
    assert read_roots(store)[0].keys() == {("decode", A)}
    forged(store, lines=lines)
    with pytest.raises(DamagedArtifact):
        read_roots(store)


def test_a_root_of_a_newer_hiprobe_is_refused_and_never_overwritten(store: Path) -> None:
    root = Root("run", "run", {"decode": {"v": A}})
    write_root(store, root)
    forged(store, format=2)
    before = path_of(store, root).read_bytes()
    with pytest.raises(StoreTooNew, match="format 2"):
        read_roots(store)
    with pytest.raises(StoreTooNew):
        renew_root(store, Root("run", "run", {"decode": {"v": B}}), complete=True)
    assert path_of(store, root).read_bytes() == before


def test_a_damaged_root_is_written_anew_by_its_run(store: Path) -> None:
    """Also where the damage is in the body, and the run reaches what it reached before."""
    root = Root("run", "run", {"decode": {"v": A}})
    renew_root(store, root, complete=True)
    path = path_of(store, root)
    whole = path.read_bytes()
    flip(path, 8 * (len(whole) - 10))
    renew_root(store, root, complete=True)
    assert read_roots(store)[0].keys() == {("decode", A)}


def test_a_root_that_says_the_same_is_not_written_again(store: Path) -> None:
    root = Root("run", "run", {"decode": {"v": A}})
    for complete in (False, True, True):
        renew_root(store, root, complete=complete)
    inode = path_of(store, root).stat().st_ino
    renew_root(store, root, complete=True)
    write_root(store, root)
    assert path_of(store, root).stat().st_ino == inode


A_ALONE, B_ALONE = {"decode": {"v": A}}, {"decode": {"v": B}}
some = st.sampled_from([A_ALONE, B_ALONE, {"sample": {"v": A, "w": C}}])
steps = st.lists(st.tuples(some | reaches, st.booleans()), min_size=1, max_size=6)
"""Configurations of a run, some of them again and again, and whether it was complete in each."""


@settings(deadline=None, max_examples=40)
@given(steps=steps)
@example(steps=[(A_ALONE, True), (B_ALONE, False), (B_ALONE, True)])
@example(steps=[(A_ALONE, True), (B_ALONE, False), (A_ALONE, True)])
def test_what_was_reached_counts_until_the_run_is_complete(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[dict[str, dict[str, str]], bool]]
) -> None:
    store = tmp_path_factory.mktemp("store")
    needed: set[tuple[str, str]] = set()
    ever: set[tuple[str, str]] = set()
    for reach, complete in steps:
        now = {(s, k) for s, items in reach.items() for k in items.values()}
        needed = now if complete else needed | now
        ever |= now
        renew_root(store, Root("run", "run", reach), complete=complete)
        (root,) = read_roots(store)
        assert root.keys() == needed
        assert root.reach == reach
        ended = {(s, k) for s, known in root.earlier.items() for k, until in known.items() if until}
        assert ended == ever - needed


def test_when_something_was_reached_last_is_told_by_the_clock_of_the_store(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew_root(store, Root("run", "run", {"decode": {"v": A}}), complete=True)
    now, real = time.time(), time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    renew_root(store, Root("run", "run", {"decode": {"v": B}}), complete=True)
    (root,) = read_roots(store)
    assert abs(root.earlier["decode"][A] - now) < 60
    # Later changes do not make it younger, and it is not remembered for ever.
    renew_root(store, Root("run", "run", {"decode": {"v": C}}), complete=True)
    assert read_roots(store)[0].earlier["decode"][A] == root.earlier["decode"][A]
    monkeypatch.setattr(roots, "REMEMBERED_S", -1.0)
    renew_root(store, Root("run", "run", {"decode": {"v": A}}), complete=True)
    assert read_roots(store)[0].earlier == {}


def test_two_runs_of_one_name_have_a_root_each(tmp_path: Path) -> None:
    one, other = (root_id("demo", tmp_path / name / "demo") for name in ("a", "b"))
    assert one != other
    assert one == root_id("demo", tmp_path / "b" / ".." / "a" / "demo")
    assert str(tmp_path) not in one


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "ünï", "七" * 200, "a~b", "x\ny"])
def test_any_name_of_a_run_makes_a_file_in_the_folder_of_roots(store: Path, name: str) -> None:
    made = Root(root_id(name, store / name), name, {"decode": {"v": A}})
    write_root(store, made)
    assert [(root.id, root.name) for root in read_roots(store)] == [(made.id, name)]
    assert path_of(store, made).parent == store / "roots"


def test_a_pin_keeps_what_several_runs_reach(store: Path) -> None:
    write_root(store, Root("one", "demo", {"decode": {"v": A}}))
    write_root(store, Root("two", "demo", {"decode": {"v": B, "w": C}}))
    pin(store, "kept", named(read_roots(store), "demo"))
    forget(store, "one")
    forget(store, "two")
    (kept,) = read_roots(store)
    assert (kept.pinned, kept.keys()) == (True, {("decode", A), ("decode", B), ("decode", C)})
    with pytest.raises(ConfigError, match="unpin it first"):
        pin(store, "kept", [])
    unpin(store, "kept")
    assert read_roots(store) == []


@pytest.mark.parametrize("name", ["", "a/b", "../roots/run", ".x", "a b", "a~b", "x" * 49])
def test_a_pin_is_given_a_plain_name(store: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="at most 48 letters"):
        pin(store, name, [])


def test_only_a_pin_is_unpinned_and_only_a_run_forgotten(store: Path) -> None:
    write_root(store, Root("run", "run", {"decode": {"v": A}}))
    pin(store, "kept", read_roots(store))
    for call, name in (
        (unpin, "run"), (forget, "kept"), (unpin, "../roots/run"), (unpin, "nobody"), (unpin, ""),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="cache roots"):
            call(store, name)
    assert len(read_roots(store)) == 2


def test_an_unknown_run_is_told_with_the_nearest(store: Path) -> None:
    write_root(store, Root("id", "ucf_crime", {}))
    with pytest.raises(ConfigError, match="did you mean ucf_crime"):
        named(read_roots(store), "ucf-crime")
    assert [root.id for root in named(read_roots(store), "id")] == ["id"]


def test_who_plans_is_seen_until_he_is_done_or_dead(store: Path) -> None:
    assert announced(store) == set()
    with planning(store):
        assert len(announced(store)) == 1
    assert announced(store) == set()
    code = (
        "import sys; from pathlib import Path; from cache.roots import planning\n"
        "with planning(Path(sys.argv[1])): print('plans', flush=True); input()"
    )
    other = start(code, store)
    assert other.stdout is not None
    assert other.stdout.readline() == "plans\n"
    assert len(announced(store)) == 1
    other.kill()
    other.communicate()
    assert announced(store) == set()


def test_a_store_that_cannot_be_written_is_planned_with_and_keeps_no_root(store: Path) -> None:
    import errno

    with unwritable(store, errno.EROFS):
        with planning(store):
            pass
        with pytest.raises(OSError, match="Read-only"):
            renew_root(store, Root("run", "run", {"decode": {"v": A}}), complete=True)


def test_a_root_that_nobody_may_read_is_not_passed_over(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_root(store, Root("run", "run", {"decode": {"v": A}}))

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DamagedArtifact, match="PermissionError"):
        read_root(store / "roots" / "run.txt")
