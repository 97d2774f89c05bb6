"""What the commands share: options, exit codes, and how they print and end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

OK, USAGE, SOME_FAILED, WORK_FOUND, DAMAGED = 0, 2, 3, 4, 5
STOPPED, INTERRUPTED = 1, 130

CONFIG = click.argument("config", type=click.Path(path_type=Path))
CONFIG_OF_RUN = click.argument("config", required=False, type=click.Path(path_type=Path))
BUNDLE = click.option(
    "--from-bundle",
    "bundle",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Start from a bundle (`cache export`); CONFIG can then be left out.",
)
STORE = click.argument("store", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
SET = click.option(
    "--set", "overrides", multiple=True, metavar="A.B=C", help="Override a field for this call."
)


def settings_of(config: Path | None, bundle: Path | None, overrides: tuple[str, ...]) -> Any:
    """The configuration that CONFIG and --from-bundle mean together."""
    from pipeline.config import load_config

    if bundle is not None:
        from pipeline.bundles.configuration import config_from

        return config_from(bundle, config, overrides)
    if config is None:
        raise click.UsageError("Missing argument 'CONFIG' (or give --from-bundle DIR).")
    return load_config(config, overrides)


def world_of(
    config: Path | None, overrides: tuple[str, ...], bundle: Path | None = None
) -> tuple[Any, Any]:
    """The world of a configuration as planning sees it, and its store."""
    from pipeline.gather import Choices, gather
    from pipeline.stores import open_store
    from pipeline.values import check_features

    settings = settings_of(config, bundle, overrides)
    store = open_store(settings)
    world = gather(settings, store, Choices())
    check_features(world)
    return world, store


def store_of(path: Path) -> Any:
    """The store that is meant: its folder, or the configuration of a run that uses it.

    Nothing is made or changed: a folder that is no store is refused (NotAStore), a missing
    configuration, too (ConfigError). With a configuration come the shared stores under it.
    """
    from cache.layout import check_format
    from cache.store import Store
    from pipeline.config import load_config

    if path.is_dir():
        check_format(path)
        return Store(path)
    settings = load_config(path)
    for root in (settings.store, *settings.shared):
        check_format(root)
    return Store(settings.store, settings.shared)


def print_value(value: Any, text: Callable[[Any], str], as_json: bool) -> None:
    """Print a value as JSON, or as the text that is made of it."""
    click.echo(json.dumps(value, indent=2) if as_json else text(value))


def fail(message: str, code: int) -> NoReturn:
    """End with a message and an exit code."""
    click.echo(f"hiprobe: {message}", err=True)
    sys.exit(code)
