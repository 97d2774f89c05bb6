"""Glances: the same for everybody, and what a resized frame shows."""

from __future__ import annotations

import numpy as np

from demo.architecture import IMAGE_SIZE, PATCHES
from demo.clips import draw_clip
from demo.glances import PER_STORY, draw_glances
from demo.patches import NOBODY


def test_glances_are_the_same_whoever_draws_them() -> None:
    once = draw_glances(3, (5, 6), "training")
    draw_glances(3, (7,), "training")
    again = draw_glances(3, (6,), "training")
    assert once.pictures.shape == (2 * PER_STORY, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert np.array_equal(once.pictures[PER_STORY:], again.pictures)
    assert np.array_equal(once.patches.kinds[PER_STORY:], again.patches.kinds)
    assert not np.array_equal(once.pictures[0], once.pictures[PER_STORY])


def test_what_moves_is_where_the_patches_are_marked() -> None:
    """Between two glances of one story pictures differ most in the patches that show the act."""
    moving = ("walk", "stroll", "drive", "jog", "panic", "cycle")
    clips = [n for n in range(120) if draw_clip(0, n, "training").kind.name in moving]
    glances = draw_glances(0, clips, "training")
    inside, outside = [], []
    for one in range(0, len(glances.pictures), PER_STORY):
        first, second = glances.pictures[one : one + 2].astype(np.float64)
        size = IMAGE_SIZE // PATCHES
        split = np.abs(first - second).reshape(PATCHES, size, PATCHES, size, 3)
        differs = split.mean(axis=(1, 3, 4)).reshape(-1)
        marked = (glances.patches.kinds[one : one + 2] != NOBODY).any(axis=0)
        assert 0 < marked.sum() < marked.size
        inside.append(differs[marked].mean())
        outside.append(differs[~marked].mean())
    assert len(inside) > 15
    assert np.mean(np.array(inside) > np.array(outside)) > 0.9
