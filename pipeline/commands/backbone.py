"""`hiprobe backbone ...`: look at a multimodal LLM before it is used."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.commands.options import CONFIG, JSON, OK, SET, STOPPED, print_value


@click.group()
def backbone() -> None:
    """Look at a multimodal LLM before it is used."""


@backbone.command("check")
@click.argument("model", metavar="REF")
@click.option("--revision", default="", help="Commit, tag or branch on the hub.")
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto"
)
@click.option("--attention", type=click.Choice(["sdpa", "eager"]), default="sdpa")
@click.option("--device", default="auto", help="cpu, cuda, cuda:0, ...")
@click.option("--keyframes", type=click.IntRange(1), default=8, show_default=True)
@click.option("--size", "pixels", default="320x240", show_default=True, help="Of the video.")
@JSON
def backbone_check(
    model: str,
    revision: str,
    dtype: str,
    attention: str,
    device: str,
    keyframes: int,
    pixels: str,
    as_json: bool,
) -> None:
    """Describe a checkpoint (a folder or a hub id), say what a segment costs, and run two."""
    from pipeline import backbones
    from stages.backbones.reference import BackboneReference
    from stages.sample import Settings

    frames = backbones.frames_of(Settings(keyframes=keyframes), pixels, backbones.FPS)
    folder = backbones.find_checkpoint(model, revision, lambda text: click.echo(text, err=True))
    reference = BackboneReference(model, revision, dtype, attention, device, "")
    value = backbones.describe(reference, folder, frames)
    if not as_json:
        click.echo(backbones.describe_text(value))
    tried = backbones.try_checkpoint(reference, frames, value)
    print_value({**value, "trial": tried}, lambda v: backbones.try_text(v["trial"]), as_json)
    sys.exit(STOPPED if tried["problems"] else OK)


@backbone.command("prompt")
@CONFIG
@SET
@click.option("--size", "pixels", default="320x240", show_default=True, help="Of the video.")
@click.option("--fps", default=30.0, show_default=True, help="Frames per second of the video.")
@JSON
def backbone_prompt(
    config: Path, overrides: tuple[str, ...], pixels: str, fps: float, as_json: bool
) -> None:
    """Print every prompt as the model gets it; no weights are loaded."""
    from pipeline.backbones import prompt_text, prompt_value
    from pipeline.config import load_config

    value = prompt_value(load_config(config, overrides), pixels, fps)
    print_value(value, prompt_text, as_json)
