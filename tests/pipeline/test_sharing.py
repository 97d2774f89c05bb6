"""`hiprobe cache push` and `pull` as people call them."""

from __future__ import annotations

import fnmatch
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
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
from tests.cache.remotes import PASSWORD, USER, http_url, s3_options, sftp_port
from tests.cache.stores import PAYLOAD, findings, flip, key_of, publish
from tests.conftest import Called, Demo

Hiprobe = Callable[..., Called]

VIDEOS = {"Abuse001": 1, "Abuse002": 2, "Normal001": 3}
STAGES = ("decode", "forward", "score")
OTHER = {**PAYLOAD, "table.bin": bytes(range(1, 201))}


@pytest.fixture
def ours(tmp_path: Path) -> Store:
    """Three videos in three stages, a stage over the data set, and one artifact of no run."""
    store = Store.open(tmp_path / "ours")
    reach = {stage: {v: publish(store, n, stage=stage).key for v, n in VIDEOS.items()}
             for stage in STAGES}  # fmt: skip
    reach["fit"] = {"dataset": publish(store, 0, stage="fit").key}
    publish(store, 9)
    write_root(store.root, Root("ucf~123456789abc", "ucf", reach, by="ada@lab"))
    return store


@pytest.fixture
def url() -> str:
    """An empty place in memory."""
    return f"memory://{uuid.uuid4().hex}/store"


def named(value: Any) -> set[tuple[str, str]]:
    return {(one["stage"], one["key"]) for one in value["moved"]}


def held(store: Store) -> set[tuple[str, str]]:
    return {(stage, key) for stage in store.stages() for key in store.keys(stage)}


def objects(url: str) -> dict[str, bytes]:
    fs, root = fsspec.url_to_fs(url)
    return {path[len(root) + 1 :]: fs.cat_file(path) for path in fs.find(root)}


# A team


@pytest.mark.parametrize("kind", ["memory", "folder", "s3"])
def test_a_run_goes_to_a_colleague_who_knows_only_its_name(
    demo: Demo, tmp_path: Path, hiprobe: Hiprobe, kind: str, url: str
) -> None:
    options: list[object] = []
    if kind == "folder":
        url = (tmp_path / "team").as_uri()
    elif kind == "s3":
        with s3_options() as given:
            bucket = f"b{uuid.uuid4().hex}"
            fsspec.filesystem("s3", **given).mkdir(bucket)
            url = f"s3://{bucket}/team"
            options = [w for n, v in given.items() for w in ("--option", f"{n}={v}")]
    few = ["--stage", "fit", "--stage", "select"] if kind == "s3" else []
    pushed = hiprobe("cache", "push", demo.config, url, "--run", "demo", "--json", *few, *options)
    assert pushed.code == 0, pushed.out
    mine = tmp_path / "mine"
    pulled = hiprobe("cache", "pull", mine, url, "--run", "demo", "--json", *few, *options)
    assert pulled.code == 0, pulled.out
    assert named(pulled.value()) == named(pushed.value())
    assert findings(Store(mine)) == []
    (root,) = read_roots(demo.folder / "store")
    (copy,) = read_roots(mine)
    assert (copy.id, copy.name, copy.reach) == (f"pulled~{root.id}", "demo", root.reach)
    again = hiprobe("cache", "push", demo.config, url, "--run", "demo", "--json", *few, *options)
    assert not again.value()["moved"]
    assert again.value()["passed_bytes"] == 0
    if few:
        return
    words = [
        "--quiet",
        "--json",
        "--set",
        f"run.store={mine}",
        "--set",
        f"run.runs={tmp_path}/runs",
    ]
    done = hiprobe("run", demo.config, *words)
    assert not any(done.value()["built"].values())
    if kind == "folder":
        # What was pushed to is a store: it can lie under another at once.
        lay = ["--set", f"run.store={tmp_path}/empty", "--set", f'cache.shared=["{tmp_path}/team"]']
        assert not any(
            hiprobe("run", demo.config, *words[:2], *words[4:], *lay).value()["built"].values()
        )


# Which


SELECTIONS: list[dict[str, str]] = [
    {},
    {"run": "ucf"},
    {"run": "ucf~123456789abc"},
    {"run": "ucf", "stage": "forward"},
    {"run": "ucf", "select": "Abuse*"},
    {"select": "*001", "stage": "score"},
    {"stage": "decode"},
    {"id": key_of(9)[:5]},
    {"run": "ucf", "id": key_of(9)[:5]},
]


@pytest.mark.parametrize("given", SELECTIONS, ids=str)
@pytest.mark.parametrize("what", ["push", "pull", "folder"])
def test_what_is_moved_is_what_was_asked_for(
    ours: Store, url: str, tmp_path: Path, hiprobe: Hiprobe, given: dict[str, str], what: str
) -> None:
    expected = set()
    for stage in (*STAGES, "fit"):
        for item, number in {**(VIDEOS if stage != "fit" else {"dataset": 0}), "": 9}.items():
            if (stage == "fit" and not item) or (not item and stage != "decode"):
                continue
            key = key_of(number, stage)
            known = bool(item) or not ({"run", "select"} & given.keys())
            fits = not given.get("select") or fnmatch.fnmatchcase(item, given["select"])
            if (
                known
                and fits
                and given.get("stage", stage) == stage
                and key.startswith(given.get("id", ""))
            ):
                expected.add((stage, key))
    words = [w for name, value in given.items() for w in (f"--{name}", value)]
    place = str(tmp_path / "team") if what == "folder" else url
    target = Store(tmp_path / "mine")
    if what == "pull":
        assert hiprobe("cache", "push", ours.root, place).code == 0
        foreseen = hiprobe(
            "cache", "pull", target.root, place, "--dry-run", "--json", *words
        ).value()
        assert not (target.root / "roots").exists() or not list((target.root / "roots").iterdir())
        value = hiprobe("cache", "pull", target.root, place, "--json", *words).value()
        found, roots = held(target), {root.name for root in read_roots(target.root)}
    else:
        foreseen = hiprobe("cache", "push", ours.root, place, "--dry-run", "--json", *words).value()
        assert not (tmp_path / "team").exists()
        assert objects(url) == {}
        value = hiprobe("cache", "push", ours.root, place, "--json", *words).value()
        names = objects("file://" + place if what == "folder" else place)
        found = {(p.split("/")[0], p.split("/")[2]) for p in names if p.endswith("/commit.json")}
        roots = {p for p in names if p.startswith("roots/")}
    assert named(value) == found == expected
    assert (foreseen["moved"], foreseen["bytes"]) == (value["moved"], value["bytes"])
    assert value["bytes"] == value["passed_bytes"]
    assert foreseen["passed_bytes"] == 0
    assert len(roots) == (1 if "run" in given or not given else 0)


def test_a_wrong_name_is_refused_with_the_nearest(
    ours: Store, url: str, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    hiprobe("cache", "push", ours.root, url)
    for what, store in (("push", ours.root), ("pull", tmp_path / "mine")):
        for words, said in ((["--run", "ucff"], "did you mean ucf?"),
                            (["--stage", "frward"], "did you mean forward?")):  # fmt: skip
            done = hiprobe("cache", what, store, url, *words)
            assert done.code == 2
            assert said in done.out


# Roots


def test_a_root_that_is_pulled_never_takes_the_place_of_ones_own(
    ours: Store, url: str, hiprobe: Hiprobe
) -> None:
    hiprobe("cache", "push", ours.root, url, "--run", "ucf")
    sent = objects(url)["roots/ucf~123456789abc.txt"]
    newer = Root("ucf~123456789abc", "ucf", {"decode": {"Abuse001": key_of(9)}}, by="ada@lab")
    write_root(ours.root, newer)
    assert hiprobe("cache", "pull", ours.root, url, "--run", "ucf").code == 0
    roots = {root.id: root for root in read_roots(ours.root)}
    assert roots["ucf~123456789abc"].reach == newer.reach
    assert set(roots["pulled~ucf~123456789abc"].reach) == {*STAGES, "fit"}
    # Pushed again: his own goes, and not the copy that came back.
    assert hiprobe("cache", "push", ours.root, url).code == 0
    now = {name: content for name, content in objects(url).items() if name.startswith("roots/")}
    assert set(now) == {"roots/ucf~123456789abc.txt"}
    assert now["roots/ucf~123456789abc.txt"] != sent


def test_a_run_can_be_handed_on(ours: Store, url: str, tmp_path: Path, hiprobe: Hiprobe) -> None:
    hiprobe("cache", "push", ours.root, url, "--run", "ucf")
    hiprobe("cache", "pull", tmp_path / "b", url, "--run", "ucf")
    for place in (f"{url}/other", str(tmp_path / "c")):
        assert hiprobe("cache", "push", tmp_path / "b", place, "--run", "ucf").code == 0
        pulled = hiprobe(
            "cache", "pull", tmp_path / f"d{len(place)}", place, "--run", "ucf", "--json"
        )
        assert pulled.value()["runs"] == ["ucf~123456789abc"]
        assert len(named(pulled.value())) == 10


def test_a_root_goes_after_what_it_reaches_and_comes_before(
    ours: Store, url: str, tmp_path: Path, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.parallel, "PAUSE_S", 0.0)

    def broken(*args: Any, **options: Any) -> Any:
        raise Unreachable("the line broke")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.sharing.upload", broken)
        assert hiprobe("cache", "push", ours.root, url, "--run", "ucf").code == 1
    assert not [name for name in objects(url) if name.startswith("roots/")]
    hiprobe("cache", "push", ours.root, url, "--run", "ucf")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.sharing.download", broken)
        assert hiprobe("cache", "pull", tmp_path / "mine", url, "--run", "ucf").code == 1
    assert [root.name for root in read_roots(tmp_path / "mine")] == ["ucf"]


def test_a_damaged_root_is_refused_and_the_rest_arrives(
    ours: Store, url: str, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    write_root(ours.root, Root("xd~0", "xd", {"decode": {"x": key_of(9)}}))
    hiprobe("cache", "push", ours.root, url)
    fs, root = fsspec.url_to_fs(url)
    bad = bytearray(objects(url)["roots/xd~0.txt"])
    bad[len(bad) // 2] ^= 1
    fs.pipe_file(f"{root}/roots/xd~0.txt", bytes(bad))
    fs.pipe_file(f"{root}/roots/..txt", b"not a name")
    done = hiprobe("cache", "pull", tmp_path / "mine", url)
    assert done.code == 5
    assert "roots/xd~0.txt cannot be read" in done.out
    assert len(held(Store(tmp_path / "mine"))) == 11
    asked = hiprobe("cache", "pull", tmp_path / "mine", url, "--run", "xd")
    assert asked.code == 5
    assert "roots/xd~0.txt cannot be read" in asked.out


# Damage


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


# What cannot be


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


# Lines that break


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
