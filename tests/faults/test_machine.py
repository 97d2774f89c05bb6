"""Whatever people do to a store, in whatever order: a run gives what a fresh one would give."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.machine import Machine, write_clips


def test_any_order_of_what_people_do_gives_what_a_fresh_store_gives(tmp_path: Path) -> None:
    class Here(Machine):
        scratch = tmp_path
        clips = write_clips(tmp_path / "clips")
        known = {}  # noqa: RUF012 - one for all examples of this test

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=12,
            stateful_step_count=14,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
