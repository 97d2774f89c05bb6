"""The kinds of faults that a soak goes through, by name."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from tests.faults.nursery import Child, Report


@dataclass(slots=True)
class Tally:
    """What one round of a kind of fault came to."""

    tried: int = 0
    """Faults that were brought about."""
    survived: int = 0
    """Those after which everything that must hold did."""
    figures: Counter[str] = field(default_factory=Counter)
    """What else was counted: where the faults fell, what was done twice."""

    def add(self, other: Tally) -> None:
        """Take in another round."""
        self.tried += other.tried
        self.survived += other.survived
        self.figures.update(other.figures)


Round = Callable[[random.Random, Path], Tally]
"""One round: what it draws comes from the generator alone, its files lie in the folder, which is
empty at first. Raises, or counts fewer survived than tried, where something was not survived."""


LONGEST_S = 3600.0
"""Seconds that a round in a process of its own may take."""


def _later(module: str, name: str) -> Round:
    """A round that is imported when it is called: most need what others do not."""

    def call(rng: random.Random, folder: Path) -> Tally:
        found: Round = getattr(import_module(f"tests.faults.{module}"), name)
        return found(rng, folder)

    return call


def apart(kind: Round) -> Round:
    """A round in a process of its own: it runs what starts threads, and others fork off this one."""

    def call(rng: random.Random, folder: Path) -> Tally:
        def tell(report: Report) -> None:
            tally = kind(rng, folder)
            report("tally", [tally.tried, tally.survived, dict(tally.figures)])

        child = Child(tell)
        code = child.wait(LONGEST_S)
        said = dict(child.reports())
        assert code == 0, said.get("error", f"exit code {code}")
        tried, survived, figures = said["tally"]
        return Tally(tried, survived, Counter(figures))

    return call


KINDS: dict[str, Round] = {
    "killed": _later("killed", "kill_runs"),
    "publish": apart(_later("broken_publish", "break_operations")),
    "full-disk": _later("full_disks", "fill_disks"),
    "full-disk-workers": _later("full_disks", "fill_workers"),
    "racing": _later("racing", "race_publishes"),
    "racing-runs": _later("racing", "race_runs"),
    "stopped": _later("racing", "stop_holders"),
    "flips": apart(_later("flips", "flip_bits")),
    "mangled": apart(_later("mangles", "mangle_files")),
    "killed-gc": apart(_later("collecting", "kill_collections")),
    "killed-evict": apart(_later("collecting", "kill_evictions")),
    "racing-gc": apart(_later("collecting", "race_collections")),
    "racing-evict": apart(_later("collecting", "read_while_evicted")),
}
"""Every kind of fault; add a kind here and the soak has it."""
