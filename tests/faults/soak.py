"""A soak: round after round of every kind of fault, until the time is over or one is not survived."""

from __future__ import annotations

import random
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.kinds import KINDS, Tally


@dataclass
class Soak:
    """What a soak came to."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    seconds: float = 0.0
    rounds: int = 0
    broken: str = ""
    """What was not survived, and how to bring it about again; empty where all was."""

    def value(self) -> dict[str, Any]:
        """The soak as JSON."""
        return {
            "faults": {
                name: {"tried": t.tried, "survived": t.survived, "figures": dict(t.figures)}
                for name, t in self.tallies.items()
            },
            "seconds": round(self.seconds, 1),
            "rounds": self.rounds,
            "broken": self.broken,
        }

    def text(self) -> str:
        """The table of faults."""
        lines = [f"{'fault':<14} {'tried':>8} {'survived':>8}"]
        for name, tally in self.tallies.items():
            lines.append(f"{name:<14} {tally.tried:>8,} {tally.survived:>8,}")
            counts = [f"{what} {n:,}" for what, n in sorted(tally.figures.items())]
            lines += [f"    {part}" for part in _wrapped(counts)]
        lines.append(f"{self.rounds} rounds in {self.seconds:.0f} s")
        return "\n".join([*lines, self.broken] if self.broken else lines)


def soak(
    kinds: Sequence[str],
    scratch: Path,
    *,
    seed: int,
    seconds: float = 0.0,
    rounds: int = 1,
    say: Callable[[str], None] = lambda text: None,
    known: Mapping[str, Callable[[random.Random, Path], Tally]] = KINDS,
) -> Soak:
    """Go through the kinds, at least `rounds` times each and until `seconds` are over.

    Round r draws from the seed `seed + r`, so that `--seed <that> --rounds 1` brings it about again.
    Ends at the first fault that is not survived.
    """
    done, began = Soak({name: Tally() for name in kinds}), time.monotonic()
    while not done.broken and (done.rounds < rounds or done.seconds < seconds):
        for name in kinds:
            this = seed + done.rounds
            folder = scratch / f"{name}-{this}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            done.broken = _go(known[name], name, this, folder, done.tallies[name])
            done.seconds = time.monotonic() - began
            if done.broken:
                break
            shutil.rmtree(folder, ignore_errors=True)
            say(f"{name}, seed {this}: {done.tallies[name].survived:,} survived")
            if done.rounds >= rounds and done.seconds > seconds:
                break
        done.rounds += 1
    return done


def _go(
    kind: Callable[[random.Random, Path], Tally], name: str, seed: int, folder: Path, tally: Tally
) -> str:
    """One round; what was not survived, or nothing."""
    again = f"again: python -m tests.faults --kinds {name} --rounds 1 --seed {seed}"
    try:
        found = kind(random.Random(f"{name} {seed}"), folder)
    except Exception:
        tally.tried += 1
        return (
            f"{traceback.format_exc()}\n{name} was not survived; {folder} is left as it is\n{again}"
        )
    tally.add(found)
    if found.survived < found.tried:
        return f"{name}: {found.tried - found.survived} not survived; {folder} is left\n{again}"
    return ""


def _wrapped(words: Sequence[str], width: int = 100) -> list[str]:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f"{', ' if lines[-1] else ''}{word}"
    return [line for line in lines if line]
