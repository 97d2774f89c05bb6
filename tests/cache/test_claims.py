"""Claims: one worker at a time, freed by whatever ends it, and no clock is trusted."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cache import claims as claims_module
from cache.claims import Claims, is_alive
from tests.cache.stores import start

NAME = "decode~abc"


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(tmp_path)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A claim that a process of another host has made, which gives no sign of life."""
    with ExitStack() as stack:
        monkeypatch.setattr(claims_module, "BEAT_S", 1000.0)
        monkeypatch.setattr(socket, "gethostname", lambda: "another-host")
        assert stack.enter_context(Claims(tmp_path).hold(NAME))
        monkeypatch.undo()
        yield NAME


def age(folder: Path, seconds: float) -> None:
    """Let time pass for a claim: its last sign of life is that many seconds ago."""
    then = (folder / NAME).stat().st_mtime - seconds
    os.utime(folder / NAME, (then, then))


def test_a_claim_is_held_once(tmp_path: Path, claims: Claims) -> None:
    assert not claims.is_held(NAME)
    with claims.hold(NAME) as first, claims.hold(NAME) as second:
        assert (first, second) == (True, False)
        assert claims.is_held(NAME)
        assert not claims.is_held("decode~other")
        with Claims(tmp_path).hold(NAME) as third, claims.hold("decode~other") as other:
            assert (third, other) == (False, True)
    assert not claims.is_held(NAME)
    assert list(tmp_path.iterdir()) == []
    with claims.hold(NAME) as again:
        assert again


def test_leaving_without_the_claim_does_not_release_it(claims: Claims) -> None:
    with claims.hold(NAME):
        with claims.hold(NAME) as got:
            assert not got
        assert claims.is_held(NAME)


def test_an_exception_releases(tmp_path: Path, claims: Claims) -> None:
    with pytest.raises(ZeroDivisionError), claims.hold(NAME):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys
from pathlib import Path
from cache.claims import Claims
with Claims(Path(sys.argv[1])).hold("decode~abc") as got:
    print(got, flush=True)
    sys.stdin.readline()
"""


def test_processes_exclude_one_another(tmp_path: Path, claims: Claims) -> None:
    process = start(HOLD, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    with claims.hold(NAME) as got:
        assert not got
    process.communicate("leave\n")
    assert list(tmp_path.iterdir()) == []
    with claims.hold(NAME) as got:
        assert got


MANY = """
import sys
from contextlib import ExitStack
from pathlib import Path
from cache.claims import Claims
claims = Claims(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
with ExitStack() as stack:
    print([n for n in range(100) if stack.enter_context(claims.hold(f"decode~{n}"))], flush=True)
    sys.stdin.readline()
"""


def test_of_racing_processes_each_claim_has_one_holder(tmp_path: Path) -> None:
    processes = [start(MANY, tmp_path) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    got: list[int] = []
    for word in ("go\n", ""):
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(word)
            process.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        got += json.loads(process.stdout.readline())
    assert sorted(got) == list(range(100))
    for process in processes:
        process.communicate("leave\n")
        assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_the_claim_of_a_killed_process_of_this_host_is_free_at_once(
    tmp_path: Path, claims: Claims
) -> None:
    process = start(HOLD, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    process.kill()
    process.communicate()
    assert (tmp_path / NAME).exists()
    assert not claims.is_held(NAME)
    with claims.hold(NAME) as got:
        assert got


@pytest.mark.parametrize("same_pids", [False, True])
def test_a_number_says_nothing_about_a_process_of_another_host(
    tmp_path: Path, claims: Claims, elsewhere: str, same_pids: bool
) -> None:
    owner = json.loads((tmp_path / NAME).read_text())
    host = f"{socket.gethostname()}+4026599999" if same_pids else "another-host+4026531836"
    (tmp_path / NAME).write_text(json.dumps({**owner, "host": host, "pid": 2**22 + 1}))
    with claims.hold(NAME) as got:
        assert not got


def test_a_claim_without_a_sign_of_life_can_be_taken_after_the_lease(
    tmp_path: Path, claims: Claims, elsewhere: str
) -> None:
    age(tmp_path, claims_module.LEASE_S - 5)
    assert claims.is_held(NAME)
    with claims.hold(NAME) as got:
        assert not got
    age(tmp_path, 6)
    assert not claims.is_held(NAME)
    with claims.hold(NAME) as got:
        assert got
        assert claims.is_held(NAME)


def test_a_claim_that_was_taken_over_is_not_released_by_its_first_holder(
    tmp_path: Path, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "BEAT_S", 1000.0)
    with ExitStack() as second:
        with claims.hold(NAME):
            age(tmp_path, 1000)
            assert second.enter_context(Claims(tmp_path).hold(NAME))
        assert claims.is_held(NAME), "it is the second one's now"
    assert not claims.is_held(NAME)


def test_the_heart_keeps_a_claim_alive(
    tmp_path: Path, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "BEAT_S", 0.05)
    before = threading.active_count()
    with claims.hold("decode~short"):
        pass
    while threading.active_count() > before:
        time.sleep(0.01)  # the heart of the first claim has stopped
    with claims.hold(NAME):
        for _ in range(3):
            age(tmp_path, 1000)
            deadline = time.monotonic() + 10
            while not claims.is_held(NAME):
                assert time.monotonic() < deadline, "no sign of life"
                time.sleep(0.02)


def test_the_heart_survives_a_sign_of_life_that_fails(
    tmp_path: Path, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "BEAT_S", 0.02)
    failures: list[Path] = []
    utime = os.utime

    def fail(path: Path) -> None:
        failures.append(path)
        raise OSError(errno.ESTALE, "stale file handle")

    with claims.hold(NAME):
        with monkeypatch.context() as patch:
            patch.setattr(os, "utime", fail)
            while len(failures) < 3:
                time.sleep(0.01)
        assert os.utime is utime
        age(tmp_path, 1000)
        deadline = time.monotonic() + 10
        while not claims.is_held(NAME):
            assert time.monotonic() < deadline, "the heart has stopped"
            time.sleep(0.02)


def test_no_thread_outlives_its_claims(tmp_path: Path) -> None:
    before = threading.active_count()
    for number in range(50):
        with Claims(tmp_path).hold(f"decode~{number}"):
            assert threading.active_count() <= before + 3
    deadline = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("off", [-3600.0, 3600.0])
def test_a_clock_that_is_an_hour_off_neither_steals_nor_waits(
    tmp_path: Path, claims: Claims, elsewhere: str, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + off)
    with claims.hold(NAME) as got:
        assert not got
    age(tmp_path, claims_module.LEASE_S + 1)
    with claims.hold(NAME) as got:
        assert got


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "\xff", '{"pid": 1}', '{"host": null}'])
def test_a_claim_that_says_nothing_is_judged_by_its_age(
    tmp_path: Path, claims: Claims, content: str
) -> None:
    (tmp_path / NAME).write_text(content, encoding="latin-1")
    with claims.hold(NAME) as got:
        assert not got
    age(tmp_path, claims_module.LEASE_S + 1)
    with claims.hold(NAME) as got:
        assert got


def test_a_full_disk_leaves_no_claim_that_nobody_holds(
    tmp_path: Path, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="no space"), claims.hold(NAME):
            pass
    assert list(tmp_path.iterdir()) == []
    with claims.hold(NAME) as got:
        assert got


def test_who_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    process = start("import sys; sys.stdin.read()")
    assert is_alive(process.pid)
    process.communicate()
    assert not is_alive(process.pid)
    assert not is_alive(10**30)
    for unknown in (None, "7", 0, -1):
        assert is_alive(unknown), "what cannot be known counts as alive"

    def forbid(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbid)
    assert is_alive(1), "a process of somebody else"
