"""`python -m tests.faults --hours N`: attack the store for as long as there is time.

Prints a table of the faults that were tried and survived; exit code 1 at the first that was not,
with the seed that brings it about again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

# Before anything imports torch: processes are forked off this one.
os.environ["OMP_NUM_THREADS"] = "1"

from tests.faults.kinds import KINDS
from tests.faults.soak import soak


@click.command()
@click.option("--hours", default=0.0, help="How long to go on.")
@click.option("--minutes", default=0.0, help="The same in minutes.")
@click.option("--rounds", default=1, show_default=True, help="Rounds of each kind at least.")
@click.option("--seed", default=0, show_default=True, help="Seed of the first round.")
@click.option("--kinds", default="", help=f"Some of {', '.join(KINDS)}; all by default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(hours: float, minutes: float, rounds: int, seed: int, kinds: str, as_json: bool) -> None:
    """Attack the store, round after round."""
    chosen = [name for name in kinds.split(",") if name] or list(KINDS)
    if unknown := sorted(set(chosen) - set(KINDS)):
        raise click.UsageError(f"--kinds: {', '.join(unknown)}: the kinds are {', '.join(KINDS)}")
    scratch = Path(tempfile.mkdtemp(prefix="hiprobe-faults-"))
    done = soak(
        chosen,
        scratch,
        seed=seed,
        seconds=3600 * hours + 60 * minutes,
        rounds=rounds,
        say=lambda text: click.echo(text, err=True),
    )
    click.echo(json.dumps(done.value(), indent=2) if as_json else done.text())
    if not done.broken:
        shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(1 if done.broken else 0)


if __name__ == "__main__":
    main()
