"""What makes the manifest of a stage another one."""

from __future__ import annotations

from pipeline.graph import NODES
from pipeline.plan import StagePlan
from pipeline.record import state_of
from pipeline.world import Failure

ONE, OTHER = "a" * 64, "b" * 64


def plan(keys: dict[str, str], digests: dict[str, str], *failed: Failure) -> StagePlan:
    return StagePlan(NODES["score"], keys=keys, digests=digests, failed={f.item: f for f in failed})


def test_every_column_that_can_change_counts() -> None:
    said = [
        plan({"v": ONE}, {"v": ONE}),
        plan({"v": ONE}, {"v": OTHER}),
        # Made of other inputs, with the same content: whoever opens it by its key needs the new one.
        plan({"v": OTHER}, {"v": ONE}),
        plan({"v": ONE, "w": ONE}, {"v": ONE, "w": ONE}),
        plan({"v": ONE}, {"v": ONE}, Failure("w", ONE, "ItemError", "why", 1)),
        plan({"v": ONE}, {"v": ONE}, Failure("w", ONE, "ItemError", "why", 2)),
        plan({"v": ONE}, {"v": ONE}, Failure("w", OTHER, "ItemError", "why", 1)),
    ]
    assert len({state_of(one) for one in said}) == len(said)


def test_the_order_of_the_items_does_not() -> None:
    keys = {"v": ONE, "w": OTHER}
    assert state_of(plan(keys, keys)) == state_of(plan(keys, dict(reversed(keys.items()))))
