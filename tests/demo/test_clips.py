"""Clips: the same for everybody, with their truth, and nothing held out among the training ones."""

from __future__ import annotations

from collections import Counter

import numpy as np

from demo.acts import KINDS
from demo.clips import KEYFRAMES, SCENES_BEFORE, SEGMENT, draw_clip


def test_a_clip_is_the_same_whoever_draws_it() -> None:
    once = draw_clip(7, 41, "training")
    draw_clip(7, 40, "training").pictures()
    again = draw_clip(7, 41, "training")
    assert once == again
    assert all(map(np.array_equal, once.pictures(), again.pictures()))
    assert draw_clip(7, 42, "training") != once
    assert draw_clip(8, 41, "training") != once


def test_scenes_and_clothes_of_training_are_never_held_out_ones() -> None:
    for number in range(300):
        trained, kept = draw_clip(0, number, "training"), draw_clip(0, number, "held out")
        assert trained.story.scene_seed < SCENES_BEFORE <= kept.story.scene_seed
        assert (trained.story.palette, kept.story.palette) == ("training", "held out")


def test_keyframes_lie_in_the_act_and_most_clips_are_a_segment() -> None:
    spans = []
    for number in range(300):
        clip = draw_clip(0, number, "training")
        assert len(clip.frames) == KEYFRAMES
        assert clip.frames[0] >= 0
        assert clip.frames[-1] < clip.story.n_frames
        assert list(clip.frames) == sorted(clip.frames)
        spans.append(clip.frames[-1] - clip.frames[0])
    segments = sum(span == SEGMENT - 3 for span in spans)
    assert 0.55 < segments / len(spans) < 0.8


def test_every_kind_is_drawn_and_the_answers_follow_from_it() -> None:
    clips = [draw_clip(0, number, "training") for number in range(1500)]
    counts = Counter(clip.kind.name for clip in clips)
    assert set(counts) == {kind.name for kind in KINDS}
    assert min(counts.values()) > 15
    for clip in clips:
        assert clip.abnormal == (clip.kind.group == "anomalous") == bool(clip.story.intervals)
        assert clip.caption.startswith(clip.kind.told)
    assert 0.4 < np.mean([clip.abnormal for clip in clips]) < 0.5
