"""`hiprobe cache verify` and `hiprobe cache repair`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.commands.options import DAMAGED, JSON, OK, STORE, print_value, store_of

FULL = click.option("--full", is_flag=True, help="Read every byte again and compare the digests.")


@click.command("verify")
@STORE
@FULL
@JSON
def cache_verify(store: Path, full: bool, as_json: bool) -> None:
    """Check that every artifact is what its record says; exit code 5 where one is not."""
    from pipeline.verification import verify_store, verify_text

    value = verify_store(store_of(store), full=full, repair=False)
    print_value(value, verify_text, as_json)
    sys.exit(DAMAGED if value["findings"] else OK)


@click.command("repair")
@STORE
@FULL
@JSON
def cache_repair(store: Path, full: bool, as_json: bool) -> None:
    """Set aside every artifact that is damaged; the next run makes just these again."""
    from pipeline.verification import verify_store, verify_text

    print_value(verify_store(store_of(store), full=full, repair=True), verify_text, as_json)
