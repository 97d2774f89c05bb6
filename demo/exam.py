"""What the backbone knows of clips that it never saw: asked through the path of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from demo.clips import Clip, Split, draw_clip
from demo.language import ASK, DESCRIBE, event_of
from stages.backbones.contract import Backbone, Picture, Prompt, Wanted
from stages.backbones.identity import identify
from stages.backbones.load import load
from stages.backbones.reference import BackboneReference

BATCH = 8


@dataclass(frozen=True, slots=True)
class Answered:
    """One clip, and what the backbone said about it."""

    kind: str
    group: str
    """normal, look-alike or anomalous."""
    level: int
    yes: float
    """Probability of yes, of yes and no."""
    said: str
    """Its description."""
    truth: str
    """The right caption."""

    @property
    def right(self) -> bool:
        """Whether yes and no were told apart."""
        return (self.yes > 0.5) == (self.group == "anomalous")

    @property
    def named(self) -> bool:
        """Whether the description names what happens."""
        return event_of(self.said) == self.kind


def backbone_in(folder: Path, device: str = "cpu") -> Backbone:
    """Load a checkpoint folder as the pipeline does."""
    model = str(folder.resolve())
    digest = identify(model, "", "auto", "sdpa", {})
    return load(BackboneReference(model, "", "auto", "sdpa", device, digest))


def examine(
    backbone: Backbone, seed: int, count: int, split: Split, pool: Executor
) -> list[Answered]:
    """Ask about `count` clips of a seed."""
    answered: list[Answered] = []
    drawn = pool.map(
        _drawn, *zip(*((seed, n, split) for n in range(count)), strict=True), chunksize=4
    )
    for batch in _batches(drawn):
        answered += _ask(backbone, batch)
    return answered


def _drawn(seed: int, number: int, split: Split) -> tuple[Clip, list[Picture]]:
    clip = draw_clip(seed, number, split)
    return clip, clip.pictures()


def _batches(
    drawn: Iterator[tuple[Clip, list[Picture]]],
) -> Iterator[list[tuple[Clip, list[Picture]]]]:
    batch = []
    for item in drawn:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _ask(backbone: Backbone, batch: Sequence[tuple[Clip, list[Picture]]]) -> list[Answered]:
    times = [[frame / clip.story.fps for frame in clip.frames] for clip, _ in batch]
    asked, told = ([Prompt("", question, "")] for question in (ASK[0], DESCRIBE[0]))
    items = list(zip(batch, times, strict=True))
    prepared = [backbone.prepare(pictures, when, asked) for (_, pictures), when in items]
    chances = backbone.forward(prepared, Wanted((), yes_no=True)).yes_no[:, 0].tolist()
    prepared = [backbone.prepare(pictures, when, told) for (_, pictures), when in items]
    texts = backbone.explain(prepared, 0, 40)
    return [
        Answered(
            clip.kind.name,
            clip.kind.group,
            clip.story.acts[0].level,
            yes / (yes + no),
            text.text,
            clip.caption,
        )
        for (clip, _), (yes, no), text in zip(batch, chances, texts, strict=True)
    ]
