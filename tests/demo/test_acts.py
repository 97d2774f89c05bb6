"""Every kind of act: that it can be told apart in words, and that it is seen where it happens."""

from __future__ import annotations

import numpy as np
import pytest

from demo.acts import KINDS, Kind
from demo.language import event_of
from demo.light import TIMES
from demo.scenes import PHRASES
from tests.demo.stories import story_of

VISIBLE = [kind for kind in KINDS if kind.name != "empty"]


def test_there_are_ten_anomalous_kinds_and_a_look_alike_for_each() -> None:
    anomalous = [kind.name for kind in KINDS if kind.group == "anomalous"]
    alike = [kind.resembles for kind in KINDS if kind.group == "look-alike"]
    assert len(anomalous) == 10
    assert sorted(alike) == sorted(anomalous)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_caption_names_its_kind_and_no_other(kind: Kind) -> None:
    for place in PHRASES.values():
        for _, time in TIMES.values():
            assert event_of(f"{kind.told} {place} {time} in rain. This is abnormal.") == kind.name


@pytest.mark.parametrize("kind", VISIBLE, ids=lambda kind: kind.name)
@pytest.mark.parametrize("level", [1, 3])
def test_it_is_seen_in_every_scene_where_it_can_happen(kind: Kind, level: int) -> None:
    for scene in kind.scenes:
        acted = story_of(kind.name, scene=scene, level=level)
        bare = story_of("empty", scene=scene, level=level)
        changed = [
            np.abs(acted.frame(n).astype(int) - bare.frame(n)).max(axis=2) > 24
            for n in range(4, 40, 6)
        ]
        # A segment's worth of frames: something of it is in each of them or, for light that
        # flashes, in some.
        shares = [seen.mean() for seen in changed]
        assert max(shares) > 0.002, (scene, shares)


@pytest.mark.parametrize("kind", VISIBLE, ids=lambda kind: kind.name)
def test_it_moves_unless_it_is_somebody_who_stays(kind: Kind) -> None:
    story = story_of(kind.name, scene=kind.scenes[0])
    still = story_of("empty", scene=kind.scenes[0])
    moved = max(
        np.abs(
            (story.frame(n).astype(int) - still.frame(n))
            - (story.frame(n + 12).astype(int) - still.frame(n + 12))
        ).max()
        for n in (2, 14)
    )
    assert moved > 24
