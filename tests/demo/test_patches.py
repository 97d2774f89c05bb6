"""Targets of patches: the act is marked where it is, and its parts inside."""

from __future__ import annotations

import numpy as np

from demo.acts import BY_NAME, KINDS
from demo.architecture import PATCHES
from demo.canvas import CAR, HEAD, LEG, PARTS, Drawing, disc, part, stroke, strokes
from demo.clips import KEYFRAMES, Clip, draw_clip
from demo.examples import show
from demo.language import ASK, DESCRIBE
from demo.patches import NOBODY, SUBDIVISIONS, patches_of


def _clip(kind: str) -> Clip:
    clips = (draw_clip(0, number, "training") for number in range(300))
    return next(clip for clip in clips if clip.kind.name == kind)


def test_patches_that_show_the_act_are_marked_with_its_kind() -> None:
    clip = _clip("fight")
    kinds = show(clip, (DESCRIBE[0], ASK[0])).patches.kinds.reshape(KEYFRAMES, PATCHES, PATCHES)
    assert set(np.unique(kinds)) == {NOBODY, KINDS.index(BY_NAME["fight"])}
    for marked, number in zip(kinds, clip.frames, strict=True):
        x = np.concatenate([d.strokes[:, 0] for d in clip.story.played(number)]).mean()
        y = np.concatenate([d.strokes[:, 1] for d in clip.story.played(number)]).mean()
        assert marked[int(y / 180 * PATCHES), int(x / 240 * PATCHES)] != NOBODY
        assert (marked != NOBODY).sum() <= 12


def test_parts_are_in_the_cells_that_they_cross() -> None:
    rows = [
        *part(HEAD, [disc(1, 1, 1, (0, 0, 0))]),
        *part(LEG, [stroke((5, 179), (235, 179), 1, (0, 0, 0))]),
    ]
    found = patches_of([Drawing(0.0, strokes(rows))], BY_NAME["walk"])
    parts = found.parts.reshape(PATCHES, PATCHES, SUBDIVISIONS, SUBDIVISIONS, PARTS)
    assert parts[0, 0, 0, 0, HEAD] == 1
    assert parts[..., HEAD].sum() == 1
    assert parts[-1, :, -1, :, LEG].sum() == 7  # as many as points are looked at
    assert parts[..., LEG].sum() == 7
    assert not parts[..., CAR].any()
    walk = KINDS.index(BY_NAME["walk"])
    assert (found.kinds.reshape(PATCHES, PATCHES)[-1] == walk).all()
    assert (found.kinds == walk).sum() == PATCHES + 1


def test_what_is_outside_of_the_picture_marks_nothing() -> None:
    rows = [disc(-1, 20, 1, (0, 0, 0)), disc(20, 180, 1, (0, 0, 0)), disc(240, 1, 1, (0, 0, 0))]
    found = patches_of([Drawing(0.0, strokes(rows))], BY_NAME["walk"])
    assert (found.kinds == NOBODY).all()
    assert not found.parts.any()
