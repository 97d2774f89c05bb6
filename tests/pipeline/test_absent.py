"""Absent videos and listed frame counts: what they reach, and what they make stale."""

from __future__ import annotations

import dataclasses

from pipeline.graph import NODES
from pipeline.inputs import Inputs
from pipeline.plan import plan_all
from pipeline.values import value_of
from tests.pipeline import worlds


def test_evaluate_is_told_what_is_absent_and_what_is_listed() -> None:
    settled, plans = worlds.settle(worlds.world())
    found = dataclasses.replace(
        settled, absent={"test": ("x", "y"), "": ("z",)}, listed_frames={"test/a1": 120}
    )
    assert value_of("absent", found, plans) == {"train": [], "test": ["x", "y"]}
    truth = value_of("truth", found, plans)
    assert {name: entry["listed_frames"] for name, entry in truth.items()} == {
        "test/a1": 120, "test/a2": None, "test/n1": None,
    }  # fmt: skip


def test_only_the_figures_are_made_again() -> None:
    settled, _ = worlds.settle(worlds.world())
    for change in ({"absent": {"train": ("x",)}}, {"listed_frames": {"test/a1": 120}}):
        changed = dataclasses.replace(settled, **change)
        assert tuple(worlds.work(plan_all(changed))) == ("evaluate", "report")


def test_long_lists_enter_the_key_by_their_digest() -> None:
    settled, plans = worlds.settle(worlds.world())
    changed = dataclasses.replace(settled, absent={"train": tuple(map(str, range(1610)))})
    text = Inputs(NODES["evaluate"], changed, plans).text("dataset", None)
    assert text is not None
    assert '"absent":"' in text
    assert "1609" not in text
