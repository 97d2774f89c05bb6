"""What cannot be right is said before any work, with exit code 2, and names the culprit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Called, Demo

Hiprobe = Callable[..., Called]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("localize.kapa=0.2", "did you mean kappa"),
        ("localize.kappa=high", "expected a number"),
        ("sample.rule=middle", "must be one of"),
        ("data.videos=nowhere", "nowhere"),
        ("data.labels=none.csv", "none.csv"),
        ("data.kind=ucf-crim", "data.kind"),
        ("backbone.model=./no-model", "no-model"),
        ("backbone.model=data/videos", "config.json"),
        ("run.store=data", "is not a hiprobe store"),
        ("run.scorer=nothing", "scorer.json"),
        ("data.probing_videos=['test/fight_02']", "test/fight_02"),
        ("data.probing_count=99", "probing_count"),
    ],
)
def test_a_wrong_field(demo: Demo, hiprobe: Hiprobe, override: str, said: str) -> None:
    for command in ("plan", "status", "run"):
        called = hiprobe(command, demo.config, "--set", override)
        assert called.code == 2, called.out
        assert said in called.out
        assert "Traceback" not in called.out


def test_a_method_that_does_not_exist_or_a_layer_out_of_range(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    for method in ("best", "fixed:99", "fixed:x"):
        called = hiprobe("run", own_demo.config, "--quiet", "--set", f"select.method={method}")
        assert called.code == 2, called.out
        assert method in called.out


def test_a_label_for_a_video_that_is_not_there(own_demo: Demo, hiprobe: Hiprobe) -> None:
    with (own_demo.folder / "data" / "labels.csv").open("a") as file:
        file.write("test/fihgt_02.mp4,test,1,Fight,5,10\n")
    called = hiprobe("run", own_demo.config)
    assert called.code == 2
    assert "test/fihgt_02" in called.out
    assert "test/fight_02" in called.out  # the nearest that is there


def test_a_video_without_a_label(own_demo: Demo, hiprobe: Hiprobe) -> None:
    labels = own_demo.folder / "data" / "labels.csv"
    kept = [line for line in labels.read_text().splitlines() if "test/fight_02" not in line]
    labels.write_text("\n".join(kept) + "\n")
    called = hiprobe("plan", own_demo.config)
    assert called.code == 2
    assert "test/fight_02" in called.out
    assert hiprobe("plan", own_demo.config, "--set", "data.unlisted=score").code == 0


def test_a_scorer_of_other_features_is_refused_by_field(demo: Demo, hiprobe: Hiprobe) -> None:
    scorer = demo.folder / "scorer"
    called = hiprobe(
        "plan", demo.config, "--set", f"run.scorer={scorer}", "--set", "sample.keyframes=4"
    )
    assert called.code == 2
    assert "sample.keyframes: scorer 8, this run 4" in called.out


def test_a_stage_that_does_not_exist(demo: Demo, hiprobe: Hiprobe) -> None:
    assert hiprobe("run", demo.config, "--until", "scoring").code == 2
    assert hiprobe("run", demo.config, "--only", "scoring").code == 2
    assert hiprobe("why", demo.config, "scoring").code == 2


def test_a_selection_that_matches_nothing(demo: Demo, hiprobe: Hiprobe) -> None:
    called = hiprobe("run", demo.config, "--select", "nothing/*")
    assert called.code == 2
    assert "nothing/*" in called.out


def test_a_missing_configuration(tmp_path: Path, hiprobe: Hiprobe) -> None:
    called = hiprobe("run", tmp_path / "none.toml")
    assert called.code == 2
    assert "hiprobe init" in called.out


def test_a_newer_store_is_refused_by_version(own_demo: Demo, hiprobe: Hiprobe) -> None:
    (own_demo.folder / "store" / "format.json").write_text('{"hiprobe_store":9}\n')
    called = hiprobe("status", own_demo.config)
    assert called.code == 2
    assert "format 9" in called.out
