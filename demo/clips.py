"""Single clips of the world: what the backbone is trained on, and asked about.

Clip `number` of a seed is always the same clip, whoever draws it and in whatever order: training
stops and goes on without a file of examples.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.acts import KINDS, PASSAGES, Group, Kind
from demo.cast import LEVELS
from demo.light import draw_light
from demo.looks import Palette
from demo.story import Act, Story
from stages.video.sampling import place_keyframes

KEYFRAMES = 8
SEGMENT = 24
"""Frames that a clip spans at least: those of a segment of the pipeline."""
Split = Literal["training", "held out"]
SCENES_BEFORE = 100_000
"""Seeds of scenes: training takes lower ones, everything held out takes this and higher."""
SHARES: dict[Group, float] = {"anomalous": 0.45, "look-alike": 0.28, "normal": 0.27}
"""How often each group is drawn."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Some frames of a story, and the truth about them."""

    story: Story
    frames: tuple[int, ...]
    """Numbers of the keyframes."""
    quality: int
    """Of the compression: 40 to 80 of JPEG's 100."""

    @property
    def kind(self) -> Kind:
        """What happens."""
        return self.story.acts[0].told_as

    @property
    def caption(self) -> str:
        """What is to be seen."""
        return self.story.caption(self.frames[0], self.frames[-1] + 1)

    @property
    def abnormal(self) -> bool:
        """Whether a guard would want to be told."""
        return self.kind.group == "anomalous"

    def pictures(self) -> list[NDArray[np.uint8]]:
        """The keyframes as a camera's decoder gives them, uint8 [HEIGHT, WIDTH, 3]."""
        return [_compressed(self.story.frame(number), self.quality) for number in self.frames]


def draw_clip(seed: int, number: int, split: Split) -> Clip:
    """Clip `number` of a seed: one act in one scene."""
    rng = np.random.default_rng([seed, number, split == "training"])
    group: Group = rng.choice(list(SHARES), p=list(SHARES.values()))
    kinds = [kind for kind in KINDS if kind.group == group]
    return _clip(rng, kinds[int(rng.integers(len(kinds)))], split)


def scene_seed_of(split: Split, number: int) -> int:
    """Seed of scene `number`, below SCENES_BEFORE, of a split."""
    return number if split == "training" else SCENES_BEFORE + number


def _clip(rng: np.random.Generator, kind: Kind, split: Split) -> Clip:
    scene_kind = kind.scenes[int(rng.integers(len(kind.scenes)))]
    fps = int(rng.choice((25, 30)))
    # Half the clips are a segment of the pipeline; the others span as much as an interval that is
    # to be explained, and their keyframes lie farther apart.
    long = rng.random() < 0.35
    seconds = float(rng.uniform(*kind.seconds))
    n_frames = round(seconds * fps)
    span = int(rng.integers(SEGMENT, n_frames + 1)) if long else SEGMENT
    start = int(rng.integers(0, n_frames - span + 1))
    name = kind.name
    if name == "stroll" and rng.random() < 0.3:
        name = str(rng.choice(list(PASSAGES)))
    level = int(rng.choice(LEVELS))
    act = Act(name, 0, n_frames, int(rng.integers(2**31)), level)
    palette: Palette = split
    story = Story(
        scene_kind,
        scene_seed_of(split, int(rng.integers(SCENES_BEFORE))),
        draw_light(rng, indoors=scene_kind == "shop"),
        (act,),
        fps,
        palette,
    )
    places = place_keyframes(span, KEYFRAMES, "midpoints")
    frames = tuple(start + place for place in places)
    return Clip(story, frames, quality=int(rng.integers(40, 81)))


def _compressed(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What is left of a picture after a lossy codec: JPEG stands for H.264 here."""
    held = io.BytesIO()
    Image.fromarray(picture).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held))
