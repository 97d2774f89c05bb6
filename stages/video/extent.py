"""How long a video file says that it is: what shows that a download was cut short.

A cut file often opens and reads as a shorter video without any error. The containers of the MP4,
AVI and Matroska families write the length of their parts in front of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_BOXES = (
    b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof", b"pnot", b"sidx",
    b"mfra", b"meta", b"udta", b"uuid",
)  # fmt: skip


def declared_bytes(path: Path) -> int | None:
    """The byte at which the file must end by its own account, or None where it does not say.

    Understands ISO base media (MP4, MOV), RIFF (AVI) and EBML (Matroska, WebM). Containers for
    streaming (MPEG-TS, raw video, Matroska of unknown length) do not say, and a fragmented MP4 that
    is cut exactly between two fragments looks whole.
    """
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[4:8] in _BOXES:
            return _end_of_boxes(file, path.stat().st_size)
        if head[:4] == b"RIFF" and len(head) >= 8:
            size = int.from_bytes(head[4:8], "little")
            return size + 8 if 0 < size < 0xFFFFFFFF else None
        if int.from_bytes(head[:4], "big") == _EBML:
            return _end_of_segment(file)
    return None


def is_mp4(path: Path) -> bool:
    """Whether the file begins as one of the MP4 family does."""
    with path.open("rb") as file:
        return file.read(8)[4:8] in _BOXES


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Walk the boxes of the top level: 32 bits of length, four letters, perhaps 64 bits more.

    Bytes that are no known box end the walk: some writers leave a tail of their own.
    """
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(16)
        if header[4:8] not in _BOXES:
            return position
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:
            return size
        position += max(length, 8)
    return position


def _end_of_segment(file: BinaryIO) -> int | None:
    """The end of the Matroska segment that follows the header; None where its length is unknown."""
    file.read(4)
    header = _number(file)
    if header is None:
        return None
    file.seek(header, 1)
    if int.from_bytes(file.read(4), "big") != _SEGMENT:
        return None
    length = _number(file)
    return None if length is None else file.tell() + length


def _number(file: BinaryIO) -> int | None:
    """An EBML length: leading zero bits say how many bytes follow; all ones mean unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + file.read(width - 1), "big")
    return None if value == (1 << (7 * width)) - 1 else value
