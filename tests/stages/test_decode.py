"""The decode stage: what it writes for a whole, a damaged and a broken video."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from cache.digest import read_json
from cache.errors import ItemError
from cache.fields import recipe_of
from manifests import schema
from manifests.table import read_table
from stages import decode
from stages.contract import Job

BOTTLE = Path(__file__).parents[1] / "data/bottle-detection.mp4"


def run(out: Path, source: Path | None = BOTTLE, progress: Any = None, **options: Any) -> Any:
    out.mkdir()
    job = Job("bottle", decode.Settings(**options), out, source=source)
    if progress is not None:
        job = Job("bottle", decode.Settings(**options), out, source=source, progress=progress)
    return decode.compute(job)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[tuple[float, float]]]:
    reports: list[tuple[float, float]] = []
    out = tmp_path_factory.mktemp("decode") / "out"
    result = run(out, progress=lambda done, total: reports.append((done, total)))
    return out, result, reports


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip with ten frames in a row overwritten, from the 600th packet on."""
    path = tmp_path_factory.mktemp("damaged") / "bottle-detection.mp4"
    data = bytearray(BOTTLE.read_bytes())
    with av.open(str(BOTTLE)) as container:
        for entry in container.streams.video[0].index_entries[600:610]:
            data[entry.pos + 4 : entry.pos + entry.size] = bytes(entry.size - 4)
    path.write_bytes(data)
    return path


def test_recipe_and_knobs() -> None:
    assert recipe_of(decode.Settings()) == {"mode": "frames", "damaged_share": 0.05}


def test_the_timeline_of_a_real_clip(whole) -> None:
    out, result, _ = whole
    timeline = read_table(out / "timeline.parquet", schema.TIMELINE)
    with av.open(str(BOTTLE)) as container:
        expected = [float(f.pts * f.time_base) for f in container.decode(video=0)]
    assert timeline["frame"].to_pylist() == list(range(1189))
    np.testing.assert_allclose(timeline["pts_s"].to_numpy(), expected, atol=1e-12)
    assert all(timeline["sound"].to_pylist())
    assert result.rows == 1189
    assert result.notes == ()
    assert set(result.seconds) == {"read", "write"}


def test_the_facts_of_the_video(whole) -> None:
    assert read_json(whole[0] / "video.json") == {
        "codec": "h264",
        "damaged_frames": 0,
        "duration_s": pytest.approx(1189 * 6 / 179),
        "expected_frames": 1189,
        "fps": pytest.approx(179 / 6),
        "height": 360,
        "n_frames": 1189,
        "rotation": 0,
        "time_base": "1/11456",
        "width": 640,
    }


def test_thumbnails_are_twelve_small_pictures_outside_the_digest(whole) -> None:
    out, result, _ = whole
    thumbnails = read_table(out / "thumbnails.parquet", schema.THUMBNAILS)
    timeline = read_table(out / "timeline.parquet", schema.TIMELINE)
    assert thumbnails["frame"].to_pylist() == [int((i + 0.5) * 1189 / 12) for i in range(12)]
    pts = timeline["pts_s"].to_pylist()
    frames = thumbnails["frame"].to_pylist()
    assert thumbnails["pts_s"].to_pylist() == [pts[frame] for frame in frames]
    for image in thumbnails["jpeg"].to_pylist():
        assert Image.open(io.BytesIO(image), formats=("JPEG",)).size == (160, 90)
    assert result.auxiliary == {"thumbnails.parquet"}
    assert {path.name for path in out.iterdir()} == {
        "timeline.parquet",
        "video.json",
        "thumbnails.parquet",
    }


def test_progress_counts_frames(whole) -> None:
    reports = whole[2]
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert {total for _, total in reports} == {1189}
    assert len(reports) > 10


def test_the_same_video_gives_the_same_bytes(whole, tmp_path: Path) -> None:
    out = whole[0]
    run(tmp_path / "again")
    for path in out.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_packets_mode_reads_the_same_timeline_and_key_frames_as_pictures(
    whole, tmp_path: Path
) -> None:
    result = run(tmp_path / "out", mode="packets")
    assert result.rows == 1189
    names = ("timeline.parquet", "video.json")
    assert all((tmp_path / "out" / n).read_bytes() == (whole[0] / n).read_bytes() for n in names)
    thumbnails = read_table(tmp_path / "out" / "thumbnails.parquet", schema.THUMBNAILS)
    key = read_table(tmp_path / "out" / "timeline.parquet", schema.TIMELINE)["key"].to_pylist()
    assert thumbnails.num_rows == 5
    assert all(key[frame] for frame in thumbnails["frame"].to_pylist())


def test_no_thumbnails(tmp_path: Path) -> None:
    run(tmp_path / "out", mode="packets", thumbnails=0)
    assert read_table(tmp_path / "out" / "thumbnails.parquet", schema.THUMBNAILS).num_rows == 0


def test_a_few_damaged_frames_are_flagged_and_told(damaged: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "out", damaged)
    timeline = read_table(tmp_path / "out" / "timeline.parquet", schema.TIMELINE)
    unsound = [frame for frame, sound in enumerate(timeline["sound"].to_pylist()) if not sound]
    assert result.rows == timeline.num_rows == 1189
    assert len(unsound) >= 10
    assert set(range(600, 608)) <= set(unsound)
    assert all(590 < frame < 660 for frame in unsound), "the decoder recovers"
    assert read_json(tmp_path / "out" / "video.json")["damaged_frames"] == len(unsound)
    assert result.notes == (f"{len(unsound)} of 1189 expected frames are missing or unsound",)


def test_more_damage_than_the_share_allows_fails_with_both_counts(
    damaged: Path, tmp_path: Path
) -> None:
    with pytest.raises(ItemError, match=r"^\d\d of 1189 expected frames are missing or unsound"):
        run(tmp_path / "out", damaged, damaged_share=0.005)


def test_files_that_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("not found")
    (tmp_path / "half.mp4").write_bytes(BOTTLE.read_bytes()[:300_000])
    for number, name in enumerate(("page.mp4", "half.mp4", "none.mp4")):
        with pytest.raises(ItemError, match=name):
            run(tmp_path / f"out{number}", tmp_path / name)
        assert list((tmp_path / f"out{number}").iterdir()) == []


def test_a_job_without_its_file(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match="the video file is not at hand"):
        run(tmp_path / "out", None)
