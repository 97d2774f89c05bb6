"""Small pictures of a video for people: evenly spaced, encoded as JPEG."""

from __future__ import annotations

import io
from collections import deque
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from PIL import Image

from stages.video.container import list_packets, open_video
from stages.video.decoding import Decoded, turn


class Thumbnails:
    """Gathers evenly spaced sound frames of a video and keeps them small.

    Thumbnail i of `count` is frame floor((i + 1/2) n / count) of n, or the next sound one.
    """

    def __init__(self, count: int, height: int) -> None:
        self._count = count
        self._height = height
        self._reformatter = VideoReformatter()
        self._due: deque[int] | None = None
        self.frames: list[int] = []
        """[thumbnails] frame numbers, sorted."""
        self.images: list[bytes] = []
        """[thumbnails] JPEG files."""
        self.missed = 0
        """Thumbnails of key frames that could not be decoded."""

    def show(self, decoded: Decoded, expected: int) -> None:
        """Look at the next of `expected` frames, and keep it where its turn has come."""
        if self._due is None:
            self._due = deque(_midpoints(expected, self._count))
        if not decoded.sound or not self._due or decoded.number < self._due[0]:
            return
        while self._due and self._due[0] <= decoded.number:
            self._due.popleft()
        self._keep(decoded.number, decoded.frame)

    def read_key_frames(self, path: Path) -> None:
        """Take the last key frame before each midpoint instead, and decode nothing else.

        None are taken where frames have no times, because their numbers are not known then.
        """
        packets = list_packets(path)
        numbers, keys = packets.numbers(), np.flatnonzero(packets.key)
        places = np.searchsorted(keys, _midpoints(packets.count, self._count), side="right") - 1
        wanted = {int(keys[place]) for place in places if place >= 0}
        with open_video(path) as (container, stream):
            context = stream.codec_context
            for packet in container.demux(stream):
                if packet.size == 0 or numbers.get(packet.pts) not in wanted:
                    continue
                try:
                    frames = [*context.decode(packet), *context.decode(None)]
                except av.FFmpegError:
                    frames = []
                context.flush_buffers()
                if len(frames) == 1:
                    self._keep(numbers[packet.pts], frames[0])
                else:
                    self.missed += 1

    def _keep(self, number: int, frame: VideoFrame) -> None:
        across = frame.rotation // 90 % 2 == 1
        width, height = (frame.height, frame.width) if across else (frame.width, frame.height)
        size = (max(1, round(width * self._height / height)), self._height)
        small = self._reformatter.reformat(
            frame, *(size[::-1] if across else size), "rgb24", interpolation="AREA", threads=1
        )
        picture = turn(np.asarray(small.to_ndarray(), dtype=np.uint8), frame.rotation)
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="JPEG", quality=80)
        self.frames.append(number)
        self.images.append(buffer.getvalue())


def _midpoints(n_frames: int, count: int) -> list[int]:
    return sorted({(2 * i + 1) * n_frames // (2 * count) for i in range(count)})
