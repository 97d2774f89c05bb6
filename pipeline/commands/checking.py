"""`hiprobe cache verify` and `hiprobe cache repair`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import DAMAGED, JSON, OK, STORE, print_value, store_of

OPTIONS = (
    click.option("--full", is_flag=True, help="Read every byte again and compare the digests."),
    click.option(
        "--for", "during", default="", metavar="10m",
        help="Read in full for so long, what was not read for the longest time first.",
    ),
    click.option("--stage", "stages", multiple=True, help="Only this stage; can be repeated."),
    click.option("--run", default="", metavar="NAME", help="Only what this run or pin reaches."),
    click.option("--id", "key", default="", metavar="PREFIX", help="Only the key that begins so."),
    click.option("--shared", is_flag=True, help="Also the stores that lie under it."),
    click.option(
        "--threads", default=2, show_default=True, type=click.IntRange(1),
        help="Large artifacts that are read side by side.",
    ),
    JSON,
)  # fmt: skip


def _selecting(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(OPTIONS):
        command = option(command)
    return STORE(command)


@click.command("verify")
@_selecting
def cache_verify(store: Path, **chosen: Any) -> None:
    """Check that every artifact is what its record says; exit code 5 where one is not.

    With the configuration of a run as STORE, its results are checked, too.
    """
    value = _looked(store, repair=False, **chosen)
    sys.exit(DAMAGED if value["findings"] or value["files"] else OK)


@click.command("repair")
@_selecting
def cache_repair(store: Path, **chosen: Any) -> None:
    """Set aside what is damaged; the next run makes just that again.

    Exit code 5 where something damaged could not be set aside.
    """
    value = _looked(store, repair=True, **chosen)
    left = [found for found in (*value["findings"], *value["files"]) if not found["set_aside"]]
    sys.exit(DAMAGED if left else OK)


def _looked(
    store: Path,
    *,
    repair: bool,
    full: bool,
    during: str,
    stages: tuple[str, ...],
    run: str,
    key: str,
    shared: bool,
    threads: int,
    as_json: bool,
) -> dict[str, Any]:
    from pipeline.config import load_config
    from pipeline.durations import seconds_of
    from pipeline.progress import Progress
    from pipeline.verification import Extent, verify_store
    from pipeline.verification_text import verify_text

    seconds = seconds_of(during, "--for") if during else 0.0
    extent = Extent(full or bool(during), seconds, stages, run, key, shared, threads)
    results = None if store.is_dir() else load_config(store).results
    progress = Progress() if sys.stderr.isatty() else None
    value = verify_store(store_of(store), extent, repair=repair, results=results, progress=progress)
    print_value(value, verify_text, as_json)
    return value
