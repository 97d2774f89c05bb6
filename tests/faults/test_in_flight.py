"""Two videos in flight at the model: whatever ends the run, the store is that of one at a time."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.store import Store
from cache.verify import verify
from tests.conftest import Called, Demo
from tests.faults.test_interruptions import digests, said

Hiprobe = Callable[..., Called]

HELD = """
import sys, threading, time
from pathlib import Path
from pipeline import run
from pipeline.cli import main
from stages import forward

folder, stubborn = Path(sys.argv[1]), sys.argv[2] == "stubborn"
run.GRACE_S = 1.0 if stubborn else 8.0
pair = threading.Barrier(2)

def compute(job):
    (job.out / "half").write_text("half")
    pair.wait(60)
    (folder / "both").touch()
    while True:
        if not stubborn:
            job.progress(1, 2)
        time.sleep(0.01)

forward.compute = compute
sys.argv[1:] = ["run", str(folder / "run.toml"), "--quiet", "--until", "forward"]
main()
"""
"""A run that holds two videos in the middle of their forward passes, for ever."""


def hold_two(demo: Demo, how: str = "willing") -> subprocess.Popen[bytes]:
    """A process in which two videos are in flight."""
    shutil.rmtree(demo.folder / "store" / "forward")
    with (demo.folder / "said.txt").open("ab") as told:
        process = subprocess.Popen(
            [sys.executable, "-c", HELD, str(demo.folder), how], stdout=told, stderr=told
        )
    deadline = time.monotonic() + 120
    while not (demo.folder / "both").exists():
        assert process.poll() is None, said(demo)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def drafts(demo: Demo) -> list[Path]:
    staging = demo.folder / "store" / "staging"
    return [path for path in staging.iterdir() if path.name != "parts"]


def claims(demo: Demo) -> list[Path]:
    return list((demo.folder / "store" / "claims").glob("[!.]*"))


def is_whole(demo: Demo) -> bool:
    return list(verify(Store(demo.folder / "store"), full=True)) == []


def test_one_at_a_time_gives_the_same(own_demo: Demo, hiprobe: Hiprobe) -> None:
    store = own_demo.folder / "store"
    expected = digests(store)
    for stage in ("forward", "explain"):
        shutil.rmtree(store / stage)
    alone = hiprobe("run", own_demo.config, "--quiet", "--set", "run.in_flight=1")
    assert alone.code == 0
    assert digests(store) == expected


def test_killed_with_two_in_flight_and_run_again(own_demo: Demo, hiprobe: Hiprobe) -> None:
    expected = digests(own_demo.folder / "store")
    process = hold_two(own_demo)
    assert (len(drafts(own_demo)), len(claims(own_demo))) == (2, 2)
    process.kill()
    process.wait()
    assert is_whole(own_demo)
    assert not list((own_demo.folder / "store").glob("forward/*/*"))
    # The claims of a process that is gone are nobody's: nothing is waited for.
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert digests(own_demo.folder / "store") == expected
    assert (drafts(own_demo), claims(own_demo)) == ([], [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drops_both(own_demo: Demo, number: signal.Signals, code: int) -> None:
    process = hold_two(own_demo)
    process.send_signal(number)
    assert process.wait(timeout=10) == code, said(own_demo)
    assert "nothing half-made" in said(own_demo)
    assert (drafts(own_demo), claims(own_demo)) == ([], [])
    assert is_whole(own_demo)


def test_videos_that_do_not_let_go_are_not_waited_for(own_demo: Demo, hiprobe: Hiprobe) -> None:
    expected = digests(own_demo.folder / "store")
    process = hold_two(own_demo, "stubborn")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 143, said(own_demo)
    assert is_whole(own_demo)
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert digests(own_demo.folder / "store") == expected
    assert drafts(own_demo) == []


def test_a_full_disk_drops_the_other_one(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = own_demo.folder / "store"
    expected = digests(store)
    shutil.rmtree(store / "forward")
    plain = Store.publish
    room = [3]

    def publish(self, draft, **words):  # type: ignore[no-untyped-def]
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(self, draft, **words)

    monkeypatch.setattr(Store, "publish", publish)
    done = hiprobe("run", own_demo.config, "--quiet")
    assert done.code == 1
    assert "no space left" in done.out
    assert "bytes that are free" in done.out
    monkeypatch.undo()
    assert len(Store(store).keys("forward")) == 3
    assert (drafts(own_demo), claims(own_demo)) == ([], [])
    assert is_whole(own_demo)
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert digests(store) == expected


def test_failures_in_a_row_stop_the_run(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import forward

    shutil.rmtree(own_demo.folder / "store" / "forward")
    tried = []

    def compute(job):  # type: ignore[no-untyped-def]
        tried.append(job.item)
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(forward, "compute", compute)
    done = hiprobe("run", own_demo.config, "--quiet", "--set", "run.failure_budget=4")
    assert done.code == 1
    assert "4 items of forward failed one after the other" in done.out
    assert len(tried) in (4, 5)  # the fourth failure, and what was in flight with it
    assert (drafts(own_demo), claims(own_demo)) == ([], [])
