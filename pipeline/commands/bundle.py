"""`hiprobe cache export` and `check-bundle`: a folder for a colleague who has neither videos nor model."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from pipeline.commands.options import CONFIG, DAMAGED, JSON, OK, SET, print_value, world_of


@click.command("export")
@CONFIG
@click.option("--layers", default="", metavar="N,N", help="Layers; the chosen one if left out.")
@click.option("--heads", default="", metavar="L.H,L.H", help="Attention heads, layer.head.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new folder."
)
@SET
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def cache_export(
    config: Path,
    layers: str,
    heads: str,
    out: Path,
    overrides: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Write some layers of a run's hidden states, and all around them, into one folder.

    It opens with plain zarr and pandas, and `hiprobe run --from-bundle` goes on from it: to fit,
    score and evaluate without torch, videos or model.
    """
    from dataclasses import asdict

    from pipeline.bundles.description import wanted_of
    from pipeline.bundles.export import Wanted, export, require_ready
    from pipeline.plan import plan_all
    from pipeline.progress import Progress
    from pipeline.task import Outcome

    numbers, pairs = numbers_of(layers), pairs_of(heads)
    world, store = world_of(config, overrides)
    plans = plan_all(world)
    require_ready(world, plans, out)
    wanted = Wanted(*wanted_of(numbers, pairs, world, plans, store))
    progress = Progress(quiet=quiet)
    progress.start("export", {v.video_id: float(v.bytes) for v in world.videos or ()})
    done = export(
        world, plans, store, wanted, out, lambda video: progress.update(Outcome(video, "built"))
    )
    progress.finish()
    print_value(asdict(done), lambda value: done.text(), as_json)


@click.command("check-bundle")
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@JSON
def cache_check_bundle(bundle: Path, as_json: bool) -> None:
    """Read every byte of a bundle and compare it with SHA256SUMS. Exit code 5 where one differs."""
    from pipeline.bundles.checking import check_text, check_value

    value = check_value(bundle)
    print_value(value, check_text, as_json)
    sys.exit(DAMAGED if value["damaged"] else OK)


def numbers_of(text: str) -> tuple[int, ...]:
    """Numbers of layers, increasing; raises click.BadParameter for anything else."""
    if text and not re.fullmatch(r"\d+(,\d+)*", text, re.ASCII):
        raise click.BadParameter(
            f"{text!r}: give numbers such as 20 or 20,21", param_hint="--layers"
        )
    return tuple(sorted({int(number) for number in text.split(",") if number}))


def pairs_of(text: str) -> tuple[tuple[int, int], ...]:
    """(layer, head) pairs, increasing; raises click.BadParameter for anything else."""
    if text and not re.fullmatch(r"\d+\.\d+(,\d+\.\d+)*", text, re.ASCII):
        raise click.BadParameter(
            f"{text!r}: give layer.head, such as 3.1 or 3.1,4.0", param_hint="--heads"
        )
    pairs = {tuple(map(int, pair.split("."))) for pair in text.split(",") if pair}
    return tuple(sorted((layer, head) for layer, head in pairs))
