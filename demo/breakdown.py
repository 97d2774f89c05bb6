"""How the scores of a run stand to what really happens: by look-alikes, by subtlety, by kind.

The labels of a data set say anomalous or not. The synthetic world knows more: which ordinary acts
resemble an anomalous one, and how subtle each act is. This tells the figures apart by that.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo.cast import LEVELS

Spans = Sequence[tuple[int, int]]
"""(first frame, one past the last) of intervals."""


@dataclass(frozen=True, slots=True)
class Acted:
    """One act of a test video, and what a run made of its frames."""

    kind: str
    group: str
    """normal, look-alike or anomalous."""
    level: int
    scores: NDArray[np.float64]
    """Of its frames."""
    alarmed: float
    """Share of its frames within detected intervals."""

    @property
    def alarm(self) -> bool:
        """Whether half of it or more is called anomalous."""
        return self.alarmed >= 0.5


def read_acts(
    path: Path, scores: Mapping[str, NDArray[np.float64]], intervals: Mapping[str, Spans]
) -> list[Acted]:
    """The acts of acts.csv in the videos of `scores`: a score for each frame, by the video's path."""
    found = []
    alarms = {
        video: _mask(intervals.get(video, ()), len(values)) for video, values in scores.items()
    }
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["video"] not in scores:
                continue
            frames = slice(int(row["start_frame"]), int(row["end_frame"]))
            found.append(
                Acted(
                    row["kind"],
                    row["group"],
                    int(row["level"]),
                    scores[row["video"]][frames],
                    float(alarms[row["video"]][frames].mean()),
                )
            )
    return found


def _mask(spans: Spans, length: int) -> NDArray[np.bool_]:
    mask = np.zeros(length, dtype=bool)
    for start, end in spans:
        mask[start:end] = True
    return mask


def auc(anomalous: Sequence[Acted], others: Sequence[Acted]) -> float:
    """Frame-level ROC AUC of some acts against others; NaN where one side is empty."""
    if not anomalous or not others:
        return float("nan")
    from sklearn.metrics import roc_auc_score

    sides = [np.concatenate([act.scores for act in side]) for side in (others, anomalous)]
    labels = np.repeat((0, 1), [len(side) for side in sides])
    return float(roc_auc_score(labels, np.concatenate(sides)))


def breakdown(acts: Sequence[Acted]) -> dict[str, float]:
    """AUC of anomalous frames against ordinary ones, against look-alikes, and of each subtlety."""
    anomalous, alike, ordinary = (
        _of(acts, group) for group in ("anomalous", "look-alike", "normal")
    )
    found = {
        "against ordinary acts": auc(anomalous, ordinary),
        "against look-alikes": auc(anomalous, alike),
    }
    for level in LEVELS:
        mine = [act for act in anomalous if act.level == level]
        found[f"subtlety {level}, against all"] = auc(mine, [*alike, *ordinary])
    return found


def _of(acts: Sequence[Acted], group: str) -> list[Acted]:
    return [act for act in acts if act.group == group]


def breakdown_text(acts: Sequence[Acted]) -> str:
    """The figures as a person reads them."""
    lines = ["AUC of the anomalous frames of the test videos"]
    lines += [f"  {name:26s} {100 * value:5.1f}" for name, value in breakdown(acts).items()]
    lines.append("acts of which half or more is in a detected interval")
    for group in ("anomalous", "look-alike", "normal"):
        mine = _of(acts, group)
        told = [f"{kind} {sum(a.alarm for a in some)}/{len(some)}" for kind, some in _by_kind(mine)]
        name = {"anomalous": "anomalous", "look-alike": "look-alikes", "normal": "ordinary"}[group]
        lines.append(f"  {name:12s} {sum(a.alarm for a in mine)} of {len(mine)}: {', '.join(told)}")
    return "\n".join(lines)


def _by_kind(acts: Sequence[Acted]) -> list[tuple[str, list[Acted]]]:
    return [(kind, [a for a in acts if a.kind == kind]) for kind in sorted({a.kind for a in acts})]
