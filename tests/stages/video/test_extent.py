"""The length that a file states, against the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.video.extent import declared_bytes, is_mp4


@pytest.mark.parametrize("name", ["b.mp4", "b.mov", "b.mkv", "b.avi"])
def test_a_whole_file_ends_where_it_says(make_video, name: str) -> None:
    path = make_video(name, frames=5)
    assert declared_bytes(path) == path.stat().st_size
    assert is_mp4(path) == (name in ("b.mp4", "b.mov"))


@pytest.mark.parametrize("name", ["b.ts", "raw.h264"])
def test_streams_do_not_say(make_video, name: str) -> None:
    assert declared_bytes(make_video(name, frames=5)) is None


def test_real_clips_end_where_they_say(clip: Path) -> None:
    assert declared_bytes(clip) == clip.stat().st_size


def box(kind: bytes, payload: bytes) -> bytes:
    return (8 + len(payload)).to_bytes(4, "big") + kind + payload


def test_long_and_open_boxes(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    head = box(b"ftyp", b"isom")
    path.write_bytes(head + (1).to_bytes(4, "big") + b"mdat" + (1000).to_bytes(8, "big"))
    assert declared_bytes(path) == len(head) + 1000
    path.write_bytes(head + (0).to_bytes(4, "big") + b"mdat" + bytes(50))
    assert declared_bytes(path) == path.stat().st_size, "a box of length 0 goes to the end"


def test_unknown_lengths(tmp_path: Path) -> None:
    path = tmp_path / "x"
    ebml, segment = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
    path.write_bytes(ebml + b"\x81" + b"x" + segment + b"\x01" + b"\xff" * 7 + bytes(20))
    assert declared_bytes(path) is None, "a recorder does not know the length of its segment"
    path.write_bytes(ebml + b"\x81" + b"x" + segment + b"\x84" + bytes(4))
    assert declared_bytes(path) == path.stat().st_size
    path.write_bytes(ebml)
    assert declared_bytes(path) is None
    path.write_bytes(b"RIFF" + bytes(4) + b"AVI ")
    assert declared_bytes(path) is None
    path.write_bytes(b"RIFF" + (100).to_bytes(4, "little") + b"AVI ")
    assert declared_bytes(path) == 108
