"""What the figures of a run rest on, and what they leave out, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]

VIEWS = {
    "exact": "exact: an annotation s e is the frames s to e - 1",
    "inclusive": "inclusive: an annotation s e is the frames s to e",
    "floor16": "floor16: an annotation s e is the frames s to e - 1, and only the first "
    "16 * (n // 16) frames of a video are evaluated",
}
"""How annotations were read."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that a reader of the figures must know."""

    text: str
    """One sentence, without its full stop."""
    items: tuple[str, ...]
    """The videos that it is about, each with its numbers."""
    alarm: bool
    """Whether test videos are left out: the figures are of another test set then."""


def view_of(metrics: Record) -> str:
    """How the annotations were read; empty where the metrics do not say."""
    name = str(metrics.get("labels", ""))
    return VIEWS.get(name, name)


def remarks_of(metrics: Record) -> list[Remark]:
    """What is to be said of the videos and frames behind metrics.json, the gravest first."""
    absent = metrics.get("absent", {})
    groups = (
        (
            metrics.get("missing", {}),
            "{} {has} no scores in the file and {is} not in these figures"
            if "scores" in metrics
            else "{} failed and {is} not in these figures",
            "test video",
            True,
        ),
        (
            absent.get("test", {}),
            "{} that the lists name {is} not there, and so not in these figures",
            "test video",
            True,
        ),
        (absent.get("train", {}), "{} that the lists name {is} not there", "training video", False),
    )
    found = [
        Remark(_sentence(text, group["count"], noun), tuple(group["videos"]), alarm)
        for group, text, noun, alarm in groups
        if group.get("count")
    ]
    return found + _of_scores(metrics.get("scores", {})) + _of_frames(metrics)


def _of_scores(scores: Record) -> list[Remark]:
    """What `evaluate-scores` left out of a file of scores; nothing for the figures of a run."""
    found = []
    if scores.get("short"):
        text = "{} {has} no score for the last frames, which are not in these figures"
        items = (f"{s['video_id']}: {s['scored']} of {s['frames']} frames" for s in scores["short"])
        text = _sentence(text, len(scores["short"]), "test video")
        found.append(Remark(text, tuple(items), alarm=True))
    if scores.get("cut"):
        text = _sentence("{} {has} scores past the end, which are cut", len(scores["cut"]), "video")
        found.append(Remark(text, tuple(scores["cut"]), alarm=False))
    others = scores.get("not_test", {})
    if others.get("count"):
        text = _sentence("{} of the file {is} no test video: left out", others["count"], "video")
        found.append(Remark(text, tuple(others["videos"]), alarm=False))
    return found


def _of_frames(metrics: Record) -> list[Remark]:
    counts, clipped = metrics.get("frame_counts", []), metrics.get("clipped", [])
    left_out = metrics.get("counts", {}).get("left_out", 0)
    found = []
    if counts:
        text = _sentence(
            "{} {has} another number of frames than the lists say", len(counts), "video"
        )
        items = (f"{c['video_id']}: {c['decoded']} decoded, {c['listed']} listed" for c in counts)
        found.append(Remark(text, tuple(items), alarm=False))
    if clipped:
        text = "{} {end} after the video and {was} clipped"
        items = (_clipped(row) for row in clipped)
        text = _sentence(text, len(clipped), "annotated interval")
        found.append(Remark(text, tuple(items), alarm=False))
    if left_out:
        text = "{} {lie} in frames that are not evaluated"
        found.append(Remark(_sentence(text, left_out, "annotated interval"), (), alarm=False))
    return found


def _clipped(row: Record) -> str:
    listed = row.get("listed")
    by_list = "" if listed is None else f" ({listed} by its list)"
    frames = f"frames {row['start_frame']} to {row['end_frame']}"
    return f"{row['video_id']}: {frames}, the video has {row['n_frames']}{by_list}"


_ONE = {"is": "is", "has": "has", "end": "ends", "was": "was", "lie": "lies"}
_MANY = {"is": "are", "has": "have", "end": "end", "was": "were", "lie": "lie"}


def _sentence(text: str, count: int, noun: str) -> str:
    words = _ONE if count == 1 else _MANY
    return text.format(f"{count} {noun}{'' if count == 1 else 's'}", **words)
