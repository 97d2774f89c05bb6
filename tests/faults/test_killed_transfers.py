"""Pushes and pulls that are killed: nothing half is visible, and the next goes on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from cache.store import Store
from tests.cache.stores import (
    findings,
    publish,
    start,
)

KILLED_PULLS = """
import os, random, signal, sys, time
from pathlib import Path
from cache import remote as remotes
from cache.address import Address
from cache.download import download
from cache.moved import MOVED
from cache.remote import Remote
from cache.store import Store
remotes.BLOCK = 64
source, target, seed, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
keys = Store(Path(source)).keys("decode")
killed = 0
for number in range(rounds):
    store = Store.open(target / str(number))
    limit = chance.randrange(60)
    child = os.fork()
    if not child:
        passed = 0
        def tick(count):
            global passed
            passed += 1
            if passed > limit:
                time.sleep(0.005)
        for key in keys:
            download(Remote(Address(source)), "decode", key, store, tick=tick)
        os._exit(0)
    time.sleep(chance.uniform(0.01, 0.06))
    os.kill(child, signal.SIGKILL)
    killed += os.waitpid(child, 0)[1] != 0
    # What is visible is whole; then all is fetched, and the rest of what was begun.
    from cache.verify import verify
    assert not list(verify(store, full=True)), number
    left = [f for f in store.root.glob("staging/parts/*/*/whole/**/*") if f.is_file()]
    before = sum(f.stat().st_size for f in left if f.name != "commit.json")
    moved = 0
    def count(n):
        global moved
        moved += n
    want = [k for k in keys if store.find("decode", k) is None]
    sizes = sum(download(Remote(Address(source)), "decode", k, store, tick=count).bytes for k in want)
    assert moved == sizes - before, (number, moved, sizes, before)
    assert not list(verify(store, full=True)), number
    assert not list(store.root.glob("staging/parts/*")), number
print(killed)
"""


def test_pulls_that_are_killed_leave_nothing_half_visible_and_go_on(tmp_path: Path) -> None:
    source = Store.open(tmp_path / "source")
    chance = random.Random(7)
    for number in range(4):
        publish(source, number, {f"{n}/f.bin": chance.randbytes(700) for n in range(5)})
    process = start(KILLED_PULLS, source.root, tmp_path / "targets", 7, 12)
    said = process.communicate()[0]
    assert process.returncode == 0
    assert int(said) >= 8


def test_pushes_that_are_killed_leave_nothing_half_visible_in_a_folder(tmp_path: Path) -> None:
    """A folder that is pushed to is a store: it can be killed as a pull can; here for real."""
    source = Store.open(tmp_path / "source")
    for number in range(6):
        publish(source, number, {"f.bin": os.urandom(3_000_000)})
    chance = random.Random(3)
    target = tmp_path / "team"
    for _ in range(3):
        words = [
            sys.executable,
            "-m",
            "pipeline",
            "cache",
            "push",
            source.root,
            target,
            "--jobs",
            "2",
        ]
        process = subprocess.Popen([str(w) for w in words], stdout=subprocess.DEVNULL)
        while not target.exists() and process.poll() is None:
            pass
        try:
            process.wait(timeout=chance.uniform(0.0, 0.15))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert findings(Store(target)) == []
    done = subprocess.run([str(w) for w in words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(Store(target).keys("decode")) == sorted(source.keys("decode"))
    assert findings(Store(target)) == []
    assert list((target / "staging" / "parts").iterdir()) == []
