"""Killed, stopped, out of disk: nothing is lost but the items in flight, nothing is half-made."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.digest import read_json
from cache.store import Store
from cache.verify import verify
from tests.conftest import HIPROBE, Called, Demo

Hiprobe = Callable[..., Called]


def digests(store: Path) -> dict[str, str]:
    """Content digest of every artifact by stage and key."""
    return {
        f"{p.parent.parent.name}/{p.name}": read_json(p / "commit.json")["digest"]
        for p in store.glob("*/??/*")
        if len(p.name) == 64
    }


def start(demo: Demo, *words: str) -> subprocess.Popen[bytes]:
    """A run in a session of its own; what it says on standard error goes to a file."""
    with (demo.folder / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [*HIPROBE, "run", str(demo.config), "--quiet", *words],
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )


def said(demo: Demo) -> str:
    return (demo.folder / "said.txt").read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_within_ten_seconds(
    own_demo: Demo, number: signal.Signals, code: int
) -> None:
    process = start(own_demo, "--set", "run.store=fresh")
    fresh = own_demo.folder / "fresh" / "forward"
    deadline = time.monotonic() + 60
    while not list(fresh.glob("*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)  # in the middle of the forward stage
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=10) == code
    assert time.monotonic() - began < 10
    assert "nothing half-made" in said(own_demo)
    assert list(verify(Store(fresh.parent), full=True)) == []
    assert not [p for p in (fresh.parent / "staging").iterdir() if p.name != "parts"]


def test_a_full_disk_stops_the_run_and_loses_nothing(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Store.publish
    room = [3]

    def publish(self, draft, **words):  # type: ignore[no-untyped-def]
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(self, draft, **words)

    monkeypatch.setattr(Store, "publish", publish)
    fresh = ("--set", "run.store=fresh", "--quiet", "--until", "decode")
    done = hiprobe("run", own_demo.config, *fresh)
    assert done.code == 1
    assert "no space left" in done.out
    assert "bytes that are free" in done.out
    monkeypatch.undo()
    store = Store(own_demo.folder / "fresh")
    assert list(verify(store, full=True)) == []
    assert len(store.keys("decode")) == 2
    assert hiprobe("run", own_demo.config, *fresh).code == 0


def test_a_run_that_fails_everywhere_stops(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import decode

    def compute(job):  # type: ignore[no-untyped-def]
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(decode, "compute", compute)
    fresh = ("--set", "run.store=fresh", "--quiet", "--until", "decode")
    done = hiprobe("run", own_demo.config, *fresh, "--set", "run.failure_budget=4")
    assert done.code == 1
    assert "4 items of decode failed one after the other" in done.out
    monkeypatch.undo()
    # A crash is not the video's fault: the next run tries again without being asked.
    assert hiprobe("run", own_demo.config, *fresh).code == 0


def test_two_runs_at_once_share_the_work(own_demo: Demo) -> None:
    expected = digests(own_demo.folder / "store")
    words = ("--set", "run.store=fresh", "--until", "localize")
    both = [start(own_demo, *words), start(own_demo, *words)]
    codes = [process.wait(timeout=240) for process in both]
    assert codes == [0, 0], said(own_demo)
    fresh = digests(own_demo.folder / "fresh")
    assert fresh.items() <= expected.items()
    assert {name.split("/")[0] for name in fresh} >= {"decode", "forward", "fit", "localize"}
    assert list(verify(Store(own_demo.folder / "fresh"), full=True)) == []
