"""The timeline of a video against a plain decode of the same file."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pytest

from cache.errors import ItemError
from stages.video.timeline import read_timeline

FACTS = {  # frames, frame rate, key frames
    "bottle-detection": (1189, 179 / 6),
    "car-detection": (377, 12.5),
    "one-by-one-person-detection": (1394, 10.0),
}


def test_timeline_of_a_real_clip_is_what_a_plain_decode_gives(clip: Path, plain) -> None:
    seconds, keys, size = [], [], None
    for time, frame in plain(clip):
        seconds.append(float(time))
        keys.append(frame.key_frame)
        size = size or (frame.width, frame.height)
    timeline = read_timeline(clip)
    frames, fps = FACTS[clip.stem]
    assert timeline.n_frames == timeline.expected_frames == len(seconds) == frames
    np.testing.assert_allclose(timeline.pts_s, seconds, rtol=0, atol=1e-12)
    assert timeline.key.tolist() == keys
    assert timeline.sound.all()
    assert timeline.damaged_frames == 0
    assert timeline.fps == pytest.approx(fps, rel=1e-12)
    assert (timeline.width, timeline.height) == size
    assert timeline.duration_s == pytest.approx(frames / fps, rel=1e-9)
    assert timeline.codec == "h264"


def test_packets_give_the_same_timeline_of_a_sound_file(clip: Path) -> None:
    full, quick = read_timeline(clip), read_timeline(clip, packets_only=True)
    np.testing.assert_array_equal(full.pts_s, quick.pts_s)
    np.testing.assert_array_equal(full.key, quick.key)
    np.testing.assert_array_equal(full.sound, quick.sound)
    for name in ("fps", "width", "height", "rotation", "duration_s", "codec", "time_base"):
        assert getattr(full, name) == getattr(quick, name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b.mp4", {"codec_options": {"bf": "3", "g": "12"}}),
        ("b.mkv", {"codec_options": {"bf": "3"}}),
        ("b.ts", {"codec_options": {"bf": "3"}}),
        ("fragmented.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("b.webm", {"codec": "libvpx-vp9"}),
        ("b.mpg", {"codec": "mpeg2video", "codec_options": {"bf": "2"}}),
        ("no_b.avi", {"codec": "mpeg4"}),
    ],
)
def test_first_frame_is_at_zero_and_frames_are_a_25th_apart(make_video, name, options) -> None:
    timeline = read_timeline(make_video(name, **options))
    assert timeline.n_frames == timeline.expected_frames == 48
    assert timeline.sound.all()
    np.testing.assert_allclose(timeline.pts_s, np.arange(48) / 25, atol=1e-9)
    assert timeline.fps == pytest.approx(25)
    assert timeline.duration_s == pytest.approx(48 / 25)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("raw.h264", {"codec_options": {"bf": "2"}}),
        ("b.avi", {"codec_options": {"bf": "2"}}),
    ],
)
@pytest.mark.parametrize("packets_only", [False, True])
def test_frames_without_times_of_their_own_are_all_counted(
    make_video, name, options, packets_only
) -> None:
    timeline = read_timeline(make_video(name, **options), packets_only=packets_only)
    assert timeline.n_frames == 48
    assert timeline.damaged_frames == 0
    np.testing.assert_allclose(np.diff(timeline.pts_s), 1 / 25)


def test_variable_frame_rate_keeps_every_time(make_video) -> None:
    rng = random.Random(1)
    pts = [0]
    for _ in range(47):
        pts.append(pts[-1] + rng.choice([20, 40, 100]))
    timeline = read_timeline(make_video("vfr.mkv", pts=pts, codec_options={"bf": "2"}))
    np.testing.assert_allclose(timeline.pts_s, np.asarray(pts) / 1000, atol=1e-9)
    assert timeline.fps == pytest.approx(48 / timeline.duration_s)
    assert timeline.duration_s > pts[-1] / 1000


def test_frames_that_an_edit_list_hides_are_no_frames(make_video, tmp_path: Path) -> None:
    source = make_video("source.mp4", frames=48, codec_options={"bf": "2", "g": "16"})
    edited = tmp_path / "edited.mp4"
    with (
        av.open(str(source)) as old,
        av.open(str(edited), "w", options={"avoid_negative_ts": "disabled"}) as new,
    ):
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.pts -= 10 * 512
                packet.dts -= 10 * 512
                packet.stream = stream
                new.mux(packet)
    with av.open(str(edited)) as container:
        assert container.streams.video[0].frames == 48, "the header still counts all of them"
    timeline = read_timeline(edited)
    assert timeline.n_frames == timeline.expected_frames == 38
    assert timeline.pts_s[0] == 0
    assert timeline.sound.all()


@pytest.mark.parametrize("rotation", [90, -90, 180, 0])
def test_size_is_that_of_the_upright_picture(make_video, rotation: int) -> None:
    timeline = read_timeline(make_video("turned.mp4", frames=5, rotation=rotation))
    upright = (64, 96) if abs(rotation) == 90 else (96, 64)
    assert (timeline.width, timeline.height) == upright
    assert timeline.rotation % 360 == rotation % 360


def test_one_frame_lasts_as_long_as_the_rate_says(make_video) -> None:
    timeline = read_timeline(make_video("one.mp4", frames=1))
    assert timeline.n_frames == 1
    assert timeline.duration_s == pytest.approx(1 / 25)
    assert timeline.fps == pytest.approx(25)


def test_witness_sees_every_frame_once(make_video) -> None:
    seen: list[tuple[int, int]] = []
    path = make_video("b.mp4", codec_options={"bf": "3"})
    read_timeline(path, witness=lambda decoded, expected: seen.append((decoded.number, expected)))
    assert seen == [(number, 48) for number in range(48)]


def test_repr_shows_shapes_and_no_data(make_video) -> None:
    text = repr(read_timeline(make_video("b.mp4")))
    assert text == "Timeline(48 frames, 96x64, 25 fps, 1.920 s, 0 damaged)"


# --- damage ---------------------------------------------------------------------------------------


def damaged(path: Path, victims: list[int], how: str, seed: int = 0) -> Path:
    """A copy whose packets of these places in the file are spoilt."""
    data = bytearray(path.read_bytes())
    rng = random.Random(seed)
    with av.open(str(path)) as container:
        entries = [(e.pos, e.size) for e in container.streams.video[0].index_entries]
    for victim in victims:
        position, size = entries[victim]
        if how == "zeros":
            data[position + 4 : position + size] = bytes(size - 4)
        else:
            for _ in range(3):
                data[position + rng.randrange(5, size)] ^= 1 << rng.randrange(8)
    copy = path.with_name(f"{how}_{seed}_{path.name}")
    copy.write_bytes(data)
    return copy


def test_a_lost_packet_is_an_unsound_frame_and_the_others_keep_their_numbers(make_video) -> None:
    path = make_video("b.mp4", codec_options={"bf": "0", "g": "12"})
    whole, broken = read_timeline(path), read_timeline(damaged(path, [30], "zeros"))
    assert broken.n_frames == whole.n_frames == 48
    np.testing.assert_array_equal(broken.pts_s, whole.pts_s)
    assert not broken.sound[30]
    assert broken.sound[:30].all()
    assert broken.sound[36:].all(), "a key frame ends the damage"
    assert broken.damaged_frames == int((~broken.sound).sum()) >= 1


@pytest.mark.parametrize("seed", range(8))
def test_flipped_bits_never_make_a_video_shorter(make_video, seed: int) -> None:
    path = make_video("b.mp4", codec_options={"bf": "3", "g": "24"})
    victims = random.Random(seed).sample(range(1, 48), 3)
    broken = read_timeline(damaged(path, victims, "flips", seed))
    assert broken.n_frames == broken.expected_frames == 48


def test_packets_mode_sees_no_damage_inside_packets(make_video) -> None:
    path = damaged(make_video("b.mp4"), [30], "zeros")
    assert read_timeline(path, packets_only=True).damaged_frames == 0


def test_no_decodable_frame_is_an_error(make_video) -> None:
    path = damaged(make_video("b.mp4", frames=6), list(range(6)), "zeros")
    with pytest.raises(ItemError, match="none of its 6 frames can be decoded"):
        read_timeline(path)
    with pytest.raises(ItemError, match="none of its 6 frames can be decoded"):
        read_timeline(path, packets_only=True)


# --- files without an index of all frames ---------------------------------------------------------


def without(path: Path, first: int, last: int) -> Path:
    """A copy of a Matroska file that lost the bytes [first, last), as a bad disk leaves it."""
    data = bytearray(path.read_bytes())
    data[first:last] = bytes(last - first)
    copy = path.with_name(f"lost_{path.name}")
    copy.write_bytes(data)
    return copy


def test_frames_that_vanish_without_a_trace_leave_room(make_video) -> None:
    path = make_video("b.mkv", codec_options={"bf": "0", "g": "1", "x264-params": "scenecut=0"})
    assert read_timeline(path).room_for_frames == 0
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][24]
    broken = read_timeline(without(path, place, place + 20))
    assert broken.n_frames < 48
    assert broken.n_frames + broken.room_for_frames == 48


def test_an_index_of_all_frames_needs_no_guess(make_video) -> None:
    pts = [0, 40, 80, 500, 540, 580]
    timeline = read_timeline(make_video("pause.mp4", frames=6, pts=pts))
    assert timeline.room_for_frames == 0
    paused = read_timeline(make_video("pause.mkv", frames=6, pts=pts))
    assert paused.room_for_frames == 420 // 40 - 1 + (420 % 40 > 20)
