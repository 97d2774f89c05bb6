"""`run --from-bundle`: what the whole run gives, where neither videos nor model are."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.bundles.contents import open_bundle
from pipeline.commands.options import world_of
from pipeline.plan import plan_all
from tests.cache.stores import unwritable
from tests.conftest import Called, Demo
from tests.pipeline.bundles import chosen, exported

Hiprobe = Callable[..., Called]


@pytest.mark.parametrize(
    ("field", "code", "text"),
    [
        ("select.method=last", 2, "the choice reads layer 6, the bundle own holds layer 2 alone"),
        ("sample.segment_frames=12", 2, "sample.segment_frames: the bundle 24, this run 12"),
        ("forward.test_layers=selected", 2, "forward.test_layers: the bundle 'all'"),
        ("backbone.identity=abc", 2, "backbone.identity is abc, the bundle own was made by"),
        ("statistics.bins=17", 0, "statistics reads all layers, the bundle holds layer 2 alone"),
        ("explain.seed=3", 0, "of explain: the bundle holds no model"),
    ],
)
def test_what_a_bundle_lacks_is_said(
    own: Path, colleague: Path, hiprobe: Hiprobe, field: str, code: int, text: str
) -> None:
    called = hiprobe(
        "run", "--from-bundle", own, "--quiet", "--until", "explain", "--set", field,
        "--set", "evaluate.bootstrap=0",
    )  # fmt: skip
    assert called.code == code
    assert text.replace("layer 2", f"layer {open_bundle(own).layers[0]}") in called.out


def test_other_settings_give_what_the_whole_run_gives(
    own_demo: Demo, own: Path, colleague: Path, hiprobe: Hiprobe
) -> None:
    """Also with a configuration of one's own, and the states of the store out of reach."""
    words = ("--quiet", "--set", "fit.c=0.25", "--set", "localize.kappa=0.5", "--until", "evaluate")
    assert hiprobe("run", own_demo.config, *words).code == 0
    mine = colleague / "mine.toml"
    text = (own / "run.toml").read_text().replace('identity = "', 'identity = ""  # "', 1)
    mine.write_text(text)
    assert hiprobe("run", mine, "--from-bundle", own, *words).code == 0
    results = colleague / "runs" / "demo"
    for name in ("scores.parquet", "metrics.json", "intervals.parquet"):
        assert (results / name).read_bytes() == (own_demo.folder / name).read_bytes(), name
    # What it wrote down goes on by itself, from the same bundle.
    again = hiprobe("plan", results / "config.toml", "--json", "--set", "fit.c=0.25")
    stages = {stage["stage"]: stage for stage in again.value()["stages"]}
    assert stages["fit"]["todo"] == stages["forward"]["todo"] == stages["forward"]["blocked"] == 0


def test_two_passes_give_what_the_whole_run_gives(
    own_demo: Demo, colleague: Path, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    two = ("--set", "forward.test_layers=selected")
    assert hiprobe("run", own_demo.config, "--quiet", "--until", "localize", *two).code == 0
    layer = chosen(own_demo)
    refused = hiprobe(
        "cache", "export", own_demo.config, "--out", tmp_path / "b", *two, "--layers",
        f"{layer},{layer + 1}",
    )  # fmt: skip
    assert f"--layers: forward_selected keeps layers {layer}, not {layer + 1}" in refused.out
    out = exported(own_demo, tmp_path / "b", *two)
    status = hiprobe("status", "--from-bundle", out, "--json").value()["stages"]
    (second,) = (s for s in status if s["stage"] == "forward_selected")
    assert (second["fresh"], second["stores"]) == (12, {str(out): 12})
    called = hiprobe("run", "--from-bundle", out, "--quiet", "--json", "--until", "localize")
    assert called.code == 0, called.out
    results = colleague / "runs" / "demo"
    for name in ("scores.parquet", "intervals.parquet"):
        assert (results / name).read_bytes() == (own_demo.folder / name).read_bytes(), name
    here, there = (
        plan_all(world_of(folder / "config.toml", two[1:])[0])
        for folder in (results, own_demo.folder)
    )
    for stage in ("index", "sample", "forward", "select", "forward_selected", "fit", "score"):
        assert here[stage].keys == there[stage].keys
        assert here[stage].digests == there[stage].digests
        assert len(here[stage].digests) in (1, 8, 12, 20)


def test_a_video_that_failed_is_missed_there_as_it_was_here(
    own_demo: Demo, colleague: Path, tmp_path: Path, hiprobe: Hiprobe
) -> None:
    lost = own_demo.folder / "data/videos/test/fight_02.mp4"
    lost.write_bytes(lost.read_bytes()[:600])
    words = ("--quiet", "--until", "evaluate")
    assert hiprobe("run", own_demo.config, *words).code == 3
    out = tmp_path / "b"
    done = hiprobe("cache", "export", own_demo.config, "--out", out, "--quiet")
    assert "bundle of 19 videos" in done.out
    assert "1 videos that failed have none" in done.out
    assert "1 videos failed and have no array" in (out / "README.md").read_text()
    called = hiprobe("run", "--from-bundle", out, *words)
    assert called.code == 3
    assert "FAILED decode of test/fight_02" in called.out
    for name in ("scores.parquet", "metrics.json"):
        found = (colleague / "runs" / "demo" / name).read_bytes()
        assert found == (own_demo.folder / name).read_bytes(), name


def test_a_bundle_is_only_read(own: Path, colleague: Path, hiprobe: Hiprobe) -> None:
    words = ("--quiet", "--until", "localize")
    with unwritable(own, errno.EROFS):
        assert hiprobe("run", "--from-bundle", own, *words).code == 0
    with pytest.raises(OSError, match="Read-only"), unwritable(own, errno.EROFS):
        (own / "new").mkdir()
