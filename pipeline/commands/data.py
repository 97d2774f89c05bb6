"""`hiprobe init ...`: what a data set is, before anything runs on it."""

from __future__ import annotations

import click


@click.group()
def init() -> None:
    """Print a commented configuration for a kind of data set."""


@init.command("folder")
@click.option("--videos", required=True, help="Folder of the videos.")
@click.option("--labels", default="", help="CSV: video,split,label,class,start_frame,end_frame.")
@click.option("--backbone", default="", help="Folder or hub id of the multimodal LLM.")
@click.option("--scorer", default="", help="Folder of a fitted scorer of another run.")
@click.option("--name", default="", help="Name of the run (default: the name of the file).")
def init_folder(videos: str, labels: str, backbone: str, scorer: str, name: str) -> None:
    """A folder of videos of one's own: `hiprobe init folder --videos DIR > run.toml`."""
    from pipeline.initial import folder_config

    click.echo(folder_config(videos, labels, backbone, scorer, name))
