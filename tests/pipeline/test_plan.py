"""The planner: pure, and it says why."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cache.catalog import StageCatalog
from cache.keys import Keymaker
from pipeline.graph import GRAPH, NODES
from pipeline.inputs import Inputs
from pipeline.plan import keymaker, plan_all, plan_stage
from pipeline.values import recipe_of_node
from pipeline.world import DATASET, Failure
from tests.pipeline import worlds

ADDED = (
    ("test/b1", "test", 1, "Fire", [[3, 9, "Fire"]]),
    ("test/b2", "test", 0, "Normal", []),
    ("test/b3", "test", 0, "Normal", []),
)


def test_a_first_plan_counts_every_video() -> None:
    plans = plan_all(worlds.world())
    assert plans["decode"].todo == sorted(v[0] for v in worlds.VIDEOS)
    assert len(plans["sample"].waiting) == len(worlds.VIDEOS)
    assert len(plans["moments"].waiting) == 4
    assert len(plans["explain"].waiting) == 3
    assert plans["evaluate"].waiting == {DATASET: "localize"}


def test_when_everything_is_done_there_is_nothing_to_do() -> None:
    settled, plans = worlds.settle(worlds.world())
    again = plan_all(settled)
    assert worlds.work(again) == {}
    assert {n: p.keys for n, p in again.items()} == {n: p.keys for n, p in plans.items()}


def test_planning_changes_nothing() -> None:
    settled, _ = worlds.settle(worlds.world())
    before = {name: dict(c.digests) for name, c in settled.committed.items()}
    plan_all(settled)
    assert {name: dict(c.digests) for name, c in settled.committed.items()} == before


def test_three_more_videos_are_three_items_and_the_reduces() -> None:
    settled, _ = worlds.settle(worlds.world())
    rows = worlds.listing((*worlds.VIDEOS, *ADDED))
    plans = plan_all(worlds.world(rows=rows, committed=settled.committed))
    assert plans["decode"].todo == ["test/b1", "test/b2", "test/b3"]
    expected = {"index": 1, "decode": 3, "sample": 3, "forward": 3, "score": 3, "localize": 3}
    assert worlds.work(plans) == {**expected, "explain": 3, "evaluate": 1, "report": 1}


def test_a_video_less_is_only_the_reduces() -> None:
    settled, _ = worlds.settle(worlds.world())
    rows = worlds.listing(tuple(v for v in worlds.VIDEOS if v[0] != "test/n1"))
    plans = plan_all(worlds.world(rows=rows, committed=settled.committed))
    assert worlds.work(plans) == {"index": 1, "evaluate": 1, "report": 1}


def test_a_changed_file_is_one_item_per_stage() -> None:
    settled, _ = worlds.settle(worlds.world())
    rows = worlds.listing()
    rows[0][3] = worlds.sha("other bytes")
    plans = plan_all(worlds.world(rows=rows, committed=settled.committed))
    name = rows[0][0]
    assert plans["decode"].todo == [name]
    assert set(plans["forward"].waiting) == {name}


def test_the_label_of_a_test_video_concerns_only_the_evaluation() -> None:
    settled, _ = worlds.settle(worlds.world())
    rows = worlds.listing()
    row = next(row for row in rows if row[0] == "test/a1")
    row[7] = [[41, 80, "Fight"]]
    plans = plan_all(worlds.world(rows=rows, committed=settled.committed))
    assert worlds.work(plans) == {"index": 1, "evaluate": 1, "report": 1}


def test_the_same_content_leaves_what_follows_fresh() -> None:
    settled, plans = worlds.settle(worlds.world())
    # A new version of decode that gives the same timelines: sample and the rest stay fresh.
    versions = {**settled.versions, "decode": 2}
    changed = dataclasses.replace(settled, versions=versions)
    decode = plan_stage(NODES["decode"], changed, {"index": plans["index"]})
    assert len(decode.todo) == len(worlds.VIDEOS)
    catalog = StageCatalog(dict(settled.committed["decode"].digests))
    for item, key in decode.keys.items():
        catalog.add(key, plans["decode"].digests[item], 1, 1)
    done = dataclasses.replace(changed, committed={**settled.committed, "decode": catalog})
    assert worlds.work(plan_all(done)) == {}


def test_a_failure_blocks_what_reads_it_and_is_left_out_of_the_reduces() -> None:
    start = worlds.world()
    key = plan_all(start)["decode"].keys["test/a1"]
    failure = Failure("test/a1", key, "ItemError", "truncated", 1)
    failed = dataclasses.replace(start, failures={"decode": {key: failure}})
    settled, plans = worlds.settle(failed)
    assert plans["decode"].failed == {"test/a1": failure}
    assert plans["localize"].blocked == {"test/a1": "decode failed"}
    truth = Inputs(NODES["evaluate"], settled, plans).values
    assert truth["missing"] == ["test/a1"]
    assert sorted(truth["truth"]) == ["test/a2", "test/n1"]
    retried = plan_all(dataclasses.replace(settled, retry_failed=True))
    assert retried["decode"].todo == ["test/a1"]


def test_a_file_that_could_not_be_read_is_a_failed_item_of_decode() -> None:
    rows = worlds.listing()
    rows[0][3] = ""
    _, plans = worlds.settle(worlds.world(rows=rows, unreadable={rows[0][0]: "no permission"}))
    assert plans["decode"].failed[rows[0][0]].message == "no permission"


def test_a_selection_makes_the_chosen_videos_with_the_keys_of_the_full_run() -> None:
    _, full = worlds.settle(worlds.world())
    chosen = frozenset({"test/n1", "train/a1"})
    start = dataclasses.replace(worlds.world(), chosen=chosen)
    plans = plan_all(start)
    assert set(plans["decode"].todo) == chosen
    assert {i: plans["decode"].keys[i] for i in chosen} == {
        i: full["decode"].keys[i] for i in chosen
    }
    # The statistics would be others over a part of the probing subset: they wait.
    assert plans["statistics"].waiting


def test_without_training_labels_the_run_ends_after_the_features() -> None:
    rows = [[*row[:4], "", None, "", []] for row in worlds.listing()]
    settings = worlds.config(data={"probing_count": 0})
    plans = plan_all(worlds.world(settings, rows=rows))
    off = {name for name, plan in plans.items() if plan.off}
    assert off == {n.name for n in GRAPH} - {"index", "decode", "sample", "forward"}
    assert "no training video has a label" in plans["score"].off


def test_without_a_backbone_the_run_ends_after_the_plan_of_keyframes() -> None:
    bare = dataclasses.replace(worlds.world(), backbone="")
    plans = plan_all(bare)
    assert [n for n, plan in plans.items() if not plan.off][:3] == ["index", "decode", "sample"]
    assert "backbone" in plans["forward"].off


def test_before_the_files_are_digested_everything_waits_for_the_index() -> None:
    unknown = dataclasses.replace(worlds.world(), listing=None, videos=None)
    plans = plan_all(unknown)
    assert plans["index"].todo == [DATASET]
    assert plans["decode"].waiting == {DATASET: "index"}


@pytest.mark.parametrize("mode", ["all", "selected"])
def test_the_key_is_the_hash_of_recipe_version_and_inputs(mode: str) -> None:
    settings = worlds.config(forward={"test_layers": mode})
    settled, plans = worlds.settle(worlds.world(settings))
    for node in GRAPH:
        inputs = Inputs(node, settled, plans)
        for item, key in plans[node.name].keys.items():
            video = next((v for v in settled.videos or () if v.video_id == item), None)
            told = json.loads(inputs.text(item, video) or "")
            plain = Keymaker(node.name, 1, recipe_of_node(node, settled)).key(told)
            assert plain == key == keymaker(node, settled).key(told)
