"""forward.test_layers = "selected": which pass a video is in, and what makes which pass run again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config
from pipeline.graph import FITTING, NODES
from pipeline.inputs import Inputs
from pipeline.plan import StagePlan, plan_all
from pipeline.values import features_of
from pipeline.why import held_whole
from pipeline.world import DATASET, Failure, OutsideScorer, World
from tests.pipeline import worlds
from tests.pipeline.test_key_sensitivity import after

NAMES = sorted(row[0] for row in worlds.VIDEOS)
TAIL = {"score": 5, "localize": 5, "explain": 3, "evaluate": 1, "report": 1}
"""What follows the five videos that are not probed."""


def config(**sections: Any) -> Config:
    """A configuration of two passes."""
    forward = {"test_layers": "selected", **sections.pop("forward", {})}
    return worlds.config(forward=forward, **sections)


def world(settings: Config | None = None, **more: Any) -> World:
    return worlds.world(settings or config(), **more)


def probing_of(made: World) -> list[str]:
    return sorted(v.video_id for v in made.videos or () if v.subset == "probing")


def rest_of(made: World) -> list[str]:
    return sorted(v.video_id for v in made.videos or () if v.subset != "probing")


def replanned(settings: Config, settled: World, **more: Any) -> dict[str, StagePlan]:
    """The plans of another configuration over the same store."""
    return plan_all(world(settings, committed=settled.committed, **more))


def test_every_video_is_in_one_pass() -> None:
    settled, plans = worlds.settle(world())
    first, second = plans["forward"].digests, plans["forward_selected"].digests
    assert sorted(first) == probing_of(settled)
    assert sorted(second) == rest_of(settled)
    assert len(first) == 4
    assert len(second) == 5
    assert sorted(plans["score"].digests) == NAMES
    assert [name for name, plan in plans.items() if plan.off] == ["heads", "crossvalidate"]


def test_a_score_is_made_of_the_pass_that_its_video_is_in() -> None:
    settled, plans = worlds.settle(world())
    inputs = Inputs(NODES["score"], settled, plans)
    for name in NAMES:
        stage = "forward" if name in probing_of(settled) else "forward_selected"
        assert inputs.single(name)["states"] == (stage, plans[stage].keys[name])
        text = inputs.text(name, None)
        assert text is not None
        assert f'"states":"{plans[stage].digests[name]}"' in text


def test_with_one_pass_the_second_is_off_and_says_why() -> None:
    _, plans = worlds.settle(worlds.world())
    assert plans["forward_selected"].off.startswith('forward.test_layers = "all"')
    assert plans["forward_selected"].total == 0
    assert sorted(plans["forward"].digests) == NAMES


def test_the_switch_leaves_the_features_of_the_probing_subset_and_what_was_fitted() -> None:
    settled, _ = worlds.settle(worlds.world())
    plans = replanned(config(), settled)
    # All layers of the others are in the store; the second pass is made nevertheless, so that what
    # a configuration gives does not depend on what a store happens to hold.
    assert worlds.work(plans) == {"forward_selected": 5, **TAIL}
    assert plans["forward_selected"].todo == rest_of(settled)
    two, _ = worlds.settle(world(committed=settled.committed))
    assert worlds.work(plan_all(two)) == {}
    assert worlds.work(replanned(worlds.config(), two)) == {}


def test_what_the_store_holds_of_the_second_pass_is_told() -> None:
    settled, _ = worlds.settle(worlds.world())
    plans = replanned(config(), settled)
    assert held_whole(plans["forward_selected"], settled, plans) == 5
    assert held_whole(plans["score"], settled, plans) == 0
    two, plans = worlds.settle(world())
    assert held_whole(plans["forward_selected"], two, plans) == 0
    del two.committed["forward_selected"]
    plans = plan_all(two)
    assert len(plans["forward_selected"].todo) == 5
    assert held_whole(plans["forward_selected"], two, plans) == 0


def test_back_to_one_pass_makes_only_what_is_not_probed() -> None:
    settled, _ = worlds.settle(world())
    plans = replanned(worlds.config(), settled)
    assert worlds.work(plans) == {"forward": 5, **TAIL}
    assert plans["forward"].todo == rest_of(settled)


def test_the_second_pass_waits_for_the_selection() -> None:
    settled, _ = worlds.settle(world())
    committed = {name: settled.committed[name] for name in ("index", "decode", "sample")}
    plans = plan_all(dataclasses.replace(settled, committed=committed))
    assert plans["forward"].todo == probing_of(settled)
    assert plans["forward_selected"].waiting == dict.fromkeys(rest_of(settled), "select")
    waiting = plans["score"].waiting
    assert {waiting[name] for name in probing_of(settled)} == {"fit"}
    # Where the scorer is there, what it lacks is the pass that the video is in.
    outside = OutsideScorer(Path("scorer"), worlds.sha("scorer"), {}, worlds.sha("layer 2"))
    plans = plan_all(dataclasses.replace(settled, committed=committed, scorer=outside))
    assert plans["score"].waiting == dict.fromkeys(NAMES, "forward_selected")


def test_another_selection_runs_the_second_pass_and_never_the_first() -> None:
    settled, _ = worlds.settle(world())
    plans = replanned(config(select={"method": "last"}), settled)
    assert worlds.work(plans) == {
        "select": 1, "fit": 1, "forward_selected": 5, **TAIL, "score": 9, "threshold": 1, "localize": 9,
        "projection": 1,
    }  # fmt: skip


def test_another_method_that_selects_the_same_runs_nothing_else() -> None:
    settled, _ = worlds.settle(world(), same=["select"])
    other = world(config(select={"method": "last"}), committed=settled.committed)
    done, _ = worlds.settle(other, same=["select"])
    made = {name: len(done.committed[name].digests) for name in ("select", "fit", "score")}
    assert made == {"select": 2, "fit": 1, "score": 9}
    assert len(done.committed["forward_selected"].digests) == 5


@pytest.mark.parametrize(
    ("section", "changed"),
    [
        ("fit", {"c": 0.1}),
        ("localize", {"kappa": 0.9}),
        ("forward", {"layers": [1, 2]}),
        ("forward", {"heads": "all"}),
        ("forward", {"yes_no": True}),
        ("forward", {"batch": 3}),
        ("data", {"probing_labels": "frame"}),
        ("statistics", {"bins": 16}),
    ],
)
def test_what_selects_the_same_keeps_the_second_pass(section: str, changed: dict[str, Any]) -> None:
    settled, _ = worlds.settle(world(), same=["select"])
    other = world(config(**{section: changed}), committed=settled.committed)
    done, _ = worlds.settle(other, same=["select"])
    assert len(done.committed["forward_selected"].digests) == 5


def test_another_prompt_beside_the_probed_one_keeps_the_second_pass() -> None:
    asked = config().sections["forward"].prompts[0]
    settled, _ = worlds.settle(world(), same=["select"])
    for prompts, made in (([asked, "And?"], 5), (["And?"], 10)):
        other = world(config(forward={"prompts": prompts}), committed=settled.committed)
        done, _ = worlds.settle(other, same=["select"])
        assert len(done.committed["forward"].digests) == 8, prompts
        assert len(done.committed["forward_selected"].digests) == made, prompts


@pytest.mark.parametrize(
    ("field", "value"),
    [("system", "Be brief."), ("frame_format", "{number}: {image}"), ("store_dtype", "float32")],
)
def test_what_changes_its_own_numbers_runs_the_second_pass(field: str, value: str) -> None:
    settled, _ = worlds.settle(world(), same=["select"])
    done, _ = worlds.settle(
        world(config(forward={field: value}), committed=settled.committed), same=["select"]
    )
    assert len(done.committed["forward_selected"].digests) == 10


def test_the_version_of_each_pass_makes_it_and_what_follows_stale() -> None:
    settled, _ = worlds.settle(world())
    for stage in ("forward", "forward_selected"):
        changed = dataclasses.replace(settled, versions={**settled.versions, stage: 2})
        stale = tuple(worlds.work(plan_all(changed)))
        assert stale == after(stage, off=("heads", "crossvalidate"))


def test_three_more_test_videos_are_items_of_the_second_pass_only() -> None:
    settled, _ = worlds.settle(world())
    more: tuple[Any, ...] = tuple((f"test/b{n}", "test", 0, "Normal", []) for n in range(3))
    plans = replanned(config(), settled, rows=worlds.listing((*worlds.VIDEOS, *more)))
    done, _ = worlds.settle(
        world(rows=worlds.listing((*worlds.VIDEOS, *more)), committed=settled.committed)
    )
    assert plans["forward"].work == 0
    assert sorted(plans["forward_selected"].waiting) == ["test/b0", "test/b1", "test/b2"]
    assert len(done.committed["forward"].digests) == 4
    assert len(done.committed["forward_selected"].digests) == 8


def test_only_what_is_needed_is_in_the_second_pass() -> None:
    settled, plans = worlds.settle(world(config(run={"videos": "needed"})))
    assert sorted(plans["forward"].digests) == probing_of(settled)
    assert sorted(plans["forward_selected"].digests) == ["test/a1", "test/a2", "test/n1"]


def test_a_failed_item_of_the_first_pass_blocks_its_score() -> None:
    start, plans = worlds.settle(world())
    probed = probing_of(start)[0]
    key = plans["forward"].keys[probed]
    del start.committed["forward"].digests[key]
    failure = Failure(probed, key, "ItemError", "not finite", 1)
    _, failed = worlds.settle(dataclasses.replace(start, failures={"forward": {key: failure}}))
    assert failed["score"].blocked == {probed: "forward failed"}
    assert sorted(failed["forward_selected"].digests) == rest_of(start)


def test_a_failed_item_of_the_second_pass_blocks_its_score() -> None:
    start, plans = worlds.settle(world())
    key = plans["forward_selected"].keys["test/a1"]
    del start.committed["forward_selected"].digests[key]
    failure = Failure("test/a1", key, "ItemError", "not finite", 1)
    failed = plan_all(dataclasses.replace(start, failures={"forward_selected": {key: failure}}))
    assert failed["forward_selected"].failed == {"test/a1": failure}
    assert failed["score"].blocked == {"test/a1": "forward_selected failed"}
    assert len(failed["score"].digests) == 8


def test_a_selection_of_videos_holds_in_both_passes() -> None:
    settled, _ = worlds.settle(worlds.world())
    chosen = frozenset({"test/n1"})
    plans = plan_all(dataclasses.replace(world(committed=settled.committed), chosen=chosen))
    assert plans["forward_selected"].todo == ["test/n1"]
    assert plans["forward_selected"].unselected == set(rest_of(settled)) - chosen
    assert plans["score"].waiting == {"test/n1": "forward_selected"}
    assert plans["score"].unselected == set(rest_of(settled)) - chosen


def test_without_labels_there_is_nothing_to_select_by() -> None:
    rows = [[*row[:4], "", None, "", []] for row in worlds.listing()]
    plans = plan_all(world(config(data={"probing_count": 0}), rows=rows))
    for name in ("forward", "moments", "select", "forward_selected", "score", "report"):
        assert "no training video has a label" in plans[name].off, name
    assert not plans["sample"].off


def test_where_every_video_is_probed_there_is_no_second_pass() -> None:
    train = tuple(row for row in worlds.VIDEOS if row[1] == "train")
    settings = config(data={"probing_count": 0, "probing_share": 1.0})
    _, plans = worlds.settle(world(settings, rows=worlds.listing(train)))
    assert plans["forward_selected"].off == "every video is in the probing subset"
    assert len(plans["forward"].digests) == len(plans["score"].digests) == len(train)


def test_before_the_files_are_digested_both_passes_wait_for_the_index() -> None:
    plans = plan_all(dataclasses.replace(world(), listing=None, videos=None))
    for name in ("forward", "forward_selected", "score"):
        assert plans[name].waiting == {DATASET: "index"}


def test_without_a_backbone_both_are_off() -> None:
    plans = plan_all(dataclasses.replace(world(), backbone=""))
    for name in ("forward", "forward_selected", "score"):
        assert "backbone" in plans[name].off


class TestAnOutsideScorer:
    """It brings the choice: one pass of every video, which keeps only what it reads."""

    def scorer(self, content: str = "scorer", choice: str = "layer 2") -> OutsideScorer:
        return OutsideScorer(Path("scorer"), worlds.sha(content), {}, worlds.sha(choice))

    def test_every_video_is_in_the_second_pass(self) -> None:
        settled, plans = worlds.settle(world(scorer=self.scorer()))
        off = [name for name, plan in plans.items() if plan.off]
        assert off == ["forward", *FITTING]
        assert 'forward.test_layers = "selected"' in plans["forward"].off
        assert sorted(plans["forward_selected"].digests) == NAMES
        assert sorted(plans["score"].digests) == NAMES
        folder = Inputs(NODES["forward_selected"], settled, plans).single("test/a1")["choice"]
        assert not isinstance(folder, tuple)
        assert folder.path == Path("scorer")

    def test_its_choice_is_what_counts_and_not_its_weights(self) -> None:
        settled, _ = worlds.settle(world(scorer=self.scorer()))
        again = replanned(config(), settled, scorer=self.scorer("fitted again"))
        assert again["forward_selected"].work == 0
        assert again["score"].work == 9
        other = replanned(config(), settled, scorer=self.scorer(choice="layer 3"))
        assert len(other["forward_selected"].todo) == 9

    def test_the_choice_of_the_run_itself_finds_what_it_made(self) -> None:
        settled, plans = worlds.settle(world())
        own = OutsideScorer(
            Path("scorer"), plans["fit"].digests[DATASET], {}, plans["select"].digests[DATASET]
        )
        again = replanned(config(), settled, scorer=own)
        assert again["forward_selected"].todo == probing_of(settled)

    def test_with_one_pass_it_is_as_ever(self) -> None:
        _, plans = worlds.settle(worlds.world(scorer=self.scorer()))
        off = [name for name, plan in plans.items() if plan.off]
        assert off == [*FITTING[:-1], "forward_selected", FITTING[-1]]
        assert sorted(plans["forward"].digests) == NAMES


class TestWhatAScorerRefuses:
    """The description of its features: what changes the numbers that it reads, and nothing else."""

    def test_it_is_the_same_in_both_modes_and_for_any_layers(self) -> None:
        expected = features_of(worlds.world())
        asked = worlds.config().sections["forward"].prompts[0]
        for changed in (
            {"test_layers": "selected"},
            {"layers": [2]},
            {"heads": "all"},
            {"yes_no": True},
            {"batch": 4},
            {"prompts": [asked, "And?"]},
        ):
            assert features_of(worlds.world(worlds.config(forward=changed))) == expected, changed

    @pytest.mark.parametrize(
        "changed",
        [
            {"prompts": ["And?"]},
            {"system": "Be brief."},
            {"frame_format": "{number}: {image}"},
            {"store_dtype": "float16"},
        ],
    )
    def test_it_differs_where_the_numbers_do(self, changed: dict[str, Any]) -> None:
        other = features_of(worlds.world(worlds.config(forward=changed)))
        assert other != features_of(worlds.world())
