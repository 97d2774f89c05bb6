"""`hiprobe cache ...`: what a store holds. Its other commands lie beside this file."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.bundle import cache_check_bundle, cache_export
from pipeline.commands.checking import cache_repair, cache_verify
from pipeline.commands.options import JSON, STORE, print_value, store_of
from pipeline.commands.sharing import cache_pull, cache_push
from pipeline.commands.space import (
    cache_evict,
    cache_forget,
    cache_gc,
    cache_pin,
    cache_roots,
    cache_unpin,
)


@click.group("cache")
def cache_group() -> None:
    """Look after a store. STORE is its folder, or the configuration of a run that uses it."""


@cache_group.command("ls")
@STORE
@click.option("--stage", default="", help="Only this stage.")
@JSON
def cache_ls(store: Path, stage: str, as_json: bool) -> None:
    """List the artifacts of a store."""
    from pipeline.storage import list_artifacts, list_text

    print_value(list_artifacts(store_of(store), stage), list_text, as_json)


@cache_group.command("du")
@STORE
@click.option("--by", type=click.Choice(["stage", "run", "age"]), default="stage")
@JSON
def cache_du(store: Path, by: str, as_json: bool) -> None:
    """Say how many artifacts and bytes each stage holds; also each run, or by age."""
    from pipeline.storage import disk_usage, usage_text

    print_value(disk_usage(store_of(store), by), usage_text, as_json)


cache_group.add_command(cache_verify)
cache_group.add_command(cache_repair)
cache_group.add_command(cache_evict)
cache_group.add_command(cache_gc)
cache_group.add_command(cache_roots)
cache_group.add_command(cache_pin)
cache_group.add_command(cache_unpin)
cache_group.add_command(cache_forget)
cache_group.add_command(cache_export)
cache_group.add_command(cache_push)
cache_group.add_command(cache_pull)
cache_group.add_command(cache_check_bundle)
