"""Wanted frames are, bit for bit, those of a plain decode of the whole file."""

from __future__ import annotations

import random
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stages.video.frames
from cache.errors import ItemError
from stages.video.container import list_packets
from stages.video.decoding import DamageSeen, decode_some
from stages.video.frames import read_frames
from stages.video.timeline import read_timeline

KEYFRAMES_OF_A_SEGMENT = (1, 4, 7, 10, 13, 16, 19, 22)


def wanted_of(frames: int) -> list[int]:
    return [number for number in range(frames) if number % 24 in KEYFRAMES_OF_A_SEGMENT]


def refuse_full_decode(*_: Any) -> Iterator[Any]:
    raise AssertionError("a sound file needs no full decode")


def test_real_clips_are_equal_to_a_plain_decode_without_falling_back(
    clip: Path, plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages.video.frames, "decode_all", refuse_full_decode)
    wanted = wanted_of(list_packets(clip).count)[:160]
    got = read_frames(clip, wanted)
    numbers = frozenset(wanted)
    for number, (_, frame) in enumerate(plain(clip)):
        if number in numbers:
            found, rgb = next(got)
            assert found == number
            np.testing.assert_array_equal(rgb, frame.to_ndarray(format="rgb24"))
    assert next(got, None) is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b.mp4", {"codec_options": {"bf": "3", "g": "12"}}),
        (
            "pyramid.mp4",
            {"codec_options": {"bf": "7", "x264-params": "b-pyramid=normal:b-adapt=0"}},
        ),
        ("open_gop.mkv", {"codec_options": {"bf": "3", "g": "10", "x264-params": "open-gop=1"}}),
        ("cavlc.mp4", {"codec_options": {"bf": "2", "x264-params": "cabac=0:ref=5"}}),
        ("b.ts", {"codec_options": {"bf": "2"}}),
        ("odd.mp4", {"size": (95, 63), "pix_fmt": "yuv444p"}),
        ("vfr.mkv", {"pts": [n * n + 20 * n for n in range(48)], "codec_options": {"bf": "3"}}),
        ("mpeg4.mp4", {"codec": "mpeg4", "codec_options": {"bf": "2"}}),
        ("mpeg2.mpg", {"codec": "mpeg2video", "codec_options": {"bf": "2"}}),
        ("vp9.webm", {"codec": "libvpx-vp9"}),
        ("intra.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("raw.h264", {"codec_options": {"bf": "2"}}),
        ("b.avi", {"codec_options": {"bf": "2"}}),
    ],
)
def test_containers_and_codings(make_video, plain, name: str, options: dict[str, Any]) -> None:
    path = make_video(name, **options)
    full = [frame.to_ndarray(format="rgb24") for _, frame in plain(path)]
    assert len(full) == 48
    for wanted in (wanted_of(48), [47], [0], [2, 3, 5, 30], list(range(48))):
        got = list(read_frames(path, wanted))
        assert [number for number, _ in got] == wanted
        for number, rgb in got:
            np.testing.assert_array_equal(rgb, full[number])
            assert rgb.dtype == np.uint8
            assert rgb.flags.c_contiguous


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, encode, plain) -> tuple[Path, list[Any]]:
    """A video with B-frames, and all its pictures."""
    path = tmp_path_factory.mktemp("small") / "b.mp4"
    encode(path, codec_options={"bf": "3", "g": "20"})
    return path, [frame.to_ndarray(format="rgb24") for _, frame in plain(path)]


@settings(max_examples=40, deadline=None)
@given(wanted=st.sets(st.integers(0, 47), min_size=1).map(sorted))
def test_any_choice_of_frames(small, wanted: list[int]) -> None:
    path, full = small
    got = list(read_frames(path, wanted))
    assert [number for number, _ in got] == wanted
    assert all(np.array_equal(rgb, full[number]) for number, rgb in got)


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_pictures_stand_upright(make_video, plain, rotation: int, turns: int) -> None:
    path = make_video("turned.mp4", frames=6, rotation=rotation)
    full = [frame.to_ndarray(format="rgb24") for _, frame in plain(path)]
    for number, rgb in read_frames(path, range(6)):
        np.testing.assert_array_equal(rgb, np.rot90(full[number], turns))


def test_a_change_of_size_gives_pictures_of_the_first_size(make_video) -> None:
    path = make_video("sizes.ts", frames=10, sizes=((64, 48),))
    assert {frame.width for frame in _plain_frames(path)} == {96, 64}
    got = list(read_frames(path, range(20)))
    assert [number for number, _ in got] == list(range(20))
    assert {rgb.shape for _, rgb in got} == {(64, 96, 3)}
    alone = dict(read_frames(path, [15]))
    np.testing.assert_array_equal(alone[15], got[15][1])


def test_frames_come_as_a_stream(make_video) -> None:
    got = read_frames(make_video("b.mp4", frames=48), range(48))
    assert isinstance(got, types.GeneratorType)
    assert next(got)[0] == 0
    got.close()


def test_nothing_wanted_reads_nothing(tmp_path: Path) -> None:
    assert list(read_frames(tmp_path / "none.mp4", [])) == []


@pytest.mark.parametrize("wanted", [[3, 1], [2, 2], [-1, 4]])
def test_wanted_frames_must_be_sorted_and_distinct(tmp_path: Path, wanted: list[int]) -> None:
    with pytest.raises(ValueError, match="sorted, distinct and not negative"):
        next(read_frames(tmp_path / "none.mp4", wanted))


@pytest.mark.parametrize("name", ["b.mp4", "raw.h264"])
def test_a_frame_that_does_not_exist_is_named(make_video, name: str) -> None:
    with pytest.raises(ItemError, match=r"frame 10\b"):
        list(read_frames(make_video(name, frames=10), [3, 10]))


# --- damage ---------------------------------------------------------------------------------------


def _plain_frames(path: Path) -> Iterator[Any]:
    """Decode in full and go on after errors, with nothing of the code under test."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        for packet in container.demux(video=0):
            try:
                yield from packet.decode()
            except av.FFmpegError:
                continue


def spoil(path: Path, seed: int) -> Path:
    """A copy in which parts of one to three packets are overwritten, as a bad disk leaves it."""
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        entries = [(e.pos, e.size) for e in container.streams.video[0].index_entries]
    for position, size in rng.sample(entries[1:], rng.randint(1, 3)):
        first = position + rng.choice([4, size // 2])
        filler = rng.choice([bytes(size), rng.randbytes(size)])
        data[first : position + size] = filler[: position + size - first]
    copy = path.with_name(f"spoilt_{seed}_{path.name}")
    copy.write_bytes(data)
    return copy


@pytest.mark.parametrize("options", [{"bf": "3", "g": "24"}, {"bf": "0"}], ids=["b", "p"])
@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_give_what_a_full_decode_gives(make_video, options, seed: int) -> None:
    path = spoil(make_video("b.mp4", frames=72, codec_options=options), seed)
    packets, timeline = list_packets(path), read_timeline(path)
    assert timeline.n_frames == 72
    full = {
        int(np.searchsorted(packets.pts, frame.pts)): frame.to_ndarray(format="rgb24")
        for frame in _plain_frames(path)
    }
    sound = np.flatnonzero(timeline.sound).tolist()
    for wanted in (sound, [number for number in sound if number % 3 == 1]):
        got = list(read_frames(path, wanted))
        assert [number for number, _ in got] == wanted
        for number, rgb in got:
            np.testing.assert_array_equal(rgb, full[number])


def lose(path: Path, victim: int) -> Path:
    """The same file with one packet, counted in file order, overwritten behind its header."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[victim]
        data[entry.pos + 8 : entry.pos + entry.size] = b"\x55" * (entry.size - 8)
    path.write_bytes(data)
    return path


def test_a_wanted_frame_that_is_damaged_is_an_error_that_names_it(make_video) -> None:
    path = lose(make_video("b.mp4", codec_options={"bf": "0", "g": "12"}), 30)
    got = read_frames(path, [1, 29, 30, 40])
    assert [next(got)[0], next(got)[0]] == [1, 29], "what came before is given"
    with pytest.raises(ItemError, match=r"^frame 30 of b\.mp4 cannot be decoded"):
        next(got)
    assert [number for number, _ in read_frames(path, [29, 40])] == [29, 40]


def test_skipping_gives_up_at_the_first_sign_of_damage(make_video) -> None:
    path = lose(make_video("b.mp4", codec_options={"bf": "0", "g": "12"}), 30)
    with pytest.raises(DamageSeen):
        list(decode_some(path, list_packets(path), {1, 30, 40}))


def test_skipping_skips(make_video) -> None:
    """With B-frames that nothing refers to, fewer frames come out than there are."""
    path = make_video("b.mp4", codec_options={"bf": "2", "x264-params": "b-adapt=0:b-pyramid=none"})
    numbers = [d.number for d in decode_some(path, list_packets(path), {0, 24, 47})]
    assert {0, 24, 47} <= set(numbers)
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 30
