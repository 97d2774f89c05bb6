"""Single small pictures of the world: what vision is trained on before it sees whole clips.

They are painted at the size that the backbone reads, which costs a fraction of a video's frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from demo.architecture import IMAGE_SIZE
from demo.canvas import HEIGHT, WIDTH, Drawing
from demo.clips import Split, draw_clip, scene_seed_of
from demo.patches import Patches, patches_of, stack
from demo.scenes import Scene, build_scene
from demo.story import render
from stages.backbones.pictures import resize_pillow

SCENES = 300
"""Scenes of each kind; few enough to be drawn once."""
PER_STORY = 2
_ACROSS, _DOWN = IMAGE_SIZE / WIDTH, IMAGE_SIZE / HEIGHT
_MEAN = (_ACROSS * _DOWN) ** 0.5
_STROKES = np.array((_ACROSS, _DOWN, _ACROSS, _DOWN, _MEAN, 1, 1, 1, 1, 1), dtype=np.float32)
_GLOWS = np.array((_ACROSS, _DOWN, _MEAN, 1, 1, 1), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Glances:
    """Some pictures and the targets of their patches."""

    pictures: NDArray[np.uint8]
    """[glances, IMAGE_SIZE, IMAGE_SIZE, 3]"""
    patches: Patches


def draw_glances(seed: int, numbers: Sequence[int], split: Split) -> Glances:
    """Draw PER_STORY glances of each clip with one of these numbers."""
    drawn = [_glance(seed, number, split, turn) for number in numbers for turn in range(PER_STORY)]
    return Glances(np.stack([picture for picture, _ in drawn]), stack([p for _, p in drawn]))


def _glance(seed: int, number: int, split: Split, turn: int) -> tuple[NDArray[np.uint8], Patches]:
    clip = draw_clip(seed, number, split)
    rng = np.random.default_rng([seed, number, turn, 17])
    story = clip.story
    scene = _small(story.scene_kind, scene_seed_of(split, story.scene_seed % SCENES))
    act = story.acts[0]
    frame = int(rng.integers(story.n_frames))
    drawn = act.drawn(act.cast(scene, story.palette, story.fps), frame / story.fps)
    small = [Drawing(d.depth, d.strokes * _STROKES, d.glows * _GLOWS) for d in drawn]
    light = replace(story.light, grain=story.light.grain * _MEAN)
    return render(scene, small, light, frame, story.fps), patches_of(drawn, clip.kind)


@lru_cache(maxsize=6 * SCENES)
def _small(kind: str, seed: int) -> Scene:
    scene = build_scene(kind, seed)
    seen = np.clip(scene.background, 0, 255).astype(np.uint8)
    background = resize_pillow(seen, IMAGE_SIZE, IMAGE_SIZE).astype(np.float32)
    return replace(scene, background=background)
