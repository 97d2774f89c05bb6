"""Short stories for the tests of the world."""

from __future__ import annotations

from demo.light import Light
from demo.story import Act, Story

PLAIN = Light("day", "clear", (0.0, 10.0, 0.0), (0.0, 0.0), 3.0)


def story_of(*kinds: str, scene: str = "street", frames: int = 40, level: int = 1) -> Story:
    """Acts of equal length, one after another, with one cast."""
    acts = tuple(
        Act(kind, number * frames, (number + 1) * frames, seed=5, level=level)
        for number, kind in enumerate(kinds)
    )
    return Story(scene, 3, PLAIN, acts, fps=25, palette="held out")
