"""One round of each fault that needs processes of its own; and the soak that goes on for hours.

What must hold after each single fault is asserted where the fault is brought about: see killed.py,
full_disks.py and racing.py beside this file.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline.graph import GRAPH
from tests.faults.kinds import KINDS, Tally, apart
from tests.faults.soak import soak

pytestmark = pytest.mark.timeout(900)

ROUND = ("killed", "full-disk", "racing", "racing-runs", "stopped")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """What `python -m tests.faults` says of a round of each: a process without pytest's threads."""
    memory = Path("/dev/shm")  # a kill does not ask what is on the disk
    folder = memory if os.access(memory, os.W_OK) else tmp_path_factory.mktemp("soak")
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--kinds", ",".join(ROUND), "--json"],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)["faults"]
    for kind in ROUND:
        assert found[kind]["tried"] == found[kind]["survived"]
    return {kind: {**said.pop("figures"), **said} for kind, said in found.items()}


@pytest.mark.slow
def test_runs_killed_at_a_hundred_moments_end_as_if_nobody_had(
    faults: dict[str, dict[str, int]],
) -> None:
    found = faults["killed"]
    assert found["survived"] >= 100
    hit = {name.removeprefix("in ") for name in found if name.startswith("in ")}
    assert hit <= {node.name for node in GRAPH}
    assert len(hit) >= 13, f"the kills fell into {sorted(hit)} only"
    assert found["items lost"] >= 40, "most kills are to fall into the making of an item"


@pytest.mark.slow
def test_ten_full_disks_are_told_and_lose_nothing(faults: dict[str, dict[str, int]]) -> None:
    found = faults["full-disk"]
    assert found["survived"] == 10
    assert found["told by an item"] > 0
    assert found["told by the run"] > 0


@pytest.mark.slow
def test_eight_processes_with_the_same_work_agree(faults: dict[str, dict[str, int]]) -> None:
    found = faults["racing"]
    assert found["survived"] == 50
    assert found["without locks"] == 25
    assert found["built"] == 50 * 6, "each item is made by one process"
    assert found["hit"] == 7 * found["built"]
    assert faults["racing-runs"]["items"] == 11


@pytest.mark.slow
def test_holders_that_sleep_through_their_lease_do_no_harm(
    faults: dict[str, dict[str, int]],
) -> None:
    found = faults["stopped"]
    assert found["survived"] == 16
    assert found["taken over"] >= 8
    assert found["both made it"] >= 4


def test_a_fault_that_is_not_survived_ends_the_soak_with_its_seed(tmp_path: Path) -> None:
    tried = []

    def brittle(rng: random.Random, folder: Path) -> Tally:
        tried.append(rng.random())
        (folder / "left").touch()
        assert len(tried) < 3, "three are too many"
        return Tally(5, 5)

    known = {"brittle": brittle, "sound": lambda rng, folder: Tally(2, 2)}
    done = soak(["sound", "brittle"], tmp_path, seed=7, rounds=9, known=known)
    assert "three are too many" in done.broken
    assert "--kinds brittle --rounds 1 --seed 9" in done.broken
    assert (tmp_path / "brittle-9" / "left").exists(), "it is left for whoever wants to look"
    assert (done.tallies["brittle"].tried, done.tallies["brittle"].survived) == (11, 10)
    assert done.tallies["sound"].survived == 6
    assert done.broken in done.text()
    tried.clear()
    again = soak(["brittle"], tmp_path, seed=9, rounds=1, known=known)
    assert again.broken == ""
    assert tried == [random.Random("brittle 9").random()], "the seed alone says what is drawn"


def test_fewer_survived_than_tried_ends_it_too(tmp_path: Path) -> None:
    done = soak(["odd"], tmp_path, seed=0, rounds=3, known={"odd": lambda r, f: Tally(4, 3)})
    assert done.rounds == 1
    assert "1 not survived" in done.broken


def test_what_a_round_starts_is_not_there_in_the_next(tmp_path: Path) -> None:
    def threaded(rng: random.Random, folder: Path) -> Tally:
        threading.Thread(target=time.sleep, args=(60,), name="left", daemon=True).start()
        assert rng.random() < 2, "never"
        return Tally(3, 2, Counter(left=threading.active_count()))

    found = apart(threaded)(random.Random(1), tmp_path)
    assert (found.tried, found.survived) == (3, 2)
    assert found.figures["left"] > 1
    assert "left" not in {thread.name for thread in threading.enumerate()}

    def broken(rng: random.Random, folder: Path) -> Tally:
        raise OSError("no such luck")

    with pytest.raises(AssertionError, match="no such luck"):
        apart(broken)(random.Random(1), tmp_path)


def test_the_kinds_that_are_not_there_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--kinds", "earthquake"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "the kinds are killed" in done.stderr
    assert set(ROUND) < set(KINDS)
