"""`hiprobe cache push` and `pull` as people call them."""

from __future__ import annotations

import fnmatch
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

import pipeline.parallel
from cache.errors import Unreachable
from cache.roots import Root, read_roots, write_root
from cache.store import Store
from tests.cache.remotes import s3_options
from tests.cache.stores import findings, key_of
from tests.conftest import Called, Demo
from tests.pipeline.team import STAGES, VIDEOS, held, named, objects

Hiprobe = Callable[..., Called]


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
