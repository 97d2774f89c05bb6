"""Files that are no whole video are refused with a reason, never read as a shorter one."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from cache.errors import ItemError
from stages.video.container import list_packets, open_video
from stages.video.timeline import read_timeline


def cut(path: Path, length: int) -> Path:
    copy = path.with_name(f"cut_{length}_{path.name}")
    copy.write_bytes(path.read_bytes()[:length])
    return copy


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match=r"^none\.mp4: there is no such file$"):
        list_packets(tmp_path / "none.mp4")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ItemError, match=r"empty\.mp4 is empty \(0 bytes\): fetch"):
        list_packets(tmp_path / "empty.mp4")


def test_text_that_calls_itself_a_video(tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("<html>404 not found</html>\n" * 50)
    with pytest.raises(ItemError, match=r"page\.mp4 is not a video that can be read") as caught:
        list_packets(tmp_path / "page.mp4")
    assert str(tmp_path) not in str(caught.value), "no path of this machine in a manifest"


def test_sound_without_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = np.zeros((1, 16000), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ItemError, match="holds no video stream, only audio"):
        list_packets(tmp_path / "song.mp4")


def test_header_without_a_single_frame(make_video) -> None:
    path = make_video("b.mkv", frames=1)
    data = path.read_bytes()
    cluster = data.index(bytes.fromhex("1f43b675"))
    # a segment of unknown length, as a recorder leaves it, that ends before its first cluster
    segment = data.index(bytes.fromhex("18538067")) + 4
    path.write_bytes(data[:segment] + b"\x01" + b"\xff" * 7 + data[segment + 8 : cluster])
    with pytest.raises(ItemError):
        read_timeline(path)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("index", ["front", "back", "fragments"])
def test_a_cut_mp4_is_never_a_shorter_video(make_video, index: str, share: float) -> None:
    flags = {"front": "faststart", "back": "", "fragments": "frag_keyframe+empty_moov"}[index]
    path = make_video(
        "whole.mp4",
        codec_options={"bf": "2", "g": "8"},
        container_options={"movflags": flags} if flags else None,
    )
    assert list_packets(path).count == 48
    with pytest.raises(ItemError, match=r"is cut short|without a readable index"):
        list_packets(cut(path, int(share * path.stat().st_size)))


def test_one_missing_byte_of_the_last_frame_is_enough(make_video) -> None:
    path = make_video("whole.mp4", container_options={"movflags": "faststart"})
    with pytest.raises(ItemError, match=r"lists 48 frames up to byte \d+, the file has") as caught:
        list_packets(cut(path, path.stat().st_size - 1))
    assert "the data of 1 is missing; fetch the file again" in str(caught.value)


def test_cut_clip_from_a_camera(tmp_path: Path, clip: Path) -> None:
    copy = tmp_path / clip.name
    copy.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(ItemError, match=r"is cut short|without a readable index"):
        read_timeline(copy)


@pytest.mark.parametrize("name", ["b.mkv", "b.avi", "b.webm"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_cut_files_of_other_containers(make_video, name: str, share: float) -> None:
    codec = {"b.mkv": "libx264", "b.avi": "mpeg4", "b.webm": "libvpx-vp9"}[name]
    path = make_video(name, codec=codec)
    assert list_packets(path).count == 48
    with pytest.raises(ItemError, match="is cut short: by its own account it ends at byte"):
        list_packets(cut(path, int(share * path.stat().st_size)))


def test_an_mp4_without_its_index(make_video) -> None:
    path = make_video("whole.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"moov") - 4])
    with pytest.raises(ItemError, match=r"without a readable index \(moov\)"):
        list_packets(path)


def test_names_that_look_like_a_protocol_or_a_pattern(make_video, monkeypatch, tmp_path) -> None:
    for name in ("v=x__#00-42:10_label_B1-0-0.mp4", "http:x.mp4", "a%03d.mp4"):
        make_video(name, frames=3)
        monkeypatch.chdir(tmp_path)
        assert list_packets(Path(name)).count == 3


def test_a_playlist_cannot_reach_the_network(tmp_path: Path) -> None:
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n"
    (tmp_path / "list.mp4").write_text(playlist + "#EXT-X-ENDLIST\n")
    with pytest.raises(ItemError):
        list_packets(tmp_path / "list.mp4")


def test_a_video_is_decoded_on_one_thread(make_video) -> None:
    with open_video(make_video("b.mp4", frames=3)) as (_, stream):
        assert stream.codec_context.thread_count == 1
        assert stream.codec_context.thread_type.name == "NONE"


def test_titles_in_another_encoding_do_no_harm(make_video) -> None:
    path = make_video("b.mp4", frames=3)
    path.write_bytes(path.read_bytes().replace(b"VideoHandler", b"Vid\xe9oHandler"))
    assert list_packets(path).count == 3


def test_a_coding_that_nobody_knows(make_video) -> None:
    path = make_video("b.mp4", frames=3)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    with pytest.raises(ItemError, match=r"b\.mp4: there is no decoder for its video stream"):
        list_packets(path)


def test_an_index_longer_than_the_file_is_not_walked(make_video) -> None:
    path = make_video("b.mp4", container_options={"movflags": "frag_keyframe+empty_moov"})
    data = bytearray(path.read_bytes())
    flags = data.index(b"trun") + 4
    # no field per frame, so that a million of them take no room
    data[flags : flags + 8] = (0).to_bytes(4, "big") + (1 << 20).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(ItemError, match=r"is damaged: its index lists \d+ frames, the file has"):
        list_packets(path)
