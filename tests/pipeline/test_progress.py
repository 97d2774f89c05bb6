"""The progress line: what a person reads while a stage runs."""

from __future__ import annotations

import io
import threading
import time

import pytest

from pipeline import progress
from pipeline.progress import Progress, clock, size
from pipeline.task import Outcome


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_finished_stage_is_one_plain_line_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    line = Progress(stream)
    line.start("forward", {"a": 3.0, "b": 1.0})
    line.update(Outcome("a", "built", seconds={"read": 0.2, "forward": 0.4, "write": 0.01}))
    line.update(Outcome("b", "failed"))
    line.finish()
    said = stream.getvalue()
    assert said.count("\n") == 1
    assert said.startswith("forward    2/2")
    assert "1 failed" in said
    assert "read 100 | forward 200 | write 5 ms" in said


def test_the_remaining_time_is_weighted_by_the_size_of_the_videos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = Terminal()
    line = Progress(stream)
    line.start("decode", {"long": 90.0, "short": 10.0})
    now[0] = 18.0
    line.update(Outcome("long", "built"))
    assert stream.getvalue().endswith("ETA 2 s")  # 18 s for 90 % of the bytes


def test_no_remaining_time_is_made_up_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = Terminal()
    line = Progress(stream)
    line.start("decode", {f"v{n}": 1.0 for n in range(1000)})
    now[0] = 5.0
    line.item("v3", 1, 1000)
    assert "ETA" not in stream.getvalue()


def test_what_several_items_have_done_counts_by_their_sizes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = Terminal()
    line = Progress(stream)
    line.start("forward", {"a": 60.0, "b": 20.0, "c": 20.0})
    now[0] = 30.0
    line.item("a", 1, 4)
    line.item("b", 3, 4)
    now[0] = 31.0
    line.item("a", 2, 4)
    assert stream.getvalue().endswith("ETA 38 s")  # 31 s for 30 + 15 of 100
    now[0] = 50.0
    line.update(Outcome("b", "built"))
    assert stream.getvalue().endswith("ETA 50 s")  # 50 s for 30 + 20: nothing counts twice
    now[0] = 60.0
    line.update(Outcome("a", "failed"))
    assert "forward    2/3" in stream.getvalue().splitlines()[-1]
    assert stream.getvalue().endswith("ETA 15 s  1 failed")  # 60 s for 60 + 20


def test_lines_of_several_threads_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TTY_S", 0.0)
    stream = Terminal()
    line = Progress(stream)
    items = [f"v{n}" for n in range(8)]
    line.start("forward", dict.fromkeys(items, 1.0))

    def work(item: str) -> None:
        for done in range(50):
            line.item(item, done, 50)
        line.update(Outcome(item, "built"))

    threads = [threading.Thread(target=work, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    line.finish()
    said = stream.getvalue().split("\r\x1b[2K")
    assert all(not text or text.startswith("forward    ") for text in said)
    assert said[-1].startswith("forward    8/8")


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    line = Progress(stream, quiet=True)
    line.start("decode", {"a": 1.0})
    line.say("text")
    line.finish()
    assert stream.getvalue() == ""


def test_seconds_and_bytes_as_a_person_writes_them() -> None:
    assert [clock(s) for s in (0.44, 12, 185, 7800)] == ["0.4 s", "12 s", "3:05", "2:10:00"]
    assert [size(b) for b in (7, 1500, 2.5e9, 3e12)] == ["7 B", "1.5 kB", "2.5 GB", "3.0 TB"]
