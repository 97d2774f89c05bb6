"""Several items in flight in one process: overlap, order, and a clean end whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cache.errors import ConfigError
from cache.store import Store
from cache.verify import verify
from pipeline.engine import InProcess
from pipeline.graph import NODES
from pipeline.task import Outcome, Task
from stages import score
from stages.contract import Job, Result

WAIT_S = 30.0
"""Nothing here takes long: a wait that ends by itself is a failure."""

GPU = NODES["forward"]
"""A stage that runs the model."""

Compute = Callable[[Job[Any]], Result]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def made_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Job[Any]], None]], None]:
    """Say what happens while an item is computed; every item then writes its own name."""

    def install(work: Callable[[Job[Any]], None]) -> None:
        def compute(job: Job[Any]) -> Result:
            work(job)
            (job.out / "name.txt").write_text(job.item)
            return Result(rows=1, seconds={"read": 0.5})

        monkeypatch.setattr(score, "compute", compute)

    return install


def tasks(store: Store, names: str) -> list[Task]:
    """One task for each letter; the same letter is the same content, and so the same key."""
    return [
        Task(
            stage="score", version=1, item=f"{letter}{number}", settings=None, recipe={},
            inputs={"plan": letter}, members={}, store=store.root, single={}, many={}, values={},
        )
        for number, letter in enumerate(names)
    ]  # fmt: skip


def ignore(item: str, done: float, total: float) -> None:
    pass


def fly(store: Store, names: str, at_once: int = 2) -> Generator[Outcome, None, None]:
    return InProcess(at_once).run(tasks(store, names), GPU, progress=ignore)


def reported(job: Job[Any]) -> None:
    """Work on and on, as an item does that reports its progress."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        job.progress(0, 1)
        time.sleep(0.001)
    raise AssertionError("nobody stopped this item")


def is_clean(store: Store) -> bool:
    """No draft, no claim, nothing that is not what its record says."""
    drafts = [p for p in (store.root / "staging").iterdir() if p.name != "parts"]
    claims = list((store.root / "claims").glob("[!.]*"))
    return (drafts, claims, list(verify(store, full=True))) == ([], [], [])


def flying() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("item-")]


def test_two_are_worked_on_at_once_and_never_three(store: Store, made_by: Any) -> None:
    pair = threading.Barrier(2)
    inside: list[str] = []
    most = []

    def work(job: Job[Any]) -> None:
        inside.append(job.item)
        pair.wait(WAIT_S)  # passed only by two at once
        most.append(len(inside))
        pair.wait(WAIT_S)
        inside.remove(job.item)

    made_by(work)
    outcomes = list(fly(store, "abcdef"))
    assert sorted(o.item for o in outcomes) == ["a0", "b1", "c2", "d3", "e4", "f5"]
    assert {o.status for o in outcomes} == {"built"}
    assert max(most) == 2
    assert is_clean(store)
    assert not flying()


def test_they_are_started_in_the_order_given(store: Store, made_by: Any) -> None:
    started: list[str] = []
    first_three = threading.Barrier(3)

    def work(job: Job[Any]) -> None:
        started.append(job.item[0])
        if job.item[0] in "edc":
            first_three.wait(WAIT_S)

    made_by(work)
    list(fly(store, "edcba", at_once=3))
    assert sorted(started[:3]) == ["c", "d", "e"]
    assert sorted(started) == list("abcde")


def test_outcomes_come_as_items_finish(store: Store, made_by: Any) -> None:
    seen = threading.Event()

    def work(job: Job[Any]) -> None:
        if job.item == "a0":
            assert seen.wait(WAIT_S)

    made_by(work)
    order = []
    for outcome in fly(store, "abc"):
        order.append((outcome.item, outcome.status))
        if outcome.item == "c2":
            seen.set()
    assert order == [("b1", "built"), ("c2", "built"), ("a0", "built")]


def test_the_next_item_is_computed_while_one_is_published(
    store: Store, made_by: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    computing = threading.Event()
    made_by(lambda job: computing.set() if job.item == "b1" else None)
    plain = Store.publish

    def publish(self: Store, draft: Any, **words: Any) -> Any:
        assert computing.wait(WAIT_S), "the next item waits for this one to be published"
        return plain(self, draft, **words)

    monkeypatch.setattr(Store, "publish", publish)
    assert [o.status for o in fly(store, "ab")] == ["built", "built"]


def test_what_is_in_flight_is_claimed(store: Store, made_by: Any) -> None:
    pair = threading.Barrier(2)
    held = []

    def work(job: Job[Any]) -> None:
        pair.wait(WAIT_S)
        held.append(len(list((store.root / "claims").glob("score~*"))))
        pair.wait(WAIT_S)

    made_by(work)
    list(fly(store, "ab"))
    assert held == [2, 2]


def test_two_videos_of_one_content_are_made_once(store: Store, made_by: Any) -> None:
    """The second is in somebody's hands, as it is where another process makes it."""
    begun, seen = threading.Event(), threading.Event()

    def work(job: Job[Any]) -> None:
        begun.set()
        assert seen.wait(WAIT_S)

    made_by(work)
    found = []
    for outcome in fly(store, "aa"):
        found.append(outcome.status)
        seen.set()
    assert found == ["busy", "built"]
    assert [o.status for o in fly(store, "aa")] == ["hit", "hit"]


def test_nothing_is_begun_before_an_outcome_was_dealt_with(store: Store, made_by: Any) -> None:
    begun = []
    made_by(lambda job: begun.append(job.item))
    with closing(fly(store, "abcdef")) as outcomes:
        next(outcomes)
        time.sleep(0.05)  # the others could begin here
        assert sorted(begun) == ["a0", "b1"]
        next(outcomes)
        next(outcomes)
    assert set(begun) <= {"a0", "b1", "c2", "d3"}


@pytest.mark.parametrize(("at_once", "node"), [(1, "forward"), (4, "decode")])
def test_one_at_a_time_needs_no_thread(store: Store, made_by: Any, at_once: int, node: str) -> None:
    threads = []
    made_by(lambda job: threads.append(threading.current_thread()))
    outcomes = InProcess(at_once).run(tasks(store, "abc"), NODES[node], progress=ignore)
    assert [o.item for o in outcomes] == ["a0", "b1", "c2"]
    assert threads == [threading.main_thread()] * 3


def test_videos_are_scored_a_few_at_once_whatever_the_model_may(store: Store, made_by: Any) -> None:
    """What they wait for is the file system."""
    together = threading.Barrier(NODES["score"].overlap, timeout=WAIT_S)
    made_by(lambda job: together.wait() and None)
    names = "abcdefgh"[: 2 * NODES["score"].overlap]
    outcomes = InProcess(1).run(tasks(store, names), NODES["score"], progress=ignore)
    assert {o.status for o in outcomes} == {"built"}
    assert is_clean(store)


def test_those_that_overlap_are_on_one_blas_thread_to_their_end(store: Store, made_by: Any) -> None:
    """An item's own limit, taken away at its end, must not let the others go on with more."""
    import numpy as np
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads() -> set[int]:
        return {entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"}

    def work(job: Job[Any]) -> None:
        with threadpool_limits(limits=1):
            np.ones((2, 2)) @ np.ones((2, 2))
        seen.append(threads())

    seen: list[set[int]] = []
    made_by(work)
    with threadpool_limits(limits=2):
        list(InProcess(1).run(tasks(store, "abcdefgh"), NODES["score"], progress=ignore))
        assert threads() == {2}
    assert seen == [{1}] * 8


def test_an_item_that_fails_is_an_outcome_and_the_rest_goes_on(store: Store, made_by: Any) -> None:
    def work(job: Job[Any]) -> None:
        if job.item == "b1":
            raise ZeroDivisionError("by nothing")

    made_by(work)
    outcomes = {o.item: o for o in fly(store, "abcd")}
    assert {n: o.status for n, o in outcomes.items()} == {
        "a0": "built", "b1": "failed", "c2": "built", "d3": "built"
    }  # fmt: skip
    assert outcomes["b1"].message == "ZeroDivisionError: by nothing"
    assert is_clean(store)


@pytest.mark.parametrize("first", [ConfigError("no"), OSError(28, "No space left on device")])
def test_what_stops_the_run_drops_what_is_in_flight(
    store: Store, made_by: Any, first: Exception
) -> None:
    pair = threading.Barrier(2)
    begun = []

    def work(job: Job[Any]) -> None:
        begun.append(job.item)
        (job.out / "half").write_text("half")
        pair.wait(WAIT_S)
        if job.item == "a0":
            raise first
        reported(job)

    made_by(work)
    outcomes = list(fly(store, "abcd"))
    assert [(o.item, o.status) for o in outcomes] == [("a0", "stopped")]
    assert sorted(begun) == ["a0", "b1"]
    assert store.keys("score") == []
    assert is_clean(store)
    assert not flying()


def test_leaving_drops_what_is_in_flight_and_keeps_what_is_made(store: Store, made_by: Any) -> None:
    def work(job: Job[Any]) -> None:
        if job.item != "a0":
            reported(job)

    made_by(work)
    with closing(fly(store, "abcd")) as outcomes:
        assert next(outcomes).item == "a0"
    assert len(store.keys("score")) == 1
    assert is_clean(store)
    assert not flying()


def test_finished_parts_of_a_dropped_item_stay(store: Store, made_by: Any) -> None:
    def work(job: Job[Any]) -> None:
        if job.item != "a0":
            assert job.partial is not None
            job.partial.mkdir(parents=True, exist_ok=True)
            (job.partial / "block").write_text("block")
            reported(job)

    made_by(work)
    with closing(fly(store, "ab")) as outcomes:
        next(outcomes)
        while not list((store.root / "staging" / "parts").glob("*/block")):
            time.sleep(0.001)
    assert len(list((store.root / "staging" / "parts").glob("*/block"))) == 1


def test_an_error_that_is_no_items_reaches_whoever_asked(store: Store, made_by: Any) -> None:
    def work(job: Job[Any]) -> None:
        if job.item == "a0":
            raise SystemExit(7)
        reported(job)

    made_by(work)
    with pytest.raises(SystemExit, match="7"):
        list(fly(store, "ab"))
    assert is_clean(store)
    assert not flying()


@pytest.mark.parametrize("at_once", [1, 3])
def test_progress_says_which_item_it_is(store: Store, made_by: Any, at_once: int) -> None:
    made_by(lambda job: job.progress(3, 4))
    said = []

    def note(item: str, done: float, total: float) -> None:
        said.append((item, done, total))

    list(InProcess(at_once).run(tasks(store, "abc"), GPU, progress=note))
    assert sorted(said) == [("a0", 3, 4), ("b1", 3, 4), ("c2", 3, 4)]
