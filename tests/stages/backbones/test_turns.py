"""Turns: one at a time, and the item that began first goes first."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

from stages.backbones.turns import Turns

LONG_S = 3600.0
"""A patience that no test can sit out."""


def in_thread(work: Callable[..., None], *words: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=words, daemon=True)
    thread.start()
    return thread


def until_waiting(turns: Turns, count: int) -> None:
    deadline = time.monotonic() + 30
    while turns.waiting != count:
        assert time.monotonic() < deadline, f"{turns.waiting} wait, {count} expected"
        time.sleep(0.0005)


def end(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_tickets_rise() -> None:
    turns = Turns()
    assert [turns.ticket() for _ in range(4)] == [0, 1, 2, 3]


def test_of_all_who_wait_the_lowest_ticket_goes_first_and_equals_as_they_came() -> None:
    turns = Turns(patience_s=0)
    order: list[tuple[int, str]] = []

    def take(ticket: int, name: str) -> None:
        with turns.of(ticket):
            order.append((ticket, name))

    threads = []
    with turns.of(7):
        asked = [(5, "a"), (2, "b"), (9, "c"), (2, "d"), (0, "e"), (5, "f")]
        for number, (ticket, name) in enumerate(asked, start=1):
            threads.append(in_thread(take, ticket, name))
            until_waiting(turns, number)
        assert order == []
    end(threads)
    assert order == [(0, "e"), (2, "b"), (2, "d"), (5, "a"), (5, "f"), (9, "c")]


def test_a_later_item_stands_back_for_an_earlier_one_that_comes_again() -> None:
    turns = Turns(patience_s=LONG_S)
    order: list[str] = []
    later_waits = threading.Event()

    def earlier() -> None:
        for number in range(3):
            with turns.of(0):
                later_waits.wait(30)
                order.append(f"earlier {number}")
            time.sleep(0.02)  # the later one could take its chance here
        turns.done(0)

    def later() -> None:
        with turns.of(1):
            order.append("later")

    with turns.of(0):
        threads = [in_thread(earlier)]
        until_waiting(turns, 1)
        threads.append(in_thread(later))
        until_waiting(turns, 2)
    later_waits.set()
    end(threads)
    assert order == ["earlier 0", "earlier 1", "earlier 2", "later"]


def test_nobody_stands_back_for_a_later_item() -> None:
    turns = Turns(patience_s=LONG_S)
    with turns.of(5):
        pass
    with turns.of(4):
        pass


def test_patience_ends_where_the_earlier_item_does_not_come() -> None:
    turns = Turns(patience_s=0.01)
    with turns.of(0):
        pass
    end([in_thread(lambda: turns.of(1).__enter__())])


def test_an_exception_within_a_turn_passes_it_on() -> None:
    turns = Turns(patience_s=0)
    with pytest.raises(ZeroDivisionError), turns.of(0):
        raise ZeroDivisionError
    with turns.of(1):
        pass


def test_a_wait_that_is_interrupted_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(patience_s=0)
    order: list[int] = []

    def take(ticket: int) -> None:
        with turns.of(ticket):
            order.append(ticket)

    with turns.of(9):
        thread = in_thread(take, 3)
        until_waiting(turns, 1)

        def interrupted(timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

        monkeypatch.setattr(turns, "_holder", -1)  # somebody else: this thread may ask
        with monkeypatch.context() as patch:
            patch.setattr(turns._changed, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                take(1)
        assert turns.waiting == 1
    end([thread])
    assert order == [3]


def test_asking_twice_is_refused_rather_than_waited_for() -> None:
    turns = Turns()
    with turns.of(0), pytest.raises(RuntimeError, match="the turn already"), turns.of(0):
        pass
    with turns.of(0):
        pass


@pytest.mark.parametrize("patience_s", [0.0, 0.0005])
def test_many_threads_one_turn_at_a_time_and_every_turn_is_given(patience_s: float) -> None:
    turns = Turns(patience_s=patience_s)
    inside: list[int] = []
    crowded: list[int] = []
    taken = [0] * 24
    chance = random.Random(3)
    pauses = [[chance.uniform(0, 2e-4) for _ in range(40)] for _ in taken]

    def work(ticket: int) -> None:
        for number, pause in enumerate(pauses[ticket]):
            try:
                with turns.of(ticket):
                    inside.append(ticket)
                    if len(inside) > 1:
                        crowded.append(ticket)
                    taken[ticket] += 1
                    inside.remove(ticket)
                    if number % 7 == 0:
                        raise ValueError("a pass that fails")
            except ValueError:
                pass
            time.sleep(pause)
        turns.done(ticket)

    end([in_thread(work, ticket) for ticket in range(len(taken))])
    assert crowded == []
    assert taken == [40] * len(taken)
    assert turns.waiting == 0


def test_whoever_goes_first_is_the_lowest_of_those_who_wait() -> None:
    """Every hand-over of a crowd is checked against a list of who was waiting at that moment."""
    turns = Turns(patience_s=0)
    wrong: list[tuple[int, list[int]]] = []

    def work(ticket: int) -> None:
        for _ in range(50):
            with turns.of(ticket):
                # Nobody can overtake the holder: those who wait now with a lower ticket came later
                # than the hand-over, so they must be the next ones.
                with turns._changed:
                    lowest = min((t for t, _ in turns._waiting), default=None)
                following.append(lowest)
                owners.append(ticket)

    owners: list[int] = []
    following: list[int | None] = []
    end([in_thread(work, ticket) for ticket in range(8)])
    for lowest, owner in zip(following, owners[1:], strict=False):
        # Between the look and the hand-over an even lower one may have come, never a higher one.
        if lowest is not None and owner > lowest:
            wrong.append((owner, [lowest]))
    assert wrong == []
    assert len(owners) == 400
