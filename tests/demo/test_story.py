"""Stories: a frame is a function of its number, and an act is where its interval says."""

from __future__ import annotations

import numpy as np

from tests.demo.stories import story_of


def test_a_frame_does_not_depend_on_those_drawn_before() -> None:
    one, two = story_of("walk", "fight"), story_of("walk", "fight")
    forward = [one.frame(n) for n in range(30, 50)]
    backward = [two.frame(n) for n in reversed(range(30, 50))]
    assert all(np.array_equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))


def test_an_anomaly_is_seen_in_exactly_the_frames_of_its_interval() -> None:
    acted = story_of("empty", "fight", "empty")
    bare = story_of("empty", "empty", "empty")
    ((start, end, kind),) = acted.intervals
    assert kind == "fight"
    seen = [n for n in range(120) if not np.array_equal(acted.frame(n), bare.frame(n))]
    assert seen == list(range(start, end)) == list(range(40, 80))


def test_a_caption_tells_what_fills_most_of_the_frames() -> None:
    story = story_of("walk", "fight")
    assert story.caption(20, 60) == "A person walks in a street by day."
    assert story.caption(21, 61) == "Two people fight in a street by day."
    assert story.caption(20, 62) == "Two people fight in a street by day."


def test_those_who_come_and_go_are_told_as_people_who_walk() -> None:
    assert story_of("arrive").caption(0, 40).startswith("People walk ")


def test_acts_of_one_seed_have_one_cast() -> None:
    story = story_of("talk", "fight")
    talk, fight = story._casts.values()
    assert talk.people == fight.people
    assert (talk.x, talk.y) == (fight.x, fight.y)


def test_only_those_who_act_are_said_to() -> None:
    story = story_of("walk", "empty")
    assert len(story.played(0)) == 1
    assert story.played(40) == []
