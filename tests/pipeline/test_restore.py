"""What was evicted is made again when something has to be read from it, and not before."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.digest import read_json
from cache.errors import ItemError
from cache.eviction import evict
from cache.store import Store
from cache.verify import verify
from pipeline import registration
from pipeline.graph import GRAPH, NODES
from pipeline.plan import StagePlan, plan_all
from pipeline.restore import needed_by, needed_for
from pipeline.values import videos_of
from pipeline.world import DATASET, World
from tests.conftest import Called, Demo
from tests.pipeline import worlds

Hiprobe = Callable[..., Called]
KAPPA = ("--set", "localize.kappa=1.75", "--until", "localize", "--quiet")
"""Another threshold: intervals are made anew, from the scores that are there."""

SETTLED, _ = worlds.settle(worlds.world())
EVERYTHING = sorted(
    (stage, item) for stage, plan in plan_all(SETTLED).items() for item in plan.digests
)
CHANGES: dict[str, dict[str, Any]] = {
    "threshold": {"localize": {"kappa": 1.75}},
    "scorer": {"fit": {"scorer": "svm"}},
    "words": {"explain": {"max_new_tokens": 7}},
    "bins": {"statistics": {"bins": 48}},
    "nothing": {},
}


def with_evicted(world: World, gone: set[tuple[str, str]]) -> World:
    """The same world after these items were evicted."""
    plans = plan_all(world)
    for catalog in world.committed.values():
        catalog.evicted.clear()
    for stage, item in gone:
        world.committed[stage].evicted.add(plans[stage].keys[item])
    return world


def naive(
    world: World,
    plans: dict[str, StagePlan],
    gone: set[tuple[str, str]],
    work: list[tuple[str, str]],
) -> set[tuple[str, str]]:
    """Item by item: what it reads and was evicted, and what that reads."""
    found: set[tuple[str, str]] = set()
    for stage, item in work:
        for edge in NODES[stage].edges:
            if plans[edge.stage].off:
                continue
            names = [item if NODES[edge.stage].item == "video" else DATASET]
            if edge.over is not None:
                names = [video.video_id for video in videos_of(world, edge.over)]
            read = {(edge.stage, name) for name in names} & gone
            found |= read | naive(world, plans, gone, sorted(read))
    return found


@settings(deadline=None, max_examples=60)
@given(gone=st.sets(st.sampled_from(EVERYTHING)), change=st.sampled_from(sorted(CHANGES)))
def test_what_is_needed_again_follows_from_the_graph(
    gone: set[tuple[str, str]], change: str
) -> None:
    world = with_evicted(SETTLED, gone)
    now = worlds.world(worlds.config(**CHANGES[change]), committed=world.committed)
    # An item counts as evicted where its key is the evicted one still.
    known = {stage: plan.keys for stage, plan in plan_all(world).items()}
    plans = plan_all(now)
    same = {(s, i) for s, i in gone if plans[s].keys.get(i) == known[s][i]}
    work = [(s, i) for s, p in plans.items() for i in [*p.todo, *p.waiting]]
    expected = naive(now, plans, same, work)
    assert {(s, i) for s, p in plans.items() for i in p.restore} == expected
    assert (change == "nothing") <= (expected == set())
    for stage, plan in plans.items():
        for item in plan.todo:
            found = needed_by(now, plans, stage, [item])
            assert {(s, i) for s, each in found.items() for i in each} == naive(
                now, plans, same, [(stage, item)]
            )
            # What is made first stands first.
            assert list(found) == [node.name for node in GRAPH if node.name in found]
    for stage in {s for s, _ in same}:
        found = needed_for(now, plans, stage)
        own = sorted(place for place in same if place[0] == stage)
        assert {(s, i) for s, each in found.items() for i in each} == {
            *own,
            *naive(now, plans, same, own),
        }


# End to end


def give_up(hiprobe: Hiprobe, demo: Demo, *stages: str) -> None:
    words = [word for stage in stages for word in ("--stage", stage)]
    assert hiprobe("cache", "evict", demo.folder / "store", *words, "--yes").code == 0


def evicted(demo: Demo) -> dict[str, int]:
    store = Store(demo.folder / "store")
    counts = {stage: len(store.listing(stage).evicted) for stage in store.stages()}
    return {stage: count for stage, count in counts.items() if count}


def digests(demo: Demo, stage: str) -> dict[str, str]:
    folder = demo.folder / "store" / stage
    return {
        path.parent.name.partition(".")[0]: read_json(path)["digest"]
        for path in folder.glob("*/*/commit.json")
    }


def is_whole(demo: Demo) -> bool:
    return list(verify(Store(demo.folder / "store"), full=True)) == []


def test_only_what_is_read_is_made_again(own_demo: Demo, hiprobe: Hiprobe) -> None:
    before = digests(own_demo, "score")
    give_up(hiprobe, own_demo, "score", "decode", "moments")
    gone = evicted(own_demo)
    assert hiprobe("plan", own_demo.config, "--check").code == 0
    assert "nothing to do" in hiprobe("run", own_demo.config, "--quiet").out
    status = hiprobe("status", own_demo.config, "--json").value()
    assert {s["missing"] for s in status["stages"]} == {0}
    assert evicted(own_demo) == gone
    planned = hiprobe("plan", own_demo.config, *KAPPA[:2], "--json").value()
    stages = {stage["stage"]: stage for stage in planned["stages"]}
    assert stages["score"]["restore"] == stages["score"]["items"] == 20
    assert stages["score"]["why"] == [{"reason": "evicted, and needed again", "items": 20}]
    assert stages["moments"]["restore"] == 0
    done = hiprobe("run", own_demo.config, *KAPPA)
    assert done.code == 0
    assert "score 20" in done.out
    assert digests(own_demo, "score") == before
    assert evicted(own_demo) == {n: c for n, c in gone.items() if n != "score"}
    assert is_whole(own_demo)


def test_results_are_written_again_from_what_was_evicted(own_demo: Demo, hiprobe: Hiprobe) -> None:
    path = own_demo.folder / "scores.parquet"
    before = path.read_bytes()
    give_up(hiprobe, own_demo, "localize")
    path.unlink()
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert path.read_bytes() == before
    assert "localize" not in evicted(own_demo)


def test_without_the_backbone_what_needs_it_fails_with_words(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    identity = hiprobe("status", own_demo.config, "--json").value()["backbone"]
    give_up(hiprobe, own_demo, "score", "forward")
    shutil.rmtree(own_demo.folder / "backbone")
    away = ("--set", f"backbone.identity={json.dumps(identity)}")
    done = hiprobe("run", own_demo.config, *away, *KAPPA)
    assert done.code == 3
    assert "evicted and cannot be made again" in done.out
    assert "forward needs the backbone, which is not on this machine" in done.out
    assert is_whole(own_demo)


def test_one_that_cannot_be_restored_fails_alone_and_is_tried_again(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import score

    plain = score.compute
    videos = []

    def compute(job):  # type: ignore[no-untyped-def]
        videos.append(job.item)
        if job.item == videos[0]:
            raise ItemError("the tape is torn")
        return plain(job)

    give_up(hiprobe, own_demo, "score")
    monkeypatch.setattr(score, "compute", compute)
    done = hiprobe("run", own_demo.config, *KAPPA)
    assert done.code == 3
    (line,) = [line for line in done.out.splitlines() if line.startswith("FAILED")]
    assert line == (
        f"FAILED localize of {videos[0]}: it reads score of {videos[0]}, which was evicted and "
        "cannot be made again: the tape is torn"
    )
    monkeypatch.undo()
    # The video may be back: nobody has to ask for it to be tried again.
    assert hiprobe("run", own_demo.config, *KAPPA).code == 0
    assert is_whole(own_demo)


def test_other_bytes_than_before_are_told_and_what_follows_is_made_from_them(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import score

    plain = score.compute

    def compute(job):  # type: ignore[no-untyped-def]
        (job.out / "other.txt").write_text("not as before")
        return plain(job)

    give_up(hiprobe, own_demo, "score")
    monkeypatch.setattr(score, "compute", compute)
    before = digests(own_demo, "localize")
    done = hiprobe("run", own_demo.config, *KAPPA)
    assert done.code == 0
    assert "with other bytes than before; what follows is made again" in done.out
    monkeypatch.undo()
    made = digests(own_demo, "score")
    new = digests(own_demo, "localize").keys() - before.keys()
    store = Store(own_demo.folder / "store")
    read = {store.artifact("localize", key).commit.inputs["scores"] for key in new}
    assert read == set(made.values())
    assert "nothing to do" in hiprobe("run", own_demo.config, *KAPPA).out
    assert is_whole(own_demo)


def test_what_is_evicted_while_a_run_reads_it_is_mended_by_that_run(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import localize

    plain, store = localize.compute, Store(own_demo.folder / "store")
    times: list[str] = []

    def compute(job):  # type: ignore[no-untyped-def]
        times.append(job.item)
        path = Path(job.inputs["scores"].file("scores.parquet"))
        if len(times) in (1, 3):  # before it is read, and between the look and the reading
            evict(store, "score", path.parent.name)
        if len(times) == 3:
            path.read_bytes()
        return plain(job)

    monkeypatch.setattr(localize, "compute", compute)
    done = hiprobe("run", own_demo.config, *KAPPA)
    assert done.code == 0, done.out
    assert {times.count(item) for item in times} >= {2}
    assert "score 2" in done.out
    assert is_whole(own_demo)


def test_a_run_whose_root_cannot_be_written_goes_on_and_says_so(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "roots")

    monkeypatch.setattr(registration, "renew_root", refuse)
    done = hiprobe("run", own_demo.config, *KAPPA)
    assert done.code == 0
    assert done.out.count("no note of what this run reaches (Permission denied)") == 1
