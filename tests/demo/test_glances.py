"""Glances: the same for everybody, and what a resized frame shows."""

from __future__ import annotations

import numpy as np

from demo.architecture import IMAGE_SIZE
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


def test_acts_are_where_their_patches_say() -> None:
    """Where a patch is marked, the picture differs from the same place without the act."""
    clips = [n for n in range(60) if draw_clip(0, n, "training").kind.name in ("wait", "fight")]
    glances = draw_glances(0, clips, "training")
    for number in range(0, len(glances.pictures), PER_STORY):
        kinds = glances.patches.kinds[number]
        assert (kinds != NOBODY).any()
        assert (kinds == NOBODY).sum() > 18
