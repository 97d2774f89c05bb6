"""`hiprobe cache ...`: look at a store and check it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.commands.options import DAMAGED, JSON, OK, print_value


@click.group("cache")
def cache_group() -> None:
    """Look at a store and check it. STORE is its folder."""


@cache_group.command("ls")
@click.argument("store", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--stage", default="", help="Only this stage.")
@JSON
def cache_ls(store: Path, stage: str, as_json: bool) -> None:
    """List the artifacts of a store."""
    from pipeline.storage import list_artifacts, list_text

    print_value(list_artifacts(store, stage), list_text, as_json)


@cache_group.command("du")
@click.argument("store", type=click.Path(path_type=Path, exists=True, file_okay=False))
@JSON
def cache_du(store: Path, as_json: bool) -> None:
    """Say how many artifacts and bytes each stage holds."""
    from pipeline.storage import disk_usage, usage_text

    print_value(disk_usage(store), usage_text, as_json)


@cache_group.command("verify")
@click.argument("store", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--full", is_flag=True, help="Read every byte again and compare the digests.")
@JSON
def cache_verify(store: Path, full: bool, as_json: bool) -> None:
    """Check that every artifact is what its record says; exit code 5 where one is not."""
    from pipeline.storage import verify_store, verify_text

    value = verify_store(store, full=full, repair=False)
    print_value(value, verify_text, as_json)
    sys.exit(DAMAGED if value["findings"] else OK)


@cache_group.command("repair")
@click.argument("store", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--full", is_flag=True, help="Read every byte again and compare the digests.")
@JSON
def cache_repair(store: Path, full: bool, as_json: bool) -> None:
    """Set aside every artifact that is damaged; the next run makes just these again."""
    from pipeline.storage import verify_store, verify_text

    print_value(verify_store(store, full=full, repair=True), verify_text, as_json)
