"""A probing video as one sample: what is made for it, what is shared, and who may score with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.digest import read_json
from cache.errors import ConfigError
from manifests.schema import RUN_SCORES, SELECTION, STAGE_MANIFEST
from manifests.table import read_table
from pipeline.config import make_config
from pipeline.plan import plan_all
from pipeline.values import features_of, value_of
from stages.reporting.provenance import labels_of
from tests.conftest import Called, Demo
from tests.pipeline import worlds
from tests.small_world import CLIPS

Hiprobe = Callable[..., Called]
VIDEO: dict[str, Any] = {"sample": {"unit": "video"}}
PROBED = sorted(c.path.removesuffix(".mp4") for c in CLIPS if c.split == "train")
TESTED = sorted(c.path.removesuffix(".mp4") for c in CLIPS if c.split == "test")


def keys(results: Path, stage: str) -> dict[str, str]:
    rows = read_table(results / "manifests" / f"{stage}.parquet", STAGE_MANIFEST).to_pylist()
    return {row["video_id"]: row["key"] for row in rows}


# The plan


def test_only_probing_videos_are_planned_anew() -> None:
    settled, before = worlds.settle(worlds.world())
    plans = plan_all(worlds.world(worlds.config(**VIDEO), committed=settled.committed))
    probing = {v.video_id for v in settled.videos or () if v.subset == "probing"}
    assert len(probing) == 4
    assert set(plans["sample"].todo) == probing
    assert set(plans["forward"].waiting) == probing
    others = {v.video_id for v in settled.videos or ()} - probing
    for stage in ("sample", "forward"):
        assert {v: before[stage].keys[v] for v in others} == {
            v: plans[stage].keys[v] for v in others
        }


def test_what_features_are_does_not_say_how_the_probing_videos_were_cut() -> None:
    plain, whole = worlds.world(), worlds.world(worlds.config(**VIDEO))
    assert features_of(plain) == features_of(whole)
    other = worlds.world(worlds.config(sample={"unit": "video", "keyframes": 16}))
    assert features_of(plain) != features_of(other)


def test_frame_labels_do_not_go_with_whole_videos() -> None:
    sections = {**VIDEO, "data": {"videos": "v", "probing_labels": "frame"}}
    with pytest.raises(ConfigError, match=r'set data\.probing_labels = "video"'):
        make_config(sections, folder=Path("/nowhere"))


def test_the_report_says_what_one_sample_was() -> None:
    for sections, said in (({}, "every segment of an anomalous"), (VIDEO, "one sample")):
        settled, plans = worlds.settle(worlds.world(worlds.config(**sections)))
        assert said in labels_of(value_of("run", settled, plans))


# A run


@pytest.fixture
def whole(own_demo: Demo, hiprobe: Hiprobe) -> Path:
    """The results of the small run with whole videos as samples, over the store of the other."""
    words = ("--set", "sample.unit=video", "--set", "run.name=whole", "--until", "evaluate")
    done = hiprobe("run", own_demo.config, "--quiet", "--json", *words)
    assert done.code == 0
    built = {stage: count for stage, count in done.value()["built"].items() if count}
    probed, tested = len(PROBED), len(TESTED)
    assert built == {
        "sample": probed, "forward": probed, "moments": probed, "statistics": 1, "select": 1,
        "fit": 1, "score": probed + tested, "threshold": 1, "localize": probed + tested,
        "evaluate": 1,
    }  # fmt: skip
    return own_demo.folder.parent / "whole"


def test_a_run_with_whole_videos_as_samples(whole: Path, own_demo: Demo, hiprobe: Hiprobe) -> None:
    """Every probing video is one sample, the test videos are those of the other run."""
    samples = read_table(whole / "layers.parquet", SELECTION).to_pylist()
    assert {(row["n_normal"], row["n_anomalous"]) for row in samples} == {(4, 4)}
    record = read_json(whole / "scorer" / "scorer.json")
    assert (record["unit"], record["n_normal"], record["n_anomalous"]) == ("video", 4, 4)
    for stage in ("sample", "forward"):
        mine, other = keys(whole, stage), keys(own_demo.folder, stage)
        assert {v for v in mine if mine[v] == other[v]} == set(TESTED)
    scores = read_table(whole / "scores.parquet", RUN_SCORES).to_pylist()
    frames = {c.path.removesuffix(".mp4"): c.n_frames for c in CLIPS}
    of_probed = [r for r in scores if r["video_id"] in PROBED]
    assert [(r["video_id"], r["start_frame"], r["end_frame"]) for r in of_probed] == [
        (name, 0, frames[name]) for name in PROBED
    ]
    for name in TESTED:
        assert sum(r["video_id"] == name for r in scores) == -(-frames[name] // 24)
    assert read_json(whole / "metrics.json")["counts"]["videos"] == len(TESTED)
    # The scorer of whole videos scores the segments of another run.
    words = ("--set", f"run.scorer={whole / 'scorer'}", "--set", "run.name=borrowed")
    done = hiprobe("run", own_demo.config, "--quiet", "--json", *words, "--only", "score")
    assert done.code == 0
    assert done.value()["built"]["score"] == len(PROBED) + len(TESTED)
