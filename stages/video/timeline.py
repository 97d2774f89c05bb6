"""The timeline of a video: every frame's time, whether it is a key frame, whether it is sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from cache.errors import ItemError
from stages.video.container import Packets, list_packets
from stages.video.decoding import Decoded, decode_all

Witness = Callable[[Decoded, int], None]
"""Is shown every decoded frame, and how many are expected in all."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """Every frame of a video in presentation order; the number of a frame is its place."""

    pts_s: NDArray[np.float64]
    """[frames] time in seconds at which a player shows the frame: 0 is the stream's start."""
    key: NDArray[np.bool_]
    """[frames] whether decoding can begin at the frame."""
    sound: NDArray[np.bool_]
    """[frames] whether the frame came out of the decoder without any error flag."""
    fps: float
    """Average frame rate: frames divided by the time from the first one's start to the end."""
    width: int
    """Pixels, after rotation."""
    height: int
    """Pixels, after rotation."""
    rotation: int
    """Degrees, counter-clockwise, by which a decoded frame must be turned to stand upright."""
    codec: str
    time_base: str
    """Unit of the container's times in seconds, as a fraction: "1/11456"."""
    duration_s: float
    """Time in seconds at which the last frame ends."""
    expected_frames: int
    """Frames that the container holds: the larger of its packets and what its index lists."""
    room_for_frames: int
    """Frames that gaps between the times, or the length that the container states, leave room for,
    in a file without an index of all frames: parts of it may be lost, or its camera paused."""

    @property
    def n_frames(self) -> int:
        """Frames of the video."""
        return len(self.pts_s)

    @property
    def damaged_frames(self) -> int:
        """Expected frames that are missing or unsound."""
        return max(self.expected_frames, self.n_frames) - int(self.sound.sum())

    def __repr__(self) -> str:
        """The shape of the video, without its arrays."""
        return (
            f"Timeline({self.n_frames} frames, {self.width}x{self.height}, {self.fps:.6g} fps, "
            f"{self.duration_s:.3f} s, {self.damaged_frames} damaged)"
        )


def read_timeline(
    path: Path, *, packets_only: bool = False, witness: Witness | None = None
) -> Timeline:
    """Read the timeline of a video file, decoding every frame once.

    Times are the container's own presentation times minus the start time of the video stream, which
    is what a player shows; they are not made from a frame rate. Where packets have no times, frames
    are spaced evenly at the rate that the container states. The last frame ends after its own
    duration, or after the median interval where it states none.

    With `packets_only` nothing but the first frame is decoded, and every frame counts as sound
    unless the container flags its packet. `witness` is shown every frame that is decoded.

    Raises ItemError for a file that is absent, empty, no video, cut short, or without a single
    frame that can be decoded.
    """
    packets = list_packets(path)
    first: VideoFrame | None = None
    rows: list[tuple[int, bool, bool]] = []
    for decoded in islice(decode_all(path, packets), 1 if packets_only else None):
        first = first or decoded.frame
        rows.append((decoded.number, decoded.frame.key_frame, decoded.sound))
        if witness is not None:
            witness(decoded, packets.expected)
    if first is None:
        raise ItemError(
            f"{path.name}: none of its {packets.expected} frames can be decoded; fetch the file "
            "again, or leave the video out"
        )
    key, sound = (packets.key, ~packets.corrupt) if packets_only else _marks(packets, rows)
    pts_s, end_s = _times(path, packets, len(sound))
    turned = first.rotation // 90 % 2
    return Timeline(
        pts_s=pts_s,
        key=key,
        sound=sound,
        fps=float(len(pts_s) / (end_s - pts_s[0])),
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        rotation=first.rotation,
        codec=packets.codec,
        time_base=str(packets.time_base),
        duration_s=end_s,
        expected_frames=packets.expected,
        room_for_frames=_room(pts_s, end_s, packets) if packets.promised is None else 0,
    )


def _room(pts_s: NDArray[np.float64], end_s: float, packets: Packets) -> int:
    """How many frames more would fit if every interval were the median one."""
    gaps = np.diff(pts_s)
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    if usual <= 0:
        return 0
    steps = np.round(np.append(gaps, max(packets.stated_s or 0.0, end_s) - pts_s[-1]) / usual)
    return int((steps[steps > 1] - 1).sum())


def _marks(
    packets: Packets, rows: list[tuple[int, bool, bool]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Key flag and soundness [frames]; a frame that did not come out is unsound."""
    numbers, keys, sounds = (np.asarray(column) for column in zip(*rows, strict=True))
    if not packets.numbered:
        return keys.astype(np.bool_), sounds.astype(np.bool_)
    sound = np.zeros(packets.count, dtype=np.bool_)
    sound[numbers] = sounds
    return packets.key, sound


def _times(path: Path, packets: Packets, n_frames: int) -> tuple[NDArray[np.float64], float]:
    """Presentation times [frames] and the end of the last frame, in seconds."""
    base, rate = packets.time_base, packets.rate
    if len(packets.pts) == n_frames:
        start = int(packets.pts[0]) if packets.start is None else packets.start
        ticks = packets.pts - start
        gaps = np.diff(ticks)
        last = Fraction(packets.last_duration or (float(np.median(gaps)) if len(gaps) else 0))
        if not last and rate:
            last = 1 / (rate * base)
        times, end = ticks.astype(np.float64) * float(base), float((int(ticks[-1]) + last) * base)
    elif rate:
        times, end = np.arange(n_frames, dtype=np.float64) / float(rate), float(n_frames / rate)
    else:
        times, end = np.zeros(n_frames), 0.0
    if not end > times[0]:
        raise ItemError(f"{path.name} states neither the times of its frames nor a frame rate")
    return times, end
