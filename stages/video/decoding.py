"""Frames of a video in presentation order, with their numbers and their soundness."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from stages.video.container import Packets, holds_frame, open_video

_REORDER = 16
"""Frames that can come out between a frame and those that rest on it: the most that H.264 allows."""


class DamageSeen(Exception):
    """A pass that skips frames met a sign of damage: only a full decode says what is right."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One frame that the decoder gave."""

    number: int
    """Number of the frame in presentation order, from 0; it grows from one to the next."""
    frame: VideoFrame
    sound: bool
    """False where the packet, its decoding or the frame carries an error flag."""


def decode_all(path: Path, packets: Packets) -> Iterator[Decoded]:
    """Decode every frame and go on after errors; a frame that does not come out has no row."""
    numbers = packets.numbers()
    failed = set(np.flatnonzero(packets.corrupt).tolist()) if packets.numbered else set()
    last = -1
    with open_video(path) as (container, stream):
        for packet in _frame_packets(container, stream):
            try:
                frames = stream.codec_context.decode(packet)
            except av.FFmpegError:
                # The frame of this packet stays out, or comes out concealed: unsound either way.
                failed.add(_number(numbers, packet))
                continue
            for frame in frames:
                number = numbers.get(frame.pts, -1) if packets.numbered else last + 1
                if number > last:
                    last = number
                    yield Decoded(number, frame, not frame.is_corrupt and number not in failed)


def decode_some(path: Path, packets: Packets, wanted: AbstractSet[int]) -> Iterator[Decoded]:
    """Decode what is wanted and what it rests on; frames that nothing refers to are skipped.

    More frames than the wanted ones come out, each after `_REORDER` further ones: a damaged frame
    can be shown after frames that rest on it, and is flagged only then. Needs `packets.numbered`.
    Raises DamageSeen at the first error flag, or where a wanted frame does not come out.
    """
    if packets.corrupt.any():
        raise DamageSeen
    numbers = packets.numbers()
    held: deque[Decoded] = deque()
    last = -1
    with open_video(path) as (container, stream):
        for packet in _frame_packets(container, stream):
            keep = packet is None or _number(numbers, packet) in wanted
            stream.codec_context.skip_frame = "DEFAULT" if keep else "NONREF"
            try:
                frames = stream.codec_context.decode(packet)
            except av.FFmpegError as error:
                raise DamageSeen from error
            for frame in frames:
                number = numbers.get(frame.pts, -1)
                passed_over = not wanted.isdisjoint(range(last + 1, number))
                if frame.is_corrupt or number <= last or passed_over:
                    raise DamageSeen
                last = number
                held.append(Decoded(number, frame, sound=True))
                if len(held) > _REORDER:
                    yield held.popleft()
    if last < max(wanted):
        raise DamageSeen
    yield from held


class Pictures:
    """Turns decoded frames into RGB arrays of one size, upright."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None

    def see(self, frame: VideoFrame) -> None:
        """Take the size of the first frame for all: it can change inside a file."""
        self._size = self._size or (frame.width, frame.height)

    def rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """The picture [height, width, 3], uint8, rotated as the container says.

        The scaler runs with its default flags: the values are those of `to_ndarray("rgb24")`.
        """
        self.see(frame)
        width, height = self._size or (frame.width, frame.height)
        picture = self._reformatter.reformat(frame, width, height, format="rgb24", threads=1)
        return turn(np.asarray(picture.to_ndarray(), dtype=np.uint8), frame.rotation)


def turn(picture: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """A picture turned counter-clockwise by `rotation` degrees, a multiple of 90."""
    return np.ascontiguousarray(np.rot90(picture, rotation // 90))


def _frame_packets(
    container: InputContainer, stream: VideoStream
) -> Iterator[av.Packet[VideoStream] | None]:
    """The packets to decode, then None to drain the decoder.

    An empty packet would drain it too, and nothing could be decoded after it: it is left out.
    """
    for packet in container.demux(stream):
        if packet.size > 0:
            yield packet
    yield None


def _number(numbers: dict[int | None, int], packet: av.Packet[VideoStream] | None) -> int:
    """The frame that a packet holds, or -1 where that is not known."""
    return -1 if packet is None or not holds_frame(packet) else numbers.get(packet.pts, -1)
