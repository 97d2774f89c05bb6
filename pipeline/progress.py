"""Progress that a person can follow: one line per running stage, plain lines into a file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from typing import TextIO

from pipeline.task import Outcome

SOURCES = "source files"
"""The one item of the line that is shown while source files are digested."""
TTY_S = 0.2
PLAIN_S = 10.0
"""Seconds between two lines on a terminal, and where there is none."""
TOLD = 0.005
"""Share of the work from which on a remaining time means something."""


class Progress:
    """The line of one stage at a time; safe in any thread."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._tty = self._stream.isatty()
        self._stage = ""
        self._last = 0.0
        self._lock = threading.RLock()

    def start(self, stage: str, weights: Mapping[str, float]) -> None:
        """Begin a stage; `weights` (bytes or frames by item) make the ETA honest."""
        with self._lock:
            self._stage, self._weights = stage, dict(weights)
            self._total, self._done, self._failed = len(weights), 0, 0
            self._work, self._finished = sum(weights.values()) or 1.0, 0.0
            self._running: dict[str, float] = {}
            self._seconds: dict[str, float] = {}
            self._began = time.monotonic()
            self._last = 0.0 if self._tty else self._began
            self._draw()

    def item(self, item: str, done: float, total: float) -> None:
        """How far an item that is being worked on is; several may be at once."""
        with self._lock:
            self._running[item] = done / total if total else 0.0
            self._draw()

    def update(self, outcome: Outcome) -> None:
        """Take note of a finished item."""
        with self._lock:
            self._done += 1
            self._failed += outcome.status in ("failed", "stopped")
            self._finished += self._weights.get(outcome.item, 0.0)
            self._running.pop(outcome.item, None)
            for phase, value in outcome.seconds.items():
                self._seconds[phase] = self._seconds.get(phase, 0.0) + value
            self._draw()

    def finish(self) -> None:
        """End the stage's line."""
        with self._lock:
            if not self._quiet:
                self._write(self._line(), end="\n")

    def say(self, text: str) -> None:
        """Print a line of its own."""
        with self._lock:
            if not self._quiet:
                self._write(text, end="\n")

    def _draw(self) -> None:
        now = time.monotonic()
        if not self._quiet and now - self._last >= (TTY_S if self._tty else PLAIN_S):
            self._last = now
            self._write(self._line(), end="" if self._tty else "\n")

    def _line(self) -> str:
        elapsed = time.monotonic() - self._began
        rate = self._done / elapsed if elapsed else 0.0
        parts = [f"{self._stage:<10} {self._done}/{self._total}", f"{rate:.1f} items/s"]
        share = self._share()
        if self._done < self._total and share > TOLD:
            parts.append(f"ETA {clock(elapsed * (1 - share) / share)}")
        else:
            parts.append(clock(elapsed))
        if self._failed:
            parts.append(f"{self._failed} failed")
        phases = [p for p in ("read", "forward", "write") if p in self._seconds]
        if phases and self._done:
            mean = " | ".join(f"{p} {1000 * self._seconds[p] / self._done:.0f}" for p in phases)
            parts.append(f"{mean} ms")
        return "  ".join(parts)

    def _share(self) -> float:
        if self._done == self._total:
            return 1.0
        running = sum(part * self._weights.get(item, 0.0) for item, part in self._running.items())
        return min((self._finished + running) / self._work, 1.0)

    def _write(self, text: str, *, end: str) -> None:
        lead = "\r\x1b[2K" if self._tty else ""
        self._stream.write(f"{lead}{text}{end}")
        self._stream.flush()


class DigestLine:
    """The progress of digesting source files, as a stage of its own."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._started = False

    def __call__(self, done: float, total: float) -> None:
        """So many bytes of so many are digested."""
        if not self._started:
            self._progress.start("digest", {SOURCES: total})
            self._started = True
        self._progress.item(SOURCES, done, total)
        if done >= total:
            self._progress.update(Outcome(SOURCES, "built"))
            self._progress.finish()


def clock(seconds: float) -> str:
    """Seconds as a person writes them: 0.4 s, 12 s, 3:05, 2:10:00."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float) -> str:
    """Bytes as a person writes them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
