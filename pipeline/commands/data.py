"""`hiprobe init ...` and `hiprobe check`: what a data set is, before anything runs on it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import CONFIG, JSON, OK, SET, USAGE, print_value

_VIDEOS = click.option("--videos", required=True, help="Folder of the videos.")
_COUNTS = click.option(
    "--frame-counts",
    multiple=True,
    metavar="FILE",
    help="List of frame counts; several can be given.",
)
_BESIDE = (
    click.option("--backbone", default="", help="Folder or hub id of the multimodal LLM."),
    click.option("--scorer", default="", help="Folder of a fitted scorer of another run."),
    click.option("--name", default="", help="Name of the run (default: the name of the file)."),
)
_LISTS = (
    click.option(
        "--annotations", required=True, metavar="FILE", help="Published temporal annotations."
    ),
    click.option(
        "--splits",
        multiple=True,
        metavar="FILE",
        help="List of the videos of a split; its content says which. Several can be given.",
    ),
    click.option("--train-list", default="", metavar="FILE", help="List of the training videos."),
    click.option("--test-list", default="", metavar="FILE", help="List of the test videos."),
)


def _options(*options: Any) -> Callable[[Any], Any]:
    """Several options, in the order in which help shows them."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def init() -> None:
    """Print a commented configuration for a kind of data set."""


@init.command("folder", short_help="A folder of videos of your own, with a CSV of labels.")
@_VIDEOS
@click.option("--labels", default="", help="CSV: video,split,label,class,start_frame,end_frame.")
@_options(_COUNTS, *_BESIDE)
def init_folder(
    videos: str,
    labels: str,
    frame_counts: tuple[str, ...],
    backbone: str,
    scorer: str,
    name: str,
) -> None:
    """A folder of videos of one's own: `hiprobe init folder --videos DIR > run.toml`."""
    from pipeline.initial import Beside, folder_config

    click.echo(folder_config(videos, labels, frame_counts, Beside(backbone, scorer, name)))


@init.command("ucf-crime", short_help="UCF-Crime, with its annotations and split lists.")
@_options(_VIDEOS, *_LISTS, _COUNTS, *_BESIDE)
def init_ucf_crime(**given: Any) -> None:
    """UCF-Crime: class folders anywhere below DIR, and the published annotations.

    Without a list of the training videos, these are the other files of the class folders.
    """
    _published("ucf-crime", given)


@init.command("xd-violence", short_help="XD-Violence, with its annotations and test list.")
@_options(_VIDEOS, *_LISTS, _COUNTS, *_BESIDE)
def init_xd_violence(**given: Any) -> None:
    """XD-Violence: the videos anywhere below DIR, and the published annotations.

    The annotations leave out normal videos: a list of the test videos says which are, or a folder
    with test in its name.
    """
    _published("xd-violence", given)


@init.command("msad", short_help="MSAD, with the annotations of its test set.")
@_options(_VIDEOS, *_LISTS, _COUNTS, *_BESIDE)
def init_msad(**given: Any) -> None:
    """MSAD: the videos anywhere below DIR, and the published annotations of its test set."""
    _published("msad", given)


def _published(kind: str, given: dict[str, Any]) -> None:
    from pipeline.initial import Beside, published_config

    beside = Beside(*(given.pop(name) for name in ("backbone", "scorer", "name")))
    click.echo(published_config(kind, beside=beside, **given))


@click.command(short_help="Compare the videos with their lists.")
@CONFIG
@SET
@JSON
def check(config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Compare the videos with their lists: what is missing, left over, contradictory.

    Exit code 2 where `hiprobe run` would refuse to begin.
    """
    from pipeline.check import check_text, check_value
    from pipeline.config import load_config

    value = check_value(load_config(config, overrides))
    print_value(value, check_text, as_json)
    sys.exit(USAGE if value["refused"] else OK)
