"""`hiprobe cache push` and `hiprobe cache pull`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import DAMAGED, JSON, OK, STORE, print_value, store_of

Command = Callable[..., None]


def _moving(command: Command) -> Command:
    """The arguments and options that both commands have."""
    for option in reversed(
        [
            STORE,
            click.argument("url"),
            click.option("--run", default="", metavar="NAME", help="What this run or pin reaches."),
            click.option("--stage", "stages", multiple=True, help="A stage; can be repeated."),
            click.option("--select", default="", metavar="GLOB", help="Videos whose id matches."),
            click.option("--id", "key", default="", metavar="PREFIX", help="Keys that begin so."),
            click.option("--jobs", default=8, show_default=True, type=click.IntRange(1, 256)),
            click.option("--dry-run", is_flag=True, help="Only say what would be moved."),
            click.option(
                "--option",
                "options",
                multiple=True,
                metavar="NAME=VALUE",
                help="An option of the file system, such as endpoint_url=http://host:9000.",
            ),
            JSON,
        ]
    ):
        command = option(command)
    return command


@click.command("push")
@_moving
@click.option("--check", is_flag=True, help="Read everything back, also what was there.")
def cache_push(
    store: Path, url: str, options: tuple[str, ...], as_json: bool, **wanted: Any
) -> None:
    """Send artifacts to another store: a folder, or a URL such as s3://bucket/store.

    What is there is skipped, what is damaged here is refused (exit code 5). With --run the run goes
    along, so that others can pull it by its name.
    """
    _move("push", store, url, options, as_json, wanted)


@click.command("pull")
@_moving
def cache_pull(
    store: Path, url: str, options: tuple[str, ...], as_json: bool, **wanted: Any
) -> None:
    """Fetch artifacts from another store: a folder, or a URL such as s3://bucket/store.

    STORE is made where it is a missing or empty folder. What is there is skipped; what is damaged
    there is refused and named (exit code 5), and the rest is fetched.
    """
    _move("pull", store, url, options, as_json, wanted)


def _move(
    what: str,
    store: Path,
    url: str,
    options: tuple[str, ...],
    as_json: bool,
    wanted: dict[str, Any],
) -> None:
    from cache.address import Address, parse_options
    from pipeline.progress import Progress
    from pipeline.sharing import Wanted, pull, push, sharing_text

    address = Address(url, parse_options(options))
    progress = Progress(quiet=as_json or not sys.stderr.isatty())
    if what == "push":
        value = push(store_of(store), address, Wanted(**wanted), progress)
    else:
        value = pull(_target(store, wanted["dry_run"]), address, Wanted(**wanted), progress)
    print_value(value, sharing_text, as_json)
    sys.exit(DAMAGED if value["damaged"] else OK)


def _target(path: Path, dry_run: bool) -> Any:
    """The store that is pulled into: it need not be there yet, and a dry run does not make it."""
    from cache.errors import ConfigError
    from cache.layout import MARK
    from cache.store import Store
    from pipeline.config import load_config
    from pipeline.stores import open_store

    try:
        if path.suffix == ".toml":
            settings = load_config(path)
            there = not dry_run or (settings.store / MARK).exists()
            return open_store(settings) if there else Store(settings.store, settings.shared)
        return Store(path) if dry_run and not path.exists() else Store.open(path)
    except PermissionError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
