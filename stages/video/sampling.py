"""Segments of a video and their keyframes, as frame numbers: pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from cache.errors import ConfigError, ItemError


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One frame that stands for a part of its segment."""

    segment: int
    k: int
    """Number of the keyframe in its segment, from 0."""
    frame: int
    """Number of the frame in its video, from 0."""
    substituted: bool
    """Whether an earlier frame stands in for an unsound one."""


def split_video(n_frames: int, segment_frames: int) -> list[tuple[int, int]]:
    """(first frame, one past the last) of every segment; the last one may be shorter."""
    return [
        (start, min(start + segment_frames, n_frames))
        for start in range(0, n_frames, segment_frames)
    ]


def place_keyframes(m: int, count: int, rule: str) -> list[int]:
    """Places, from 0, of `count` keyframes in a segment of `m` frames, in order.

    "midpoints" takes floor((i + 1/2) m / count), "endpoints" round(i (m - 1) / (count - 1)) with
    halves to the even side; a single keyframe of "endpoints" is the first frame. Frames repeat where
    m < count. Exact: in whole numbers, never in floating point. Raises ConfigError for another rule.
    """
    if rule == "midpoints":
        return [(2 * i + 1) * m // (2 * count) for i in range(count)]
    if rule == "endpoints":
        return [round(Fraction(i * (m - 1), max(count - 1, 1))) for i in range(count)]
    raise ConfigError(f'rule = "{rule}" is not known; use "midpoints" or "endpoints"')


def choose_keyframes(
    sound: Sequence[bool], segment_frames: int, count: int, rule: str
) -> list[Keyframe]:
    """The keyframes of a whole video [segments * count], sorted by segment and k.

    `sound` [frames] says which frames can be shown. An unsound keyframe is replaced by the nearest
    earlier sound frame of its segment; a segment that has none raises ItemError.
    """
    chosen: list[Keyframe] = []
    for segment, (start, end) in enumerate(split_video(len(sound), segment_frames)):
        for k, place in enumerate(place_keyframes(end - start, count, rule)):
            wanted = start + place
            frame = next((f for f in range(wanted, start - 1, -1) if sound[f]), None)
            if frame is None:
                raise ItemError(
                    f"segment {segment} (frames {start} to {end - 1}) has no sound frame up to its "
                    f"keyframe {wanted}: the video is damaged there; fetch it again or leave it out"
                )
            chosen.append(Keyframe(segment, k, frame, frame != wanted))
    return chosen
