"""kill -9 at a hundred random moments of every stage: nothing is lost but what was in flight."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.calls import soaked


@pytest.mark.slow
def test_runs_killed_at_a_hundred_moments_end_as_if_nobody_had(tmp_path: Path) -> None:
    """What holds after each kill is asserted where it is brought about: see tests/faults/killed.py."""
    tally = soaked("killed", tmp_path)
    assert tally.tried == tally.survived >= 100
    hit = {name.removeprefix("in ") for name in tally.figures if name.startswith("in ")}
    assert len(hit) >= 12, f"the kills fell into {sorted(hit)} only"
    assert tally.figures["items lost"] <= 4 * tally.tried
