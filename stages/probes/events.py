"""Detected intervals against annotated ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.probes.frames import Detection, Range
from stages.probes.metrics import Bools
from stages.probes.spans import Floats


def overlap(a: Range, b: Range) -> float:
    """Temporal intersection over union of two half-open intervals."""
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared)


def matched(detected: Sequence[Range], annotated: Sequence[Range], tiou: float) -> int:
    """Pairs that are matched one to one, the highest overlap first, each at least `tiou`.

    Of equal overlaps the earlier detection, then the earlier annotation, goes first.
    """
    pairs = sorted(
        (-overlap(d, a), i, j)
        for i, d in enumerate(detected)
        for j, a in enumerate(annotated)
        if overlap(d, a) >= tiou and overlap(d, a) > 0
    )
    taken: set[int] = set()
    used: set[int] = set()
    for _, i, j in pairs:
        if i not in taken and j not in used:
            taken.add(i)
            used.add(j)
    return len(taken)


def hits_of(detected: Sequence[Detection], annotated: Sequence[Range], tiou: float) -> Bools:
    """Whether each detection of one video is a hit, [detected], going down their scores.

    A detection hits the annotation that it overlaps most among those that are not taken yet, if by
    `tiou` or more; so a second detection of one event is none. Of equal scores the earlier
    detection goes first, of equal overlaps the earlier annotation.
    """
    hits = np.zeros(len(detected), dtype=np.bool_)
    left = sorted(annotated)
    for i in sorted(range(len(detected)), key=lambda i: (-detected[i].score, detected[i].span)):
        best = max(left, key=lambda a: overlap(detected[i].span, a), default=None)
        if best is not None and overlap(detected[i].span, best) >= tiou:
            left.remove(best)
            hits[i] = True
    return hits


def detection_ap(scores: Floats, hits: Bools, annotated: int) -> float | None:
    """Average precision of ranked detections [n]: the AP of mAP@tIoU, without interpolation.

    The sum of precision times the step in recall over the distinct scores, so that the order of
    equal scores does not matter; recall is out of all `annotated` intervals, and what no detection
    reaches adds nothing. (The evaluation code of ActivityNet takes, at every recall, the highest
    precision from there on, which is never less.) None where nothing is annotated.
    """
    if annotated == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, true = scores[order], np.cumsum(hits[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)])
    precision = true[ends] / (ends + 1)
    return float((precision * np.diff(true[ends], prepend=0)).sum()) / annotated
