"""Wanted frames of a video as RGB arrays, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.errors import ItemError
from stages.video.container import Packets, list_packets
from stages.video.decoding import DamageSeen, Pictures, decode_all, decode_some


def read_frames(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (frame number, rgb [height, width, 3], uint8) for every wanted frame, in order.

    `wanted` holds frame numbers in presentation order from 0, as `read_timeline` counts them,
    sorted and distinct; other numbers raise ValueError. A few frames are held at a time, never the
    video. Frames that nothing refers to are skipped where nobody wants them, which leaves the
    others exactly as they are; at the first error flag the video is decoded in full instead.

    Raises ItemError for a file that cannot be read, and naming the frame where a wanted one does
    not exist, does not come out of the decoder or comes out damaged.
    """
    numbers = [int(number) for number in wanted]
    if numbers != sorted(set(numbers)) or (numbers and numbers[0] < 0):
        raise ValueError("wanted frames must be sorted, distinct and not negative")
    if not numbers:
        return
    packets = list_packets(path)
    if packets.numbered and numbers[-1] >= packets.count:
        raise ItemError(f"{path.name} has {packets.count} frames, there is no frame {numbers[-1]}")
    done = 0
    if packets.numbered:
        try:
            for item in _skipping(path, packets, numbers):
                yield item
                done += 1
            return
        except DamageSeen:
            pass
    yield from _in_full(path, packets, numbers[done:])


def _skipping(
    path: Path, packets: Packets, numbers: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    wanted, pictures = frozenset(numbers), Pictures()
    for decoded in decode_some(path, packets, wanted):
        pictures.see(decoded.frame)
        if decoded.number in wanted:
            yield decoded.number, pictures.rgb(decoded.frame)
        if decoded.number >= numbers[-1]:
            return


def _in_full(
    path: Path, packets: Packets, numbers: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    left, pictures = list(reversed(numbers)), Pictures()
    for decoded in decode_all(path, packets):
        pictures.see(decoded.frame)
        if not left:
            return
        if decoded.number > left[-1]:
            break
        if decoded.number == left[-1]:
            if not decoded.sound:
                break
            yield left.pop(), pictures.rgb(decoded.frame)
    if left:
        raise ItemError(
            f"frame {left[-1]} of {path.name} cannot be decoded: the file is damaged there; fetch "
            'it again, or decode it with mode = "frames" so that a sound frame stands in for it'
        )
