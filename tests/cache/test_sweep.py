"""Sweeping: what dead processes left is removed, what a living one is making never is."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from cache.eviction import evict
from cache.store import Store
from tests.cache.stores import RECIPE, inputs, key_of, publish, staged, start


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def draft_of(store: Store, host: str, pid: int | str, *, hours: float = 0) -> Path:
    """A draft as a process of that number left it on that host, some hours ago."""
    path = store.root / "staging" / f"decode~{host}~{pid}~0123456789ab"
    (path / "states.zarr").mkdir(parents=True)
    (path / "states.zarr" / "0").touch()
    then = time.time() - 3600 * hours
    for entry in (path / "states.zarr" / "0", path / "states.zarr", path):
        os.utime(entry, (then, then))
    return path


def here(store: Store) -> str:
    with store.draft("decode", 1, RECIPE, inputs(0)) as draft:
        return draft.path.name.split("~")[1]


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_drafts_of_dead_processes_of_this_host_are_swept_at_once(store: Store, dead: int) -> None:
    draft_of(store, here(store), dead)
    kept = store.parts(key_of(0))
    kept.mkdir()
    assert store.sweep() == 1
    assert (staged(store), kept.is_dir()) == ([], True)


def test_parts_of_what_is_published_are_swept_and_no_others(store: Store) -> None:
    """A process may be killed after it has published, and before it has cleared them away."""
    publish(store, 1)
    evict(store, "decode", publish(store, 2).key)  # it may be made again at this moment
    for number in range(3):
        store.parts(key_of(number)).mkdir()
        (store.parts(key_of(number)) / "00000000-states.part").touch()
    store.sweep()
    kept = {path.name for path in (store.root / "staging" / "parts").iterdir()}
    assert kept == {key_of(0), key_of(2)}


def test_the_claim_of_a_process_that_died_after_publishing_is_swept(store: Store) -> None:
    """Nobody will ever want to take it over: what it stood for is made."""
    claim = (
        "import sys; from pathlib import Path; from cache.claims import Claims\n"
        "with Claims(Path(sys.argv[1])).hold('decode~abc'): print('held', flush=True); input()"
    )
    other = start(claim, store.root / "claims")
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    store.sweep()
    assert store.claims.is_held("decode~abc")
    other.kill()
    other.communicate()
    store.sweep()
    assert list((store.root / "claims").iterdir()) == []


def test_the_draft_of_a_living_process_is_never_swept(store: Store) -> None:
    other = start("import sys; sys.stdin.read()")
    own = draft_of(store, here(store), os.getpid(), hours=100)
    theirs = draft_of(store, here(store), other.pid, hours=100)
    assert store.sweep() == 0
    assert own.exists()
    assert theirs.exists()
    other.kill()
    other.communicate()
    assert store.sweep() == 1
    assert not theirs.exists()


def test_on_another_host_age_decides(store: Store, dead: int) -> None:
    old = draft_of(store, "other", os.getpid(), hours=25)
    young = draft_of(store, "elsewhere", dead, hours=23)
    busy = draft_of(store, "third", dead, hours=25)
    (busy / "states.zarr" / "0").write_bytes(b"a new shard, deep in an old folder")
    os.utime(busy, (0, 0))
    os.utime(busy / "states.zarr", (0, 0))
    assert store.sweep() == 1
    assert not old.exists()
    assert young.exists()
    assert busy.exists()
    assert store.sweep(age_s=3600) == 1
    assert not young.exists()


def test_a_container_of_the_same_name_is_another_host(
    store: Store, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = draft_of(store, socket.gethostname(), dead)
    inside = draft_of(store, f"{socket.gethostname()}+4026599999", dead)
    assert store.sweep() == 0
    assert draft.exists()
    assert inside.exists()


@pytest.mark.parametrize("off", [-1e6, 1e6])
def test_a_clock_that_is_off_sweeps_nothing_more_and_nothing_less(
    store: Store, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = draft_of(store, "other", 1, hours=25)
    young = draft_of(store, "elsewhere", 1)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + off)
    assert store.sweep() == 1
    assert not old.exists()
    assert young.exists()


def test_what_no_draft_is_called_stays(store: Store) -> None:
    for name in ("notes.txt", "a~b~c~d", "a~b~-1~d", "a~b"):
        (store.root / "staging" / name).touch()
        os.utime(store.root / "staging" / name, (0, 0))
    assert store.sweep() == 0
    assert staged(store) == ["a~b", "a~b~-1~d", "a~b~c~d", "notes.txt"]


def test_what_is_left_of_files_that_were_being_written_goes_after_a_day(store: Store) -> None:
    left = []
    for folder in ("catalog", "roots", "pins", "claims", "staging", "quarantine"):
        for name in (".decode.txt.0123456789ab.tmp", ".clock.0123456789ab"):
            for hours in (23, 25):
                path = store.root / folder / name.replace("89ab", f"89{hours}")
                path.touch()
                then = time.time() - 3600 * hours
                os.utime(path, (then, then))
                left.append((path, hours))
    kept = store.root / "roots" / ".notes"
    kept.touch()
    os.utime(kept, (0, 0))
    store.sweep()
    assert [hours for path, hours in left if path.exists()] == [23] * 12
    assert kept.exists(), "it is not named like one of these"
