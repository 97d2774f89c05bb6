"""A damaged video fails alone: a row with a clear message, the rest finishes, exit code 3."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from manifests.schema import STAGE_MANIFEST
from manifests.table import read_table
from tests.conftest import Called, Demo

Hiprobe = Callable[..., Called]
FAST = ("--quiet", "--json", "--set", "explain.max_new_tokens=2", "--set", "evaluate.bootstrap=10")


def write_audio(path: Path) -> None:
    """An MP4 with a second of silence and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = np.zeros((1, 16000), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


@pytest.fixture
def with_bad_videos(own_demo: Demo) -> Demo:
    """The finished demonstration with four bad files added to its test split."""
    videos = own_demo.folder / "data" / "videos" / "test"
    good = sorted(videos.glob("fight*.mp4"))[0].read_bytes()
    (videos / "bad_empty.mp4").write_bytes(b"")
    (videos / "bad_text.mp4").write_bytes(b"this is no video\n" * 100)
    (videos / "bad_truncated.mp4").write_bytes(good[: len(good) // 2])
    write_audio(videos / "bad_audio.mp4")
    with (own_demo.folder / "data" / "labels.csv").open("a") as file:
        for name in ("empty", "text", "truncated", "audio"):
            file.write(f"test/bad_{name}.mp4,test,1,Fight,5,10\n")
    return own_demo


def failed_rows(demo: Demo) -> dict[str, dict[str, object]]:
    rows = read_table(demo.folder / "manifests" / "decode.parquet", STAGE_MANIFEST).to_pylist()
    return {row["video_id"]: row for row in rows if row["status"] == "failed"}


def test_each_fails_alone_and_the_rest_finishes(with_bad_videos: Demo, hiprobe: Hiprobe) -> None:
    demo = with_bad_videos
    done = hiprobe("run", demo.config, *FAST)
    assert done.code == 3
    rows = failed_rows(demo)
    assert sorted(rows) == [f"test/bad_{n}" for n in ("audio", "empty", "text", "truncated")]
    for name, row in rows.items():
        assert row["error_class"] == "ItemError", row["message"]
        assert len(str(row["message"])) > 20, name
        assert str(demo.folder) not in str(row["message"])
    assert "empty" in str(rows["test/bad_empty"]["message"])
    assert "video" in str(rows["test/bad_audio"]["message"])
    metrics = hiprobe("show", demo.config, "--json").value()
    assert metrics["counts"]["videos"] == 12
    assert metrics["missing"]["count"] == 4
    assert "bad_truncated" in (demo.folder / "report.html").read_text()

    # Once more: nothing is tried again, nothing is made, and the exit code still says it.
    again = hiprobe("run", demo.config, *FAST)
    assert again.code == 3
    assert not any(again.value()["built"].values())
    assert {row["attempts"] for row in failed_rows(demo).values()} == {1}

    # Asked for, they are tried again, and only they.
    retried = hiprobe("run", demo.config, "--retry-failed", *FAST)
    assert retried.code == 3
    assert {row["attempts"] for row in failed_rows(demo).values()} == {2}

    # A good file in the place of a bad one is another key: it is made without being asked for.
    videos = demo.folder / "data" / "videos" / "test"
    shutil.copy(sorted(videos.glob("fight*.mp4"))[0], videos / "bad_truncated.mp4")
    mended = hiprobe("run", demo.config, *FAST, "--until", "decode")
    assert mended.code == 3
    assert "test/bad_truncated" not in failed_rows(demo)


def test_a_file_that_changes_while_it_is_read_is_not_committed(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import decode

    victim = own_demo.folder / "data" / "videos" / "test" / "fight_02.mp4"
    other = (own_demo.folder / "data" / "videos" / "test" / "fight_03.mp4").read_bytes()
    plain = decode.compute

    def compute(job):  # type: ignore[no-untyped-def]
        result = plain(job)
        if job.item == "test/fight_02":
            victim.write_bytes(other)
        return result

    monkeypatch.setattr(decode, "compute", compute)
    fresh = ("--set", "run.store=fresh", "--until", "decode", "--quiet")
    done = hiprobe("run", own_demo.config, *fresh)
    assert done.code == 3
    assert "changed since it was indexed" in done.out
    monkeypatch.undo()
    assert hiprobe("run", own_demo.config, *fresh).code == 0


def test_an_unreadable_file_is_a_failed_row(
    own_demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import gather

    plain = gather.digest_files

    def digest_files(root, files, memory, workers, progress):  # type: ignore[no-untyped-def]
        digests, failures = plain(root, files, memory, workers, progress)
        del digests["test/fight_02"]
        return digests, {**failures, "test/fight_02": "test/fight_02.mp4 cannot be read: denied"}

    monkeypatch.setattr(gather, "digest_files", digest_files)
    done = hiprobe("run", own_demo.config, *FAST)
    assert done.code == 3
    assert failed_rows(own_demo)["test/fight_02"]["message"] == (
        "test/fight_02.mp4 cannot be read: denied"
    )
