"""What a data set is not as its lists say: what is refused, and what is said in a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from cache.errors import ConfigError
from manifests.datasets.contract import Deviation, DeviationKind, Listing
from pipeline.plan import StagePlan
from pipeline.world import World

SHOWN = 10
"""Stopping deviations that an error shows."""
NAMED = 5
"""Videos that a line of a warning names."""

KINDS: tuple[DeviationKind, ...] = get_args(DeviationKind)
PHRASES: Mapping[DeviationKind, str] = {
    "missing": "listed and not there",
    "extra": "there and left out",
    "duplicate": "there more than once",
    "contradiction": "contradicted by lists, names or folders",
    "spelling": "written differently than in the lists",
    "frames": "in lists of frame counts that do not fit",
    "count": "numbers of videos that are not those of the published data set",
}
"""What the deviations of a kind have in common."""


@dataclass(frozen=True, slots=True)
class FrameDifference:
    """A video that has another number of frames than a list gives it."""

    video_id: str
    decoded: int
    listed: int


def refuse_deviations(listing: Listing, origin: str) -> None:
    """Raise ConfigError where a deviation stops a run; `origin` is the configuration file."""
    stopping = [deviation for deviation in listing.deviations if deviation.stops]
    if not stopping:
        return
    lines = [f"{origin}: the videos are not what the lists say ({len(stopping)} deviations):"]
    lines += [f"  {deviation.text}" for deviation in stopping[:SHOWN]]
    if len(stopping) > SHOWN:
        lines.append(f"  ... and {len(stopping) - SHOWN} more")
    lines.append(f"`hiprobe check {origin}` lists all of them. {remedy(stopping)}")
    raise ConfigError("\n".join(lines))


def remedy(stopping: Sequence[Deviation]) -> str:
    """What to do about deviations that stop a run."""
    missing = sum(deviation.kind == "missing" for deviation in stopping)
    found = []
    if missing:
        found.append("give the missing videos, or set data.allow_missing = true to go without them")
    if missing < len(stopping):
        found.append("mend what is contradictory in the lists or the folder")
    return "; ".join(found).capitalize() + "."


def deviation_lines(deviations: Sequence[Deviation]) -> tuple[str, ...]:
    """One line for each kind of deviation that there is, with the first subjects."""
    lines = []
    for kind in KINDS:
        subjects = [deviation.subject for deviation in deviations if deviation.kind == kind]
        if subjects:
            lines.append(f"{len(subjects)} {PHRASES[kind]}: {_first(subjects)}")
    if lines:
        lines.append("`hiprobe check` lists every deviation")
    return tuple(lines)


def frame_differences(world: World, decode: StagePlan) -> list[FrameDifference]:
    """Videos decoded so far whose number of frames is not the listed one; no file is opened."""
    committed = world.committed.get("decode")
    if committed is None:
        return []
    found = []
    for video_id, listed in world.listed_frames.items():
        if video_id in decode.digests:
            decoded, _ = committed.sizes[decode.keys[video_id]]
            if decoded != listed:
                found.append(FrameDifference(video_id, decoded, listed))
    return found


def difference_lines(differences: Sequence[FrameDifference]) -> list[str]:
    """One line on them, or none."""
    if not differences:
        return []
    shown = [f"{d.video_id} {d.decoded}, listed {d.listed}" for d in differences]
    return [
        f"{len(differences)} with another number of frames than listed (what was decoded counts): "
        f"{_first(shown)}"
    ]


def _first(texts: Sequence[str]) -> str:
    more = f", ... and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more
