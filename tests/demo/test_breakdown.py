"""The breakdown by what really happens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demo.breakdown import breakdown, breakdown_text, read_acts

ACTS = """video,split,start_frame,end_frame,kind,group,level,caption
a.mp4,test,0,4,walk,normal,1,A person walks.
a.mp4,test,4,8,fight,anomalous,1,Two people fight.
a.mp4,test,8,10,hug,look-alike,2,Two people hug.
b.mp4,train,0,9,walk,normal,1,A person walks.
c.mp4,test,0,4,fall,anomalous,3,A person falls.
"""


def test_every_group_and_subtlety_has_its_figure(tmp_path: Path) -> None:
    (tmp_path / "acts.csv").write_text(ACTS)
    scores = {
        "a.mp4": np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.5]),
        "c.mp4": np.array([0.4, 0.4, 0.65, 0.65]),
    }
    acts = read_acts(tmp_path / "acts.csv", scores, {"a.mp4": [(3, 7)], "c.mp4": [(3, 4)]})
    assert [(act.kind, act.alarm) for act in acts] == [
        ("walk", False), ("fight", True), ("hug", False), ("fall", False),
    ]  # fmt: skip
    assert [act.alarmed for act in acts] == [0.25, 0.75, 0.0, 0.25]
    found = breakdown(acts)
    # Counted by hand: pairs in which the anomalous frame has the higher score.
    assert found["against ordinary acts"] == (4 * 4 + 2 * 3 + 2 * 4) / 32
    assert found["against look-alikes"] == (4 * 1 + 2 * 0 + 2 * 1) / 16
    assert found["subtlety 1, against all"] == (4 * 4 + 4 * 1) / 24
    assert np.isnan(found["subtlety 2, against all"])
    assert found["subtlety 3, against all"] == pytest.approx((2 * 3 + 2 * 4 + 2 * 1) / 24)
    text = breakdown_text(acts)
    assert "anomalous    1 of 2: fall 0/1, fight 1/1" in text
    assert "look-alikes  0 of 1: hug 0/1" in text
