"""du, evict, gc, pins, and plans that know whether the work fits on the disk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.digest import read_json
from cache.errors import ConfigError
from cache.roots import Root, read_roots, write_root
from cache.store import Store
from cache.verify import verify
from manifests.schema import STAGE_MANIFEST
from manifests.table import read_table
from pipeline.durations import seconds_of
from pipeline.needs import Balance, needs_of
from pipeline.plan import plan_all
from pipeline.storage import disk_usage
from tests.cache.stores import PAYLOAD, key_of, publish
from tests.conftest import Called, Demo
from tests.pipeline import worlds

Hiprobe = Callable[..., Called]
SIZE = sum(map(len, PAYLOAD.values()))
KAPPA = ("--set", "localize.kappa=1.75", "--until", "localize", "--quiet")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Eight artifacts of decode, of which two runs reach some."""
    store = Store.open(tmp_path / "store")
    for number in range(8):
        publish(store, number)
    for name, numbers in (("one", (0, 1, 2)), ("other", (2, 3))):
        write_root(store.root, Root(name, name, {"decode": {f"v{n}": key_of(n) for n in numbers}}))
    return store


def age(store: Store, *numbers: int, days: float = 30) -> None:
    then = time.time() - 86400 * days
    for number in numbers:
        os.utime(store.folder("decode", key_of(number)) / "commit.json", (then, then))


# du


def test_du_by_stage_counts_what_lies_there(store: Store, hiprobe: Hiprobe) -> None:
    hiprobe("cache", "evict", store.root, "--stage", "decode", "--id", key_of(7)[:12])
    (store.root / "staging" / "parts" / "x").write_bytes(b"12345")
    store.quarantine("decode", key_of(6))
    value = hiprobe("cache", "du", store.root, "--json").value()
    assert value["stages"] == {"decode": {"artifacts": 6, "bytes": 6 * SIZE, "evicted": 1}}
    aside = sum(p.stat().st_size for p in (store.root / "quarantine").rglob("*") if p.is_file())
    assert value["others"] == {"quarantine": aside, "staging": 5}
    assert value["free_bytes"] > 0
    assert "set aside as damaged" in hiprobe("cache", "du", store.root).out


def test_du_by_run_says_what_it_alone_reaches(store: Store, hiprobe: Hiprobe) -> None:
    value = hiprobe("cache", "du", store.root, "--by", "run", "--json").value()
    found = {r["name"]: (r["artifacts"], r["bytes"], r["alone"]) for r in value["runs"]}
    assert found == {
        "one": (3, 3 * SIZE, 2), "other": (2, 2 * SIZE, 1), "(no run or pin)": (4, 4 * SIZE, 4),
    }  # fmt: skip
    assert "it alone" in hiprobe("cache", "du", store.root, "--by", "run").out


def test_du_by_age_goes_by_when_it_came_here(store: Store, hiprobe: Hiprobe) -> None:
    age(store, 0, days=3)
    age(store, 1, 2, days=20)
    age(store, 3, days=300)
    value = hiprobe("cache", "du", store.root, "--by", "age", "--json").value()
    counts = {name: each["artifacts"] for name, each in value["ages"].items()}
    assert counts == {"today": 4, "this week": 1, "this month": 2, "older": 1}


def test_what_a_shared_store_holds_is_not_counted_as_ones_own(tmp_path: Path, store: Store) -> None:
    private = Store.open(tmp_path / "private", (store.root,))
    publish(private, 99)
    assert disk_usage(private, "run")["stages"]["decode"]["artifacts"] == 1


# evict


def test_evict_selects_by_run_video_key_and_age(store: Store, hiprobe: Hiprobe) -> None:
    age(store, 5)

    def chosen(*words: object) -> list[str]:
        done = hiprobe(
            "cache", "evict", store.root, "--stage", "decode", "--dry-run", "--json", *words
        )
        (stage,) = done.value()["stages"]
        assert stage["bytes"] == SIZE * stage["artifacts"]
        return sorted(stage["keys"])

    assert chosen() == sorted(map(key_of, range(8)))
    assert chosen("--run", "other") == sorted(map(key_of, (2, 3)))
    assert chosen("--select", "v[01]") == sorted(map(key_of, (0, 1)))
    assert chosen("--run", "other", "--select", "v2") == [key_of(2)]
    assert chosen("--id", key_of(4)[:10]) == [key_of(4)]
    assert chosen("--older-than", "7d") == [key_of(5)]
    assert len(store.listing("decode").evicted) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--stage", "decodes"), "did you mean decode"),
        (("--stage", "decode", "--run", "ones"), "did you mean one"),
        (("--stage", "decode", "--older-than", "30"), "such as 30d, 12h"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    store: Store, hiprobe: Hiprobe, words: tuple[str, ...], told: str
) -> None:
    done = hiprobe("cache", "evict", store.root, *words)
    assert (done.code, told in done.out) == (2, True)


def test_what_is_pinned_is_not_evicted(store: Store, hiprobe: Hiprobe) -> None:
    assert hiprobe("cache", "pin", store.root, "paper", "--run", "one").code == 0
    done = hiprobe("cache", "evict", store.root, "--stage", "decode")
    assert "3 more are pinned and stay" in done.out
    assert len(store.listing("decode").evicted) == 5
    assert hiprobe("cache", "unpin", store.root, "paper").code == 0
    assert hiprobe("cache", "evict", store.root, "--stage", "decode").code == 0
    assert len(store.listing("decode").evicted) == 8


def test_the_work_of_the_backbone_is_not_given_up_without_a_word(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    store = own_demo.folder / "store"
    seconds = sum(
        read_json(path)["seconds"]["all"] for path in store.glob("forward/*/*/commit.json")
    )
    done = hiprobe("cache", "evict", store, "--stage", "forward")
    assert done.code == 2
    assert "add --yes" in done.out
    assert "of the backbone" in done.out
    assert "moments, statistics" in done.out
    assert not Store(store).listing("forward").evicted
    value = hiprobe("cache", "evict", store, "--stage", "forward", "--yes", "--json").value()
    (stage,) = value["stages"]
    assert stage["seconds"] == pytest.approx(seconds, abs=0.01)
    assert value["freed"] == stage["bytes"] > 0
    assert len(Store(store).listing("forward").evicted) == stage["artifacts"]


# gc


def test_gc_lists_and_says_why_and_removes_only_when_told_to(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    store = own_demo.folder / "store"
    assert "nothing to collect" in hiprobe("cache", "gc", store, "--older-than", "0s").out
    changed = ("--set", "sample.keyframes=4")
    assert hiprobe("run", own_demo.config, *changed, "--until", "sample", "--quiet").code == 0
    # A run that has not made everything may go back.
    assert hiprobe("cache", "gc", store, "--older-than", "0s", "--json").value()["artifacts"] == []
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert hiprobe("cache", "gc", store, "--json").value()["artifacts"] == []  # for seven days
    found = hiprobe("cache", "gc", store, "--older-than", "0s", "--json").value()
    assert {row["stage"] for row in found["artifacts"]} == {"sample"}
    keys = {row["key"] for row in found["artifacts"]}
    reached = {key for root in read_roots(store) for _, key in root.keys()}  # noqa: SIM118
    assert keys.isdisjoint(reached)
    text = hiprobe("cache", "gc", store, "--older-than", "0s").out
    assert "would be removed; nothing was: add --delete" in text
    assert "run demo reached it until 20" in text
    assert "keyframes 4" in text
    assert keys <= {*Store(store).keys("sample")}
    assert hiprobe("cache", "gc", store, "--older-than", "0s", "--delete").code == 0
    assert keys.isdisjoint({*Store(store).keys("sample")})
    assert list(verify(Store(store), full=True)) == []
    assert "nothing to do" in hiprobe("run", own_demo.config, "--quiet").out


def test_gc_refuses_where_nobody_is_known(tmp_path: Path, hiprobe: Hiprobe) -> None:
    store = Store.open(tmp_path / "store")
    publish(store, 0)
    age(store, 0)
    assert len(hiprobe("cache", "gc", store.root, "--json").value()["artifacts"]) == 1
    done = hiprobe("cache", "gc", store.root, "--delete")
    assert (done.code, "everything in it would be garbage" in done.out) == (2, True)
    assert store.find("decode", key_of(0)) is not None


def test_gc_refuses_where_a_root_is_damaged(store: Store, hiprobe: Hiprobe) -> None:
    age(store, *range(8))
    path = store.root / "roots" / "one.txt"
    path.write_bytes(path.read_bytes()[:-2])
    for words in ((), ("--delete",)):
        done = hiprobe("cache", "gc", store.root, *words)
        assert (done.code, "roots/one.txt cannot be read" in done.out) == (5, True)
    assert len(store.keys("decode")) == 8


def test_what_a_forgotten_run_reached_is_garbage_unless_it_is_pinned(
    store: Store, hiprobe: Hiprobe
) -> None:
    age(store, *range(8))
    hiprobe("cache", "pin", store.root, "paper", "--run", "other")
    for run in ("one", "other"):
        assert "is forgotten" in hiprobe("cache", "forget", store.root, run).out
    rows = hiprobe("cache", "roots", store.root, "--json").value()
    assert [(row["kind"], row["name"], row["artifacts"]) for row in rows] == [("pin", "paper", 2)]
    assert hiprobe("cache", "gc", store.root, "--delete").code == 0
    assert sorted(store.keys("decode")) == sorted(map(key_of, (2, 3)))


def test_of_two_runs_of_one_name_the_id_says_which_is_forgotten(
    store: Store, hiprobe: Hiprobe
) -> None:
    write_root(store.root, Root("one-2", "one", {"decode": {"v4": key_of(4)}}))
    done = hiprobe("cache", "forget", store.root, "one-2")
    assert "one-2 is forgotten" in done.out
    write_root(store.root, Root("other-2", "other", {"decode": {"v4": key_of(4)}}))
    write_root(store.root, Root("other-3", "other", {"decode": {"v5": key_of(5)}}))
    (store.root / "roots" / "other.txt").unlink()
    done = hiprobe("cache", "forget", store.root, "other")
    assert (done.code, "other-2, other-3" in done.out) == (2, True)


def test_gc_takes_what_was_set_aside_only_when_told_to(store: Store, hiprobe: Hiprobe) -> None:
    store.quarantine("decode", key_of(7))
    ask = ("cache", "gc", store.root, "--older-than", "0s", "--delete")
    assert "--quarantine removes it, too" in hiprobe(*ask).out
    assert len(list((store.root / "quarantine").iterdir())) == 1
    assert hiprobe(*ask, "--quarantine").code == 0
    assert list((store.root / "quarantine").iterdir()) == []


# plan and run


def test_a_plan_knows_what_the_last_run_took(demo: Demo, hiprobe: Hiprobe) -> None:
    """Another threshold: intervals are made again, of which the manifest says what they took."""
    path = demo.folder / "manifests" / "localize.parquet"
    rows = read_table(path, STAGE_MANIFEST).to_pylist()
    value = hiprobe("plan", demo.config, *KAPPA[:2], "--json").value()
    stages = {stage["stage"]: stage for stage in value["stages"]}
    assert stages["localize"]["bytes"] == pytest.approx(sum(r["bytes"] for r in rows), abs=2)
    taken = sum(json.loads(row["seconds"])["all"] for row in rows)
    assert stages["localize"]["seconds"] == pytest.approx(taken, abs=0.02)
    assert stages["localize"]["estimated_from"] == "the last run"
    (space,) = value["space"]
    assert not space["short"]
    assert space["unknown"] == []
    # What has waited and was made before may be fresh after all: it is no certain need.
    assert space["perhaps"] > 0


def test_what_was_never_measured_is_unknown_and_not_nothing() -> None:
    world = worlds.world()
    plans = plan_all(world)
    needs = needs_of(world, plans, Store(Path("/nowhere")), None)
    assert {need.stage for need in needs} == {n for n, p in plans.items() if p.work}
    assert {(need.bytes, need.seconds, need.sure) for need in needs} == {(None, None, None)}
    text = Balance("the store", 0, 10, (), ("decode", "forward")).text()
    assert "at least 0 B" in text
    assert "not known yet: decode, forward" in text


def test_artifacts_of_others_in_the_store_are_measured_too(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    for number in range(3):
        publish(store, number, seconds={"all": 2.0})
    from cache.catalog import load_catalog

    world = worlds.world(committed=load_catalog(store, ["decode"]))
    (need,) = [n for n in needs_of(world, plan_all(world), store, None) if n.stage == "decode"]
    assert (need.items, need.bytes, need.seconds) == (9, 9 * SIZE, 18.0)
    assert need.by == "3 artifacts of this stage in the store"


def test_a_forward_pass_is_known_from_the_shape_of_the_backbone() -> None:
    """By segments, those of videos that are not decoded yet by the bytes of their files."""
    from cache.catalog import StageCatalog

    world = worlds.world()
    catalog = StageCatalog()
    keys = plan_all(world)["decode"].keys
    catalog.add(keys["test/n1"], worlds.sha("x"), 24 * 10, 1)  # 10 segments of 24 frames
    world = worlds.world(committed={"decode": catalog})
    passes = {"passes": [{"stage": "forward", "cases": [{"bytes_per_segment": 1000}]}]}
    needs = needs_of(world, plan_all(world), Store(Path("/nowhere")), passes)
    (need,) = [need for need in needs if need.stage == "forward"]
    assert (need.bytes, need.sure, need.largest) == (9 * 10_000, 9 * 10_000, 10_000)
    assert need.by == "the shape of the backbone"


def test_what_does_not_fit_is_refused_with_the_figures(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "free_bytes", lambda self: 100_000)
    fresh = ("--set", "run.store=fresh")
    planned = hiprobe("plan", own_demo.config, *fresh)
    assert planned.code == 1
    assert "NOT ENOUGH SPACE: needs about" in planned.out
    assert "100.0 kB are free on the disk of the store" in planned.out
    done = hiprobe("run", own_demo.config, *fresh, "--quiet")
    assert done.code == 1
    assert "not enough space, nothing was begun" in done.out
    assert "forward" in done.out
    store = Store(own_demo.folder / "fresh")
    assert store.stages() == []
    assert hiprobe("run", own_demo.config, *fresh, "--quiet", "--until", "index").code == 0
    even = ("--even-if-short", "--until", "decode", "--quiet")
    assert hiprobe("run", own_demo.config, *fresh, *even).code == 0
    assert len(store.keys("decode")) == 20
    # Where there is nothing to make, nothing has to fit.
    monkeypatch.setattr(Store, "free_bytes", lambda self: 0)
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert hiprobe("plan", own_demo.config).code == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("12h", 43200), ("1.5d", 129600)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert seconds_of(text, "--for") == seconds


@pytest.mark.parametrize("text", ["", "5", "d", "-1d", "1w", "1d2h", "nan"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ConfigError, match="--for"):
        seconds_of(text, "--for")


def test_values_of_the_commands_are_json(store: Store, hiprobe: Hiprobe) -> None:
    calls: tuple[tuple[Any, ...], ...] = (
        ("du",), ("du", "--by", "run"), ("du", "--by", "age"), ("gc",), ("roots",),
        ("pin", "x", "--run", "one"), ("evict", "--stage", "decode", "--dry-run"),
    )  # fmt: skip
    for name, *words in calls:
        done = hiprobe("cache", name, store.root, *words, "--json")
        assert (done.code, bool(done.value())) == (0, True)
