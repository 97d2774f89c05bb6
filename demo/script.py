"""Stories of whole videos: ordinary acts, and between them those that the video is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demo.acts import BY_NAME, KINDS
from demo.cast import LEVELS
from demo.light import draw_light
from demo.looks import Palette
from demo.scenes import PHRASES
from demo.story import Act, Story

_TWO = ("talk", "hug", "fight", "shooting", "photo")
"""Kinds whose two people are seen to come and to go."""
_FILLERS = ("walk", "stroll", "wait", "talk", "drive", "cycle", "empty")


def scenes_of(features: Sequence[str]) -> list[str]:
    """The kinds of scenes where all of these acts can happen."""
    return [scene for scene in PHRASES if all(scene in BY_NAME[name].scenes for name in features)]


def draw_story(
    rng: np.random.Generator,
    scene_kind: str,
    scene_seed: int,
    palette: Palette,
    features: Sequence[tuple[str, int]],
) -> Story:
    """Draw a story of 10 to 60 seconds around `features`: (kind, level) in their order."""
    fps = int(rng.choice((25, 30)))
    parts: list[tuple[str, float, int, int]] = [_filler(rng, scene_kind)]
    for kind, level in features:
        parts += _scene_of_act(rng, kind, level)
        parts.append(_filler(rng, scene_kind))
    while sum(seconds for _, seconds, _, _ in parts) < 10.5:
        parts.append(_filler(rng, scene_kind))
    acts, frame = [], 0
    for kind, seconds, seed, level in parts:
        acts.append(Act(kind, frame, frame + round(seconds * fps), seed, level))
        frame = acts[-1].end
    light = draw_light(rng, indoors=scene_kind == "shop")
    return Story(scene_kind, scene_seed, light, tuple(acts), fps, palette)


def _scene_of_act(
    rng: np.random.Generator, kind: str, level: int
) -> list[tuple[str, float, int, int]]:
    """An act, and how its people come and go."""
    seed = int(rng.integers(2**31))
    shortest, longest = BY_NAME[kind].seconds
    act = (kind, float(rng.uniform(shortest, min(longest, 5.0))), seed, level)
    if kind not in _TWO:
        return [act]
    talk = ("talk", float(rng.uniform(1.2, 2.2)), seed, level)
    come, go = ("arrive", 1.6, seed, level), ("leave", 1.6, seed, level)
    if kind == "shooting":  # whoever was hit does not walk away
        return [come, talk, act]
    return [come, act, go] if kind == "talk" else [come, talk, act, go]


def _filler(rng: np.random.Generator, scene_kind: str) -> tuple[str, float, int, int]:
    """Something ordinary for a few seconds."""
    names = [n for n in _FILLERS if scene_kind in BY_NAME[n].scenes]
    kind = str(rng.choice(names))
    level = int(rng.choice(LEVELS))
    return kind, float(rng.uniform(1.6, 3.2)), int(rng.integers(2**31)), level


ANOMALOUS = tuple(kind.name for kind in KINDS if kind.group == "anomalous")
LOOK_ALIKES = {kind.resembles: kind.name for kind in KINDS if kind.group == "look-alike"}
"""The look-alike of each anomalous kind."""
