"""A clock that is off by an hour; a store that is moved, copied, and shared by a group of users."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cache import claims as claims_module
from cache.roots import PLANNING, announced
from cache.store import Store
from manifests.schema import RUN_SCORES
from manifests.table import read_table
from tests.cache.stores import flip, publish
from tests.conftest import Called, Demo, copy_of
from tests.faults.test_interruptions import digests

Hiprobe = Callable[..., Called]
HOUR = 3600.0


def nothing_to_do(hiprobe: Hiprobe, demo: Demo, *words: object) -> None:
    called = hiprobe("run", demo.config, "--quiet", "--json", *words)
    assert called.code == 0, called.out
    assert not any(called.value()["built"].values())


@pytest.fixture(params=[-HOUR, HOUR], ids=["behind", "ahead"])
def off(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """This host's clock, against the one of the file system."""
    shift: float = request.param
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + shift)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(shift * 1e9))
    return shift


def test_a_run_on_a_host_whose_clock_is_off(own_demo: Demo, hiprobe: Hiprobe, off: float) -> None:
    expected = digests(own_demo.folder / "store")
    for stage in ("fit", "score"):
        shutil.rmtree(own_demo.folder / "store" / stage)
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert digests(own_demo.folder / "store") == expected
    nothing_to_do(hiprobe, own_demo)
    assert hiprobe("cache", "verify", own_demo.config, "--for", "5m").code == 0
    listed = hiprobe("cache", "gc", own_demo.config, "--json").value()
    assert listed["artifacts"] == listed["leftovers"] == [], (
        "a clock that is ahead makes nothing old"
    )


def test_what_others_hold_is_neither_stolen_nor_swept(
    tmp_path: Path, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr(claims_module, "this_host", lambda: "another+1")
        patch.setattr("cache.store.this_host", lambda: "another+1")
        held = store.claims.hold("decode~x")
        drafted = store.draft("decode", 1, {}, {})
        planned = store.claims.hold(f"{PLANNING}1")
        assert held.__enter__()
        path = drafted.__enter__().path
        planned.__enter__()
    (path / "half").write_text("half")
    with store.claims.hold("decode~x") as got:
        assert not got
    assert store.sweep() == 0
    assert path.exists()
    assert announced(store.root) == {f"{PLANNING}1"}
    for entered in (planned, drafted, held):
        entered.__exit__(None, None, None)


@pytest.mark.parametrize("shift", [-HOUR, HOUR])
def test_files_that_carry_the_times_of_another_clock(
    own_demo: Demo, hiprobe: Hiprobe, shift: float
) -> None:
    """As a copy of a store from a machine whose clock is off has them."""
    for path in (own_demo.folder / "store").rglob("*"):
        then = path.stat().st_mtime + shift
        os.utime(path, (then, then))
    nothing_to_do(hiprobe, own_demo)
    assert hiprobe("cache", "verify", own_demo.config, "--full").code == 0
    store = Store(own_demo.folder / "store")
    assert publish(store, 1).path.exists()
    assert store.sweep() == 0


def test_a_store_that_is_moved_and_copied_is_the_same_store(
    own_demo: Demo, hiprobe: Hiprobe, tmp_path: Path
) -> None:
    """No path is in it. A copy has other inodes and other times, and a place of its own."""
    (own_demo.folder / "store").rename(tmp_path / "else where")
    nothing_to_do(
        hiprobe, own_demo, "--set", f"run.store={json.dumps(str(tmp_path / 'else where'))}"
    )
    (tmp_path / "copy").mkdir()
    for path in sorted((tmp_path / "else where").rglob("*")):
        target = tmp_path / "copy" / path.relative_to(tmp_path / "else where")
        target.mkdir() if path.is_dir() else shutil.copyfile(path, target)
    shutil.rmtree(tmp_path / "else where")
    lay = ("--set", f"run.store={json.dumps(str(tmp_path / 'copy'))}")
    nothing_to_do(hiprobe, own_demo, *lay)
    assert hiprobe("cache", "verify", tmp_path / "copy", "--full").code == 0
    moved = copy_of(own_demo, tmp_path / "runs" / "moved")
    nothing_to_do(hiprobe, moved, *lay, "--set", 'run.name="demo"', "--set", 'run.runs=".."')
    for name in (b"/runs/demo", bytes(own_demo.folder)):
        for path in (tmp_path / "copy").glob("*/??/*/*.json"):
            assert name not in path.read_bytes()


AS_USERS = """
import json, os, sys
import av, matplotlib.figure, pyarrow.parquet, scipy.stats, sklearn.linear_model, zarr
import safetensors.numpy, google_crc32c, torch
from click.testing import CliRunner
from pipeline.cli import main
users, warm, calls = json.loads(sys.argv[1])
os.umask(0o002)
def call(words):
    result = CliRunner().invoke(main, words)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return [result.exit_code, result.output]
for words in warm:
    assert call(words)[0] == 0, call(words)
for number, words in calls:
    read, write = os.pipe()
    if os.fork() == 0:
        if users:
            os.setgroups([])
            os.setgid(users[2])
            os.setuid(users[number])
            os.environ["HOME"] = "/nonexistent"
        try:
            said = call(words)
        except BaseException as error:
            said = [-1, repr(error)]
        os.write(write, json.dumps(said)[-60000:].encode())
        os._exit(0)
    os.close(write)
    said = b""
    while part := os.read(read, 65536):
        said += part
    os.close(read)
    os.wait()
    print(json.dumps([words, *json.loads(said)]), flush=True)
"""
USERS = (4001, 4002, 4000)
"""Two users, and the group of both."""


@pytest.fixture
def group(demo: Demo) -> Iterator[Demo]:
    """A finished run in a folder of a group: what is in it belongs to its first user."""
    with tempfile.TemporaryDirectory(prefix="hiprobe-") as name:
        Path(name).chmod(0o755)
        made = copy_of(demo, Path(name) / "demo")
        for path in [Path(name), made.folder, *made.folder.rglob("*")]:
            if os.getuid() == 0:
                os.chown(path, USERS[0], USERS[2])
            path.chmod(0o2775 if path.is_dir() else 0o664)
        yield made


def as_users(*calls: tuple[int, list[object]], warm: list[list[object]]) -> list[tuple[int, str]]:
    """What each call gave: exit code and output, each in a process of that user."""
    users = USERS if os.getuid() == 0 else ()
    given = json.dumps([users, warm, calls], default=str)
    done = subprocess.run(
        [sys.executable, "-c", AS_USERS, given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [tuple(json.loads(line)[1:]) for line in done.stdout.splitlines()[-len(calls) :]]


def test_two_users_of_a_group_go_on_where_the_other_stopped(
    group: Demo, demo: Demo, tmp_path: Path
) -> None:
    """As root two users run it for real; as a user only what files get from the umask is seen."""
    store = group.folder / "store"
    for stage in ("fit", "score", "localize"):
        shutil.rmtree(store / stage)
    flip(next((store / "sample").glob("*/*")) / "segments.parquet", 999)
    warmed = copy_of(demo, tmp_path / "warm" / "demo")
    shutil.rmtree(warmed.folder / "store" / "fit")
    run: list[object] = ["run", group.config, "--quiet"]
    other = [*run, "--set", "fit.c=0.5", "--until", "score"]
    verify: list[object] = ["cache", "verify", group.config]
    said = as_users(
        (0, [*run, "--until", "score"]),  # it sets one aside, and makes that and the rest
        (1, run),
        (1, other),
        (0, other),
        (1, [*verify, "--full"]),
        (0, [*verify, "--for", "1m"]),
        (1, ["cache", "pin", group.config, "kept", "--run", "demo"]),
        (0, ["cache", "unpin", group.config, "kept"]),
        (1, ["cache", "evict", group.config, "--stage", "score"]),
        (0, ["cache", "gc", group.config, "--older-than", "0s", "--delete"]),
        (0, run),
        (1, [*verify, "--full"]),
        warm=[["run", warmed.config, "--quiet"]],
    )
    assert [code for code, _ in said] == [0] * len(said), said
    rows = [read_table(d.folder / "scores.parquet", RUN_SCORES) for d in (group, demo)]
    assert rows[0].equals(rows[1])
    if os.getuid() == 0:
        owners = {path.stat().st_uid for path in store.rglob("commit.json")}
        assert owners == set(USERS[:2])
    refused = {
        str(path.relative_to(group.folder)): oct(path.stat().st_mode)
        for path in [store, *store.rglob("*"), *(group.folder / "manifests").rglob("*")]
        if not path.stat().st_mode & stat.S_IWGRP
        or (os.getuid() == 0 and path.stat().st_gid != USERS[2])
    }
    assert refused == {}, "what one user has made, the other cannot change"


def test_files_follow_the_umask(tmp_path: Path) -> None:
    made: dict[int, set[int]] = {}
    for mask in (0o077, 0o022, 0o002):
        before = os.umask(mask)
        try:
            store = Store.open(tmp_path / f"{mask}")
            publish(store)
            with store.claims.hold("x"), store.draft("decode", 1, {}, {}) as draft:
                (draft.path / "half").write_text("")
                paths = [store.root, *store.root.rglob("*")]
                made[mask] = {stat.S_IMODE(p.stat().st_mode) | mask for p in paths}
                allowed: Any = {0o777, 0o666 | mask}
                assert made[mask] <= allowed, mask
        finally:
            os.umask(before)
