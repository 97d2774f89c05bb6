"""The progress line: what a person reads while a stage runs."""

from __future__ import annotations

import io

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
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = Terminal()
    line = Progress(stream)
    line.start("decode", {"long": 90.0, "short": 10.0})
    now[0] = 18.0
    line.update(Outcome("long", "built"))
    assert stream.getvalue().endswith("ETA 2 s")  # 18 s for 90 % of the bytes


def test_no_remaining_time_is_made_up_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = Terminal()
    line = Progress(stream)
    line.start("decode", {f"v{n}": 1.0 for n in range(1000)})
    now[0] = 5.0
    line.item(1, 1000)
    assert "ETA" not in stream.getvalue()


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
