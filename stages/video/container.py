"""A video file as a container: opened with clear errors, and listed packet by packet.

Frames are numbered without decoding: the number of a frame is the place of its packet's time among
the sorted times of all packets that hold a frame to be shown. Where times are missing or repeated
this cannot be done, and frames are numbered in the order in which the decoder gives them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from cache.errors import ItemError
from stages.video.extent import declared_bytes, is_mp4


@dataclass(frozen=True, slots=True)
class Packets:
    """What one pass over the packets of a video stream says, before anything is decoded."""

    pts: NDArray[np.int64]
    """[packets] times in units of `time_base`, sorted; empty where a packet has none."""
    numbered: bool
    """Whether the number of a frame is known from its time alone."""
    key: NDArray[np.bool_]
    """[packets] in the order of `pts`, or of the file where that is empty."""
    corrupt: NDArray[np.bool_]
    """[packets] in the same order: the container flags the packet as damaged."""
    count: int
    """Packets that hold a frame to be shown."""
    promised: int | None
    """Frames that the container's index lists, where it has an index of all frames."""
    last_duration: int
    """Duration of the frame that is shown last, in units of `time_base`; 0 where unknown."""
    stated_s: float | None
    """Length in seconds that the container states for the video alone, where it does."""
    time_base: Fraction
    start: int | None
    """The time that a player shows as zero, in units of `time_base`."""
    rate: Fraction | None
    """Average frame rate as the container states it."""
    codec: str

    def numbers(self) -> dict[int | None, int]:
        """The number of every frame by its time; empty where the order of output decides."""
        return {int(time): number for number, time in enumerate(self.pts)} if self.numbered else {}

    @property
    def expected(self) -> int:
        """Frames that a whole decode must give."""
        return max(self.count, self.promised or 0)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its first video stream, to be decoded on one thread.

    Raises ItemError for a file that is absent, empty, no video, without its index, or without a
    video stream.
    """
    if not path.is_file():
        raise ItemError(f"{path.name}: there is no such file")
    if path.stat().st_size == 0:
        raise ItemError(f"{path.name} is empty (0 bytes): fetch the file again")
    try:
        # The prefix keeps a ':' in a name from being read as a protocol; the list keeps a playlist
        # that calls itself a video from reaching the network. Titles in another encoding, or
        # damaged ones, are nobody's concern here.
        container = av.open(
            f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace"
        )
    except av.FFmpegError as error:
        raise ItemError(_unreadable(path, _reason(error))) from error
    with container:
        yield container, _video_stream(path, container)


def list_packets(path: Path) -> Packets:
    """Read the packets of a video once, without decoding.

    Raises ItemError as `open_video` does, and for a file that ends before the data that its own
    index lists, that cannot be read to its end, or that holds no frame.
    """
    with open_video(path) as (container, stream):
        rows: list[_Row] = []
        failure: Exception | None = None
        try:
            rows.extend(_row(p) for p in container.demux(stream) if holds_frame(p))
        except (av.FFmpegError, IndexError) as error:
            # IndexError is how PyAV meets a stream that begins in the middle of a damaged file.
            failure = error
        promised = _check_index(path, container, stream)
        if failure is not None:
            raise ItemError(
                f"{path.name} cannot be read beyond frame {len(rows)}: {_reason(failure)}; fetch "
                "the file again"
            ) from failure
        if not rows:
            raise ItemError(f"{path.name} has a video stream with no frame in it")
        return _packets(container, stream, rows, promised)


def holds_frame(packet: av.Packet[VideoStream]) -> bool:
    """Whether a packet holds a frame that is to be shown."""
    return packet.size > 0 and not packet.is_discard


class _Row(NamedTuple):
    """What is kept of one packet."""

    pts: int | None
    key: bool
    corrupt: bool
    duration: int


def _row(packet: av.Packet[VideoStream]) -> _Row:
    return _Row(packet.pts, packet.is_keyframe, packet.is_corrupt, packet.duration or 0)


def _packets(
    container: InputContainer, stream: VideoStream, rows: list[_Row], promised: int | None
) -> Packets:
    times = [row.pts for row in rows if row.pts is not None]
    timed = len(times) == len(rows)
    # Where pictures are reordered and times are not, the times are those of decoding (AVI has no
    # others): sorted they are right, but they do not say which packet holds which picture.
    in_order = all((a.pts or 0) <= (b.pts or 0) for a, b in itertools.pairwise(rows))
    borrowed = stream.codec_context.has_b_frames and in_order
    if timed:
        rows = sorted(rows, key=lambda row: row.pts or 0)
    return Packets(
        pts=np.asarray(sorted(times) if timed else [], dtype=np.int64),
        numbered=timed and len(set(times)) == len(times) and not borrowed,
        key=np.asarray([row.key for row in rows], dtype=np.bool_),
        corrupt=np.asarray([row.corrupt for row in rows], dtype=np.bool_),
        count=len(rows),
        promised=promised,
        last_duration=rows[-1].duration,
        stated_s=_stated(container, stream),
        time_base=Fraction(stream.time_base or Fraction(1, 1)),
        start=stream.start_time,
        rate=stream.average_rate,
        codec=stream.codec_context.name,
    )


def _stated(container: InputContainer, stream: VideoStream) -> float | None:
    """The length that the container states, from the start of its only stream, in seconds."""
    if not container.duration or len(container.streams) > 1:
        return None
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    return container.duration / av.time_base - max(start, 0.0)


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        _check_extent(path)
        kinds = sorted({str(stream.type) for stream in container.streams}) or ["nothing"]
        raise ItemError(
            f"{path.name} holds no video stream, only {', '.join(kinds)}: it cannot be a video of "
            "the data set"
        )
    stream = streams[0]
    if stream.codec_context is None:
        raise ItemError(
            f"{path.name}: there is no decoder for its video stream; convert the file to H.264, or "
            "fetch it again if it should be H.264 already"
        )
    # Frame and slice threads gain little here, delay errors, and compete with other workers.
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


def _check_index(path: Path, container: InputContainer, stream: VideoStream) -> int | None:
    """Frames that the index lists, or None; only the MP4 family has an index of all frames.

    A cut file with its index in front opens and reads as a shorter video without any error, so the
    end of the listed data, and of the whole by its own account, is compared with the file's size.
    """
    promised = None
    if "mp4" in container.format.name.split(","):
        size = path.stat().st_size
        if len(stream.index_entries) > size:
            raise ItemError(
                f"{path.name} is damaged: its index lists {len(stream.index_entries)} frames, the "
                f"file has {size} bytes; fetch the file again"
            )
        entries = [(e.pos, e.size) for e in stream.index_entries if e.size > 0 and not e.is_discard]
        beyond = sum(1 for position, length in entries if position + length > size)
        if beyond:
            end = max(position + length for position, length in entries)
            raise ItemError(
                f"{path.name} is cut short: its index lists {len(entries)} frames up to byte {end},"
                f" the file has {size} bytes, so the data of {beyond} is missing; fetch the file "
                "again"
            )
        # A fragmented file lists its frames piece by piece: that says nothing of a lost piece.
        promised = len(entries) if stream.frames else None
    _check_extent(path)
    return promised


def _reason(error: Exception) -> str:
    """What went wrong, without the path that PyAV puts into its own message."""
    return (error.strerror if isinstance(error, av.FFmpegError) else None) or "its data is damaged"


def _check_extent(path: Path) -> None:
    """Refuse a file that ends before the end that it states itself."""
    end, size = declared_bytes(path), path.stat().st_size
    if end is not None and end > size:
        raise ItemError(
            f"{path.name} is cut short: by its own account it ends at byte {end}, the file has "
            f"{size} bytes; fetch the file again"
        )


def _unreadable(path: Path, reason: str) -> str:
    _check_extent(path)
    if is_mp4(path):
        return (
            f"{path.name} is an MP4 file without a readable index (moov): it was cut short, or is "
            f"still being written; fetch the file again ({reason})"
        )
    return f"{path.name} is not a video that can be read: {reason}"
