"""How a run was made, as rows of a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

ORDER = (
    "index", "decode", "sample", "forward", "statistics", "heads", "select", "fit", "forward_selected",
    "score", "threshold", "localize", "explain", "evaluate", "report",
)  # fmt: skip
"""How stages are ordered for a reader; one that is not named here follows after them."""
BEFORE_THE_FIT = ("index", "decode", "sample", "forward", "moments")
"""Stages whose failure keeps a probing video out of the fit."""
LABELS = {
    "video": "video-level labels: every segment of an anomalous probing video counts as anomalous",
    "frame": "frame-level labels: of an anomalous probing video, only the segments of whose frames half "
    "or more lie in annotated intervals count as anomalous",
}
WHOLE = "video-level labels: every probing video is one sample, seen through keyframes of all of it"
"""The same where sample.unit is "video"."""


def labels_of(run: Mapping[str, Any]) -> str:
    """What the probe was fitted on, in a sentence."""
    if run.get("unit") == "video":
        return WHOLE
    kind = str(run.get("labels", ""))
    return LABELS.get(kind, f"labels: {kind or 'not recorded'}")


def sections_of(run: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(stage, [(field, value as text)]) for every stage that has a recipe, in the order of work."""
    sections = run.get("sections", {})
    known = [stage for stage in ORDER if stage in sections]
    return [
        (stage, [(name, text_of(sections[stage][name])) for name in sorted(sections[stage])])
        for stage in (*known, *sorted(set(sections) - set(known)))
        if sections[stage]
    ]


def flatten(record: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """A nested record as (dotted name, text), in the order of its names."""
    rows: list[tuple[str, str]] = []
    for name in sorted(record):
        value = record[name]
        if isinstance(value, Mapping) and value:
            rows += flatten(value, f"{before}{name}.")
        else:
            rows.append((f"{before}{name}", text_of(value)))
    return rows


def text_of(value: Any) -> str:
    """A JSON value for people: texts as they are, everything else as JSON."""
    if isinstance(value, str):
        return value or "(empty)"
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return ", ".join(_inner_text(inner) for inner in value) or "(none)"
    return json.dumps(value)


def _inner_text(value: Any) -> str:
    """A value in a list; a list in a list, such as a [layer, head] pair, keeps its brackets."""
    return json.dumps(value) if isinstance(value, (list, tuple)) else text_of(value)


def split_counts(videos: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[int]]]:
    """(split, [normal, anomalous, without a label]) for every split that occurs."""
    counts: dict[str, list[int]] = {}
    for video in videos:
        row = counts.setdefault(video["split"] or "none", [0, 0, 0])
        row[2 if video["label"] is None else int(video["label"])] += 1
    known = [split for split in ("train", "test") if split in counts]
    return [(split, counts[split]) for split in (*known, *sorted(set(counts) - set(known)))]


def probing_of(
    videos: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The probing videos that the probe was fitted on, and those that failed before it."""
    lost = {row["video_id"] for row in failed if row["stage"] in BEFORE_THE_FIT}
    probing = [video for video in videos if video.get("subset") == "probing"]
    return (
        [video for video in probing if video["video_id"] not in lost],
        [video for video in probing if video["video_id"] in lost],
    )
