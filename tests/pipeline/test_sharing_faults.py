"""`hiprobe cache push` and `pull` where something is damaged, wrong, or breaks off."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

import pipeline.parallel
from cache.address import Address
from cache.download import download
from cache.errors import RunStopped, Unreachable
from cache.eviction import evict
from cache.remote import Remote
from cache.roots import Root, read_roots, write_root
from cache.store import Store
from pipeline.parallel import each
from pipeline.progress import Progress
from pipeline.sharing import Wanted, push
from tests.cache.remotes import PASSWORD, USER, http_url, sftp_port
from tests.cache.stores import OTHER, findings, flip, key_of, publish
from tests.conftest import Called
from tests.pipeline.team import held, named

Hiprobe = Callable[..., Called]


def test_what_is_damaged_is_refused_and_named_and_the_rest_goes(
    ours: Store, url: str, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    for place in (url, str(tmp_path / "team")):
        bad = ours.folder("forward", key_of(2, "forward"))
        flip(bad / "table.bin", 3)
        if ours.find("score", key_of(3, "score")):
            evict(ours, "score", key_of(3, "score"))
        done = hiprobe("cache", "push", ours.root, place, "--run", "ucf", "--json")
        assert done.code == 5
        value = json.loads(done.out)
        assert [d["key"] for d in value["damaged"]] == [key_of(2, "forward")]
        assert "table.bin" in value["damaged"][0]["message"]
        assert len(value["moved"]) == 8
        counts = {s["stage"]: s for s in value["stages"]}
        assert counts["score"]["evicted"] == 1
        text = hiprobe("cache", "push", ours.root, place, "--run", "ucf").out
        assert "REFUSED" in text
        assert "evicted" in text
        flip(bad / "table.bin", 3)
        pulled = hiprobe(
            "cache", "pull", tmp_path / f"mine{len(place)}", place, "--run", "ucf", "--json"
        )
        assert pulled.code == 0
        counts = {s["stage"]: s for s in pulled.value()["stages"]}
        assert (counts["forward"]["absent"], counts["score"]["absent"]) == (1, 1)


def test_a_check_puts_right_what_is_damaged_there(
    ours: Store, url: str, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    for place in (url, "file://" + str(tmp_path / "team")):
        hiprobe("cache", "push", ours.root, place)
        fs, root = fsspec.url_to_fs(place)
        key = key_of(1)
        path = f"{root}/decode/{key[:2]}/{key}/table.bin"
        content = fs.cat_file(path)
        fs.pipe_file(path, content[:-1] + b"!")
        pulled = hiprobe("cache", "pull", tmp_path / f"a{len(place)}", place, "--json")
        assert pulled.code == 5
        assert len(json.loads(pulled.out)["moved"]) == 10
        assert not hiprobe("cache", "push", ours.root, place, "--json").value()["moved"]
        healed = hiprobe("cache", "push", ours.root, place, "--check", "--json").value()
        assert named(healed) == {("decode", key)}
        assert "replaced" in healed["notes"][0]["message"]
        assert fs.cat_file(path) == content
        rest = hiprobe("cache", "pull", tmp_path / f"a{len(place)}", place, "--json")
        assert named(rest.value()) == {("decode", key)}


def test_other_content_under_a_key_is_left_and_said(
    ours: Store, url: str, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    theirs = Store.open(tmp_path / "theirs")
    publish(theirs, 1, OTHER)
    for place in (url, str(tmp_path / "team")):
        hiprobe("cache", "push", ours.root, place)
        done = hiprobe("cache", "push", theirs.root, place)
        assert done.code == 0
        assert "the first stays" in done.out
        assert "pushed 0 artifacts" in done.out


def test_what_cannot_be_is_refused(
    ours: Store, tmp_path: Path, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.parallel, "PAUSE_S", 0.0)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.tex").write_text("years")
    (tmp_path / "file").write_text("x")
    cases: list[tuple[list[object], int, str]] = [
        (["push", ours.root, ours.root], 2, "is the store itself"),
        (["pull", ours.root, ours.root], 2, "is the store itself"),
        (["push", ours.root, "http://127.0.0.1:1/s"], 2, "can be pulled from, only"),
        (["push", tmp_path / "thesis", "memory://x/y"], 2, "is not a hiprobe store"),
        (["push", ours.root, tmp_path / "thesis"], 2, "is not empty"),
        (["push", ours.root, tmp_path / "file"], 2, "file"),
        (["pull", tmp_path / "thesis", ours.root], 2, "is not empty"),
        (["pull", tmp_path / "m", tmp_path / "nothing"], 2, "is not a hiprobe store"),
        (["pull", tmp_path / "m", "gopher://h/s"], 2, "gopher"),
        (["pull", tmp_path / "m", "memory://x/y", "--option", "x"], 2, "NAME=VALUE"),
        (["pull", tmp_path / "m", "http://127.0.0.1:1/s"], 1, "cannot read format.json"),
    ]
    for words, code, said in cases:
        done = hiprobe("cache", *words)
        assert (done.code, said in done.out) == (code, True), (words, done)


def test_a_password_is_shown_nowhere(ours: Store, tmp_path: Path, hiprobe: Hiprobe) -> None:
    options = ["host_key_policy=auto_add", "look_for_keys=false", "allow_agent=false"]
    words = [w for option in options for w in ("--option", option)]
    (tmp_path / "served").mkdir()
    with sftp_port(tmp_path / "served") as port:
        right = f"sftp://{USER}:{PASSWORD}@127.0.0.1:{port}/team"
        done = hiprobe("cache", "push", ours.root, right, *words)
        assert done.code == 0, done.out
        assert f"to sftp://127.0.0.1:{port}/team" in done.out
        wrong = hiprobe("cache", "push", ours.root, right.replace(PASSWORD, "not-the-one"), *words)
        assert wrong.code == 2
        bare = [*words, "--option", "username=ada", "--option", "password=not-the-one"]
        third = hiprobe("cache", "push", ours.root, f"sftp://127.0.0.1:{port}/team", *bare)
        assert third.code == 2
    for one in (done, wrong, third):
        assert PASSWORD not in one.out
        assert "not-the-one" not in one.out
    for path in [*tmp_path.rglob("*")]:
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()
    with http_url(tmp_path, password=PASSWORD) as base:
        url = base.replace("://", f"://{USER}:{PASSWORD}@") + "/ours"
        pulled = hiprobe("cache", "pull", tmp_path / "mine", url, "--json")
        assert pulled.code == 0
        assert pulled.value()["url"] == f"{base}/ours"
        assert len(pulled.value()["moved"]) == 11
        assert pulled.value()["runs"] == ["ucf~123456789abc"]


def test_a_server_that_lists_nothing_gives_a_run_by_its_id(
    ours: Store, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    with http_url(tmp_path, listing=False) as base:
        pull = ("cache", "pull", tmp_path / "mine", f"{base}/ours")
        assert hiprobe(*pull).code == 2  # everything cannot be known
        pulled = hiprobe(*pull, "--run", "ucf~123456789abc", "--json")
    assert pulled.code == 0, pulled.out
    assert len(named(pulled.value())) == 10
    assert findings(Store(tmp_path / "mine")) == []


def test_what_a_run_reaches_is_pushed_from_shared_stores_too(
    ours: Store, url: str, tmp_path: Path
) -> None:
    over = Store.open(tmp_path / "over", (ours.root,))
    root = read_roots(ours.root)[0]
    mine = publish(over, 7)
    reach = {**root.reach, "decode": {**root.reach["decode"], "Normal002": mine.key}}
    write_root(over.root, Root("over~1", "over", reach))
    for address in (Address(url), Address(str(tmp_path / "team"))):
        value = push(over, address, Wanted(run="over"), Progress(quiet=True))
        assert named(value) == {(s, k) for s, keys in reach.items() for k in keys.values()}
        assert value["runs"] == ["over~1"]
    assert findings(Store(tmp_path / "team")) == []


def test_a_dry_run_makes_no_store(ours: Store, tmp_path: Path, hiprobe: Hiprobe) -> None:
    for words in (("pull", tmp_path / "new", ours.root), ("push", ours.root, tmp_path / "new")):
        value = hiprobe("cache", *words, "--dry-run", "--json").value()
        assert len(value["moved"]) == 11
        assert not (tmp_path / "new").exists()


def test_a_line_that_breaks_twice_is_tried_a_third_time(
    ours: Store, url: str, tmp_path: Path, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.parallel, "PAUSE_S", 0.0)
    hiprobe("cache", "push", ours.root, url)
    failures = {"left": 2}
    plain = Remote.blocks

    def blocks(remote: Remote, path: str) -> Any:
        if path.endswith("table.bin") and failures["left"] > 0:
            failures["left"] -= 1
            raise Unreachable("the line broke")
        return plain(remote, path)

    monkeypatch.setattr(Remote, "blocks", blocks)
    assert hiprobe("cache", "pull", tmp_path / "a", url, "--jobs", "1").code == 0
    failures["left"] = 3
    done = hiprobe("cache", "pull", tmp_path / "b", url, "--jobs", "1")
    assert done.code == 1
    assert "the line broke; what has arrived stays: the same command goes on" in done.out
    assert findings(Store(tmp_path / "b")) == []
    rest = hiprobe("cache", "pull", tmp_path / "b", url, "--json").value()
    assert rest["passed_bytes"] < rest["bytes"]  # of what was begun, only what lacked
    assert held(Store(tmp_path / "b")) == held(ours)


def test_all_transfers_stop_when_one_has_failed_for_good() -> None:
    begun, passed = threading.Barrier(3), []

    def do(item: int, tick: Callable[[int], None]) -> None:
        if item < 3:
            begun.wait(timeout=10)
        if item == 0:
            raise ValueError("for good")
        for _ in range(10_000):
            time.sleep(0.001)
            tick(1)
        passed.append(item)

    with pytest.raises(ValueError, match="for good"):
        list(each([0, 1, 2, 3, 4], do, 3, lambda count: None))
    assert passed == []

    def full(item: int, tick: Callable[[int], None]) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(RunStopped, match="make room"):
        list(each([0], full, 1, lambda count: None))


SLOW = """
import sys, time
import cache.remote
from cache.remote import Remote
cache.remote.BLOCK = 5
plain = Remote.blocks
def blocks(remote, path):
    for block in plain(remote, path):
        yield block
        if path.endswith("table.bin"):
            print(path, flush=True)
            time.sleep(0.5)
Remote.blocks = blocks
from pipeline.cli import main
main(sys.argv[1:])
"""


def test_a_signal_ends_a_pull_with_nothing_half_made(ours: Store, tmp_path: Path) -> None:
    words = [sys.executable, "-c", SLOW, "cache", "pull", tmp_path / "mine", ours.root]
    process = subprocess.Popen(
        [str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - began < 8
    assert "nothing half-made" in said
    mine = Store(tmp_path / "mine")
    assert findings(mine) == []
    source = Remote(Address(str(ours.root)))
    for stage, key in held(ours):
        download(source, stage, key, mine)
    assert held(mine) == held(ours)
    assert findings(mine) == []
