"""`hiprobe check`, and what plan, status and run make of a data set that is not as its lists say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tests.messy_copies
from pipeline.check import check_value
from pipeline.config import load_config
from tests.conftest import Called
from tests.messy_copies import MessyCopy, invented_ucf_crime, messy_ucf_crime, write_config
from tests.small_world import Clip, write_video

Hiprobe = Callable[..., Called]


@pytest.fixture
def messy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[MessyCopy, Path]:
    """The small invented data set, with every fault (the real lists: test_published)."""
    monkeypatch.setattr(tests.messy_copies, "LISTS", tmp_path / "nowhere")
    copy = messy_ucf_crime(tmp_path / "data")
    return copy, write_config(copy, tmp_path / "run.toml")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """The configuration of the same data set without a fault."""
    sources = invented_ucf_crime(tmp_path / "data")
    copy = MessyCopy("ucf-crime", sources)
    for path in (sources.train_list, sources.test_list):
        assert path is not None
        for line in path.read_text().split():
            copy.put(line)
    return write_config(copy, tmp_path / "run.toml")


def test_every_deviation_is_listed_and_the_exit_code_is_that_of_a_refusal(
    messy: tuple[MessyCopy, Path], hiprobe: Hiprobe
) -> None:
    copy, config = messy
    called = hiprobe("check", config)
    assert called.code == 2
    for kind, subject, stops in copy.expected:
        line = next(
            line
            for line in called.out.partition(f"\n{kind}: ")[2].splitlines()
            if subject in line and line.endswith("[stops]") == stops
        )
        assert line.startswith("  ")
    refusals = [line for line in called.out.splitlines() if line.startswith("a run would be ref")]
    assert refusals == [
        "a run would be refused: 5 deviations stop a run (3 missing, 2 contradiction). Give the "
        "missing videos, or set data.allow_missing = true to go without them; mend what is "
        "contradictory in the lists or the folder."
    ]
    value = json.loads(hiprobe("check", config, "--json").out)
    found = {(d["kind"], d["subject"], d["stops"]) for d in value["deviations"]}
    assert {d for d in found if d[0] != "count"} == copy.expected
    groups = {(g["split"], g["class"]): (g["found"], g["absent"]) for g in value["groups"]}
    assert groups["train", "Abuse"] == (3, 1)
    assert groups["test", "Normal"] == (5, 0)
    assert next(g["official"] for g in value["groups"] if g["class"] == "Robbery") == 145


@pytest.mark.parametrize("command", ["plan", "status", "run"])
def test_what_stops_a_run_is_refused_by_name_and_points_to_check(
    messy: tuple[MessyCopy, Path], hiprobe: Hiprobe, command: str
) -> None:
    copy, config = messy
    called = hiprobe(command, config)
    assert called.code == 2
    assert "(5 deviations):" in called.out
    for kind, subject, stops in copy.expected:
        assert (f"  {subject} " in called.out) == stops, kind
    assert f"`hiprobe check {config}` lists all of them" in called.out


def test_many_refusals_are_counted(sound: Path, hiprobe: Hiprobe) -> None:
    for file in (sound.parent / "data/videos/Training_Normal_Videos_Anomaly").iterdir():
        file.unlink()
    for file in (sound.parent / "data/videos/Abuse").iterdir():
        file.unlink()
    called = hiprobe("plan", sound)
    assert called.out.count("is not there") == 10
    assert "... and 5 more" in called.out


def test_allowed_missing_videos_are_left_out_and_said(sound: Path, hiprobe: Hiprobe) -> None:
    videos = sound.parent / "data/videos"
    (videos / "Abuse/Abuse001_x264.mp4").unlink()
    (videos / "Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4").unlink()
    allowed = ("--set", "data.allow_missing=true")
    called = hiprobe("check", sound, *allowed)
    assert called.code == 0
    assert "missing: 2 listed and not there" in called.out
    assert called.out.rstrip().endswith(
        "a run can begin without the 2 absent videos; every figure says so"
    )
    status = hiprobe("status", sound, *allowed)
    assert status.code == 0
    assert "warning: 2 listed and not there: Abuse001_x264, Normal_Videos_003_x264" in status.out
    run = hiprobe("run", sound, "--until", "index", "--quiet", *allowed)
    assert "note: 2 listed and not there: Abuse001_x264, Normal_Videos_003_x264" in run.out


def test_status_says_many_deviations_in_few_lines(
    messy: tuple[MessyCopy, Path], hiprobe: Hiprobe
) -> None:
    copy, config = messy
    for name in ("Abuse101_x264", "Normal_Videos_002_x264"):  # the two that lie in wrong folders
        copy.path(name)
        next(copy.root.rglob(f"{name}.mp4")).unlink()
    called = hiprobe("status", config, "--set", "data.allow_missing=true")
    warnings = [line for line in called.out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 7  # six kinds, and where to see all
    assert warnings[0].startswith("warning: 5 listed and not there: Abuse000_x264, ")
    assert warnings[-1] == "warning: `hiprobe check` lists every deviation"


def test_the_probing_subset_is_listed(sound: Path, hiprobe: Hiprobe) -> None:
    value = json.loads(hiprobe("check", sound, "--json", "--set", "data.probing_share=0.25").out)
    probing = value["probing"]
    assert (probing["count"], probing["labelled_training_videos"]) == (4, 16)
    assert (probing["share"], probing["foreseen"]) == (0.25, False)
    assert [video["class"] for video in probing["videos"]] == [
        "Normal",
        "Normal",
        "Abuse",
        "Arrest",
    ]
    text = hiprobe("check", sound, "--set", "data.probing_share=0.25").out
    assert "probing subset: 4 of 16 labelled training videos (25.00 %): 2 normal, 2 an" in text
    for video in probing["videos"]:
        assert f"\n  {video['class']}  {video['video_id']}\n" in text


def test_a_test_video_in_the_probing_subset_is_refused_and_all_else_is_said(
    sound: Path, hiprobe: Hiprobe
) -> None:
    named = 'data.probing_videos=["Abuse/Abuse100_x264", "Abuse/Abuse000_x264"]'
    called = hiprobe("check", sound, "--set", named)
    assert called.code == 2
    assert "'Abuse/Abuse100_x264' is a test video: nothing is ever fitted on" in called.out
    assert called.out.count("a run would be refused") == 1
    assert re.search(r"\ntrain +Abuse +4 +48 +0 +-44\n", called.out)


def test_frame_labels_without_intervals_are_refused_before_the_run(
    sound: Path, hiprobe: Hiprobe
) -> None:
    words = ("--set", "data.probing_labels=frame", "--set", "data.probing_share=0.25")
    called = hiprobe("check", sound, *words)
    assert called.code == 2
    assert 'probing_labels = "frame" needs an annotated interval' in called.out


def test_one_content_under_two_names_is_said(sound: Path, hiprobe: Hiprobe) -> None:
    videos = sound.parent / "data/videos"
    (videos / "Abuse/Abuse001_x264.mp4").write_text("same")
    (videos / "Abuse/Abuse101_x264.mp4").write_text("same")
    called = hiprobe("check", sound)
    assert called.code == 0
    assert (
        "same content, in training and test: Abuse/Abuse001_x264 (train) = Abuse/Abuse101_x264 "
        "(test)" in called.out
    )


def test_what_is_not_digested_is_foreseen(
    sound: Path, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads(hiprobe("check", sound, "--json").out)
    monkeypatch.setattr("pipeline.gather.SMALL", 10)
    config = load_config(sound, ["run.store=other"])
    value = check_value(config)
    assert value["to_digest"]["files"] == 27
    assert value["probing"] == {**before["probing"], "foreseen": True}
    text = hiprobe("check", sound, "--set", "run.store=other").out
    assert "same content: not known, 27 files" in text
    assert "`hiprobe run --until index` does it" in text


def test_an_empty_folder_of_videos_is_refused_clearly(sound: Path, hiprobe: Hiprobe) -> None:
    for command in ("plan", "run", "check"):
        called = hiprobe(command, sound, "--set", "data.videos=")
        assert called.code == 2
        assert "data.videos is empty: give the folder of the videos" in called.out


def measured_set(folder: Path, **data: Any) -> Path:
    """Two real videos of 30 and 20 frames, a third that is listed only, and odd frame counts."""
    from pipeline.toml import render

    for clip in (Clip("train/n.mp4", 10, 3), Clip("test/a.mp4", 10, 2)):
        (folder / "videos" / clip.path).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / "videos" / clip.path, clip, [0])
    (folder / "labels.csv").write_text(
        "video,split,label,class,start_frame,end_frame\ntrain/n.mp4,train,0,Normal,,\n"
        "test/a.mp4,test,1,Fire,5,23\ntest/gone.mp4,test,0,Normal,,\n"
    )
    (folder / "counts.csv").write_text("video,n_frames\ntrain/n,31\ntest/a.mp4,20\nelse,5\n")
    values: dict[str, dict[str, Any]] = {
        "data": {
            "videos": "videos", "labels": "labels.csv", "frame_counts": ["counts.csv"], **data,
        }
    }  # fmt: skip
    config = folder / "run.toml"
    config.write_text(render(values, head="Measured."), encoding="utf-8")
    return config


def test_frame_counts_are_compared_once_videos_are_decoded(
    tmp_path: Path, hiprobe: Hiprobe
) -> None:
    config = measured_set(tmp_path, allow_missing=True)
    before = json.loads(hiprobe("check", config, "--json").out)["frames"]
    late = {"video_id": "test/a", "end_frame": 23, "frames": 20}
    assert before == {
        "listed": 2, "decoded": 0, "differences": [], "past_the_end": [{**late, "by": "listed"}],
    }  # fmt: skip
    run = hiprobe("run", config, "--until", "decode", "--quiet")
    said = (
        "1 with another number of frames than listed (what was decoded counts): train/n 30, "
        "listed 31"
    )
    assert f"note: {said}" in run.out
    assert "note: 1 listed and not there: test/gone" in run.out
    assert f"warning: {said}" in hiprobe("status", config).out
    after = json.loads(hiprobe("check", config, "--json").out)["frames"]
    assert after == {
        "listed": 2,
        "decoded": 2,
        "differences": [{"video_id": "train/n", "decoded": 30, "listed": 31}],
        "past_the_end": [{**late, "by": "decoded"}],
    }
    text = hiprobe("check", config).out
    assert "train/n: 30 decoded, 31 listed: what is decoded counts" in text
    assert "test/a: annotated to frame 23, and has 20 (decoded): clipped to 20" in text
    assert "else has a frame count, and is not in the folder" in text
    # the configuration that the run leaves behind finds the same lists
    again = load_config(tmp_path / "runs/run/config.toml")
    assert again.paths("data", "frame_counts") == (tmp_path / "counts.csv",)
    assert replace(again, given={}).path("data", "labels") == tmp_path / "labels.csv"


def test_a_folder_with_a_missing_video_is_refused_unless_it_may_be_missing(
    tmp_path: Path, hiprobe: Hiprobe
) -> None:
    config = measured_set(tmp_path)
    assert hiprobe("plan", config).code == 2
    with (tmp_path / "labels.csv").open("a") as file:
        file.writelines(f"test/gone{n}.mp4,test,0,Normal,,\n" for n in range(30))
    called = hiprobe("check", config)
    assert called.code == 2
    assert called.out.count(" (test, Normal) is not there") == 31  # the error shows twenty
    assert "line 4: the folder holds no video 'test/gone.mp4'" in called.out
    assert hiprobe("check", config, "--set", "data.allow_missing=true").code == 0


def test_a_label_file_that_cannot_be_read_is_refused_as_it_is(
    tmp_path: Path, hiprobe: Hiprobe
) -> None:
    config = measured_set(tmp_path)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("train/n.mp4,train,7,,,\n")
    called = hiprobe("check", config)
    assert called.code == 2
    assert "line 5: video 'train/n': label is '7'" in called.out
