"""A contact sheet of the world: `python -m demo.sheet FILE.png`."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw

from demo.acts import KINDS, Kind
from demo.canvas import HEIGHT, WIDTH
from demo.clips import Clip, draw_clip

SHOWN = (1, 3, 6)
"""Which of a clip's keyframes."""
COLUMNS = 3
LINE = 16
"""Pixels of the caption above a clip."""


def clip_of(kind: Kind, seed: int) -> Clip:
    """The first held-out clip of a seed that shows a kind."""
    number = 0
    while (clip := draw_clip(seed, number, "held out")).kind != kind:
        number += 1
    return clip


def contact_sheet(seed: int) -> Image.Image:
    """A clip of every kind, COLUMNS beside each other, three keyframes of each."""
    rows = -(-len(KINDS) // COLUMNS)
    wide, high = len(SHOWN) * WIDTH, HEIGHT + LINE
    sheet = Image.new("RGB", (COLUMNS * wide, rows * high), "white")
    pen = ImageDraw.Draw(sheet)
    for place, kind in enumerate(KINDS):
        clip = clip_of(kind, seed)
        left, top = place % COLUMNS * wide, place // COLUMNS * high
        said = f"{kind.group}, subtlety {clip.story.acts[0].level}: {clip.caption}"
        pen.text((left + 3, top + 2), said, fill="black")
        pictures = clip.pictures()
        strip = np.concatenate([pictures[number] for number in SHOWN], axis=1)
        sheet.paste(Image.fromarray(strip), (left, top + LINE))
    return sheet


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--seed", default=0, show_default=True)
def main(file: Path, seed: int) -> None:
    """Draw a held-out clip of every kind of act into one picture."""
    contact_sheet(seed).save(file)
    click.echo(f"{len(KINDS)} kinds of acts -> {file}")


if __name__ == "__main__":
    main()
