"""What the forward passes will cost: from the plan, the shape of the backbone, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cache.catalog import StageCatalog
from cache.errors import ConfigError
from manifests.schema import SELECTION, STAGE_MANIFEST
from manifests.table import read_table
from pipeline.config import Config
from pipeline.estimates import (
    SUPPOSED_SIZE,
    Basis,
    estimate_rows,
    forward_estimate,
    operations,
    prompt_tokens,
)
from pipeline.plan import plan_all
from pipeline.world import OutsideScorer, World
from stages.backbones.cost import cost_of, stored_bytes, tokens_of
from stages.backbones.shape import ModelShape
from tests.conftest import HIPROBE, Demo
from tests.pipeline import worlds
from tests.stages.backbones.checkpoints import qwen2_5_vl
from tests.stages.backbones.test_published_costs import INTERNVL2_5_8B, QWEN2_5_VL_7B, QWEN_LIMITS
from tests.stages.backbones.test_shape import shaped

STATE = 4096 * 2
"""Bytes of one hidden state of the 8B model."""


@pytest.fixture
def basis(tmp_path: Path) -> Basis:
    return Basis(shaped(tmp_path, INTERNVL2_5_8B), "bfloat16", {})


def config(**sections: Any) -> Config:
    """A configuration of one prompt."""
    forward = {"prompts": ["What happens?"], **sections.pop("forward", {})}
    return worlds.config(forward=forward, **sections)


def two_passes(**sections: Any) -> Config:
    forward = {"test_layers": "selected", **sections.pop("forward", {})}
    return config(forward=forward, **sections)


def made(world: World, stage: str, rows: Mapping[str, int]) -> World:
    """The world after a stage has made its artifact, with so many rows, of some videos."""
    plan = plan_all(world)[stage]
    catalog = StageCatalog()
    for video, count in rows.items():
        catalog.add(plan.keys[video], worlds.sha(f"{stage} of {video}"), count, 1000)
    return dataclasses.replace(world, committed={**world.committed, stage: catalog})


def estimated(world: World, basis: Basis) -> dict[str, Any]:
    found = forward_estimate(world, plan_all(world), basis)
    assert found is not None
    return found


def per_segment(world: World, shape: ModelShape, depth: int) -> int:
    """What one segment of one prompt costs, by the arithmetic that has tests of its own."""
    question = world.config.sections["forward"].prompts[0]
    tokens = tokens_of(shape, 8, *SUPPOSED_SIZE, prompt_tokens(world, shape, question))
    return cost_of(shape, tokens, depth).total


def test_where_nothing_is_to_be_passed_there_is_no_estimate(basis: Basis) -> None:
    settled, plans = worlds.settle(worlds.world(config()))
    assert forward_estimate(settled, plans, basis) is None
    unknown = dataclasses.replace(settled, listing=None, videos=None)
    assert forward_estimate(unknown, plan_all(unknown), basis) is None


def test_before_decode_a_segment_is_estimated_and_their_number_is_unknown(basis: Basis) -> None:
    world = worlds.world(config())
    (only,) = estimated(world, basis)["passes"]
    assert (only["stage"], only["videos"], only["videos_unknown"]) == ("forward", 9, 9)
    (case,) = only["cases"]
    assert case["flop_per_segment"] == per_segment(world, basis.shape, 32)
    assert case["bytes_per_segment"] == 33 * STATE
    assert (only["segments"], case["flop"], case["bytes"]) == (0, 0, 0)
    (row,) = estimate_rows(estimated(world, basis))
    assert row[1] == "unknown, of 9 videos"
    assert row[5:7] == ["?", "?"]


def test_segments_come_from_frames_and_then_from_the_plan_of_keyframes(basis: Basis) -> None:
    # 24 frames a segment: 1, 2 and 5 segments, a rest being one of its own.
    frames = {"test/n1": 24, "test/a1": 25, "train/n1": 97}
    world = made(worlds.world(config()), "decode", frames)
    (only,) = estimated(world, basis)["passes"]
    assert (only["segments"], only["videos_unknown"]) == (8, 6)
    world = made(world, "sample", {"test/n1": 70})
    (only,) = estimated(world, basis)["passes"]
    assert only["segments"] == 70 + 2 + 5
    (case,) = only["cases"]
    assert case["flop"] == 77 * case["flop_per_segment"]
    assert case["bytes"] == 77 * 33 * STATE
    (row,) = estimate_rows(estimated(world, basis))
    assert row[1] == "77 of 3 videos (6 more unknown)"


def test_a_probing_video_that_is_one_sample_is_one_segment(basis: Basis) -> None:
    world = worlds.world(config(sample={"unit": "video"}))
    world = made(world, "decode", {"train/n1": 500, "test/n1": 70, "test/a1": 24})
    probing = {v.video_id for v in world.videos or () if v.subset == "probing"}
    (each,) = estimated(world, basis)["passes"]
    assert each["segments"] == len(probing) + 3 + 1 + ("train/n1" not in probing) * 21


def test_an_open_choice_shows_the_range_and_a_supposed_layer(basis: Basis) -> None:
    world = worlds.world(two_passes())
    frames = {name: 240 for name, *_ in worlds.VIDEOS}
    found = estimated(made(world, "decode", frames), basis)
    first, second = found["passes"]
    assert (first["videos"], first["segments"]) == (4, 40)
    assert (second["stage"], second["videos"], second["segments"]) == ("forward_selected", 5, 50)
    assert [case["layer"] for case in second["cases"]] == [20, 1, 32]
    whole = per_segment(world, basis.shape, 32)
    for case in second["cases"]:
        each = per_segment(world, basis.shape, case["layer"])
        assert case["flop_per_segment"] == each
        assert case["saving"]["flop"] == 50 * (whole - each)
        assert case["saving"]["flop_share"] == pytest.approx(1 - each / whole)
        assert case["saving"]["bytes"] == 50 * 32 * STATE
        assert case["saving"]["bytes_share"] == pytest.approx(32 / 33)
    assert second["cases"][0]["saving"]["flop_share"] == pytest.approx(0.32, abs=0.01)
    rows = estimate_rows(found)
    assert [row[2] for row in rows] == [
        "all layers",
        "layer 20 (supposed)",
        "layer 1 (least)",
        "layer 32 (most)",
    ]
    assert rows[1][-1].startswith("32% of operations, 97% of bytes: ")
    assert any("5/8 of the depth" in text for text in found["supposed"])


@pytest.mark.parametrize(
    ("forward", "select", "layers"),
    [
        ({}, {"method": "fixed:16"}, [16]),
        ({}, {"method": "last"}, [32]),
        ({"layers": [0, 8, 24]}, {"method": "last"}, [24]),
        ({"layers": [0, 8, 18, 24]}, {}, [18, 8, 24]),
    ],
)
def test_a_choice_that_follows_from_the_configuration_is_known(
    forward: dict[str, Any], select: dict[str, Any], layers: list[int], basis: Basis
) -> None:
    world = worlds.world(two_passes(forward=forward, select=select))
    second = estimated(world, basis)["passes"][1]
    assert [case["layer"] for case in second["cases"]] == layers


@pytest.mark.parametrize(
    ("kept", "depths"),
    [("all", (20, 1, 32)), ([[3, 0], [3, 1], [9, 5], [17, 2], [30, 7]], (18, 4, 31))],
)
def test_heads_that_are_still_to_be_chosen_show_the_range(
    basis: Basis, kept: Any, depths: tuple[int, ...]
) -> None:
    settings = two_passes(forward={"heads": kept}, select={"method": "rhi"})
    cases = estimated(worlds.world(settings), basis)["passes"][1]["cases"]
    assert [case["layer"] for case in cases] == list(depths)
    assert cases[0]["kept"] == f"5 heads up to layer {depths[0] - 1}"
    assert {case["bytes_per_segment"] for case in cases} == {5 * 128 * 2}


def test_a_choice_that_was_made_is_used(basis: Basis) -> None:
    world = worlds.world(two_passes())
    chosen = dataclasses.replace(basis, choice={"layer": 12})
    (case,) = estimated(world, chosen)["passes"][1]["cases"]
    assert (case["kept"], case["layer"], case["bytes_per_segment"]) == ("layer 12", 12, STATE)
    heads = dataclasses.replace(basis, choice={"heads": [[18, 4], [23, 24]]})
    (case,) = estimated(world, heads)["passes"][1]["cases"]
    assert (case["kept"], case["layer"]) == ("2 heads", 24)
    assert case["bytes_per_segment"] == 2 * 128 * 2


def test_the_layer_that_steers_the_heads_is_kept_and_run_through(basis: Basis) -> None:
    """Three cases where the heads may lie behind it, one where they cannot."""
    one, state = 4 * 128 * 2, 4096 * 2
    for context, depths in ((24, [24, 24, 32]), ("last", [32])):
        select = {"method": "separability", "heads_top": 4, "context": context}
        settings = two_passes(forward={"heads": "all"}, select=select, fit={"scorer": "steer"})
        world = worlds.world(settings)
        cases = estimated(world, basis)["passes"][1]["cases"]
        # The supposed and the least depth of the heads lie before the context: one case.
        assert [case["layer"] for case in cases] == sorted(set(depths))
        number = 32 if context == "last" else context
        assert {case["kept"] for case in cases} == {f"4 heads and layer {number}"}
        assert {case["bytes_per_segment"] for case in cases} == {one + state}
    for layer, depth in ((5, 24), (28, 28)):
        choice = {"heads": [[18, 4], [23, 24]], "context": layer}
        (case,) = estimated(world, dataclasses.replace(basis, choice=choice))["passes"][1]["cases"]
        assert (case["kept"], case["layer"]) == (f"2 heads and layer {layer}", depth)
        assert case["bytes_per_segment"] == 2 * 128 * 2 + state


def test_with_an_outside_scorer_only_the_second_pass_is_left(basis: Basis) -> None:
    scorer = OutsideScorer(Path("scorer"), worlds.sha("scorer"), {}, worlds.sha("choice"))
    world = worlds.world(two_passes(), scorer=scorer)
    chosen = dataclasses.replace(basis, choice={"layer": 20})
    (only,) = estimated(world, chosen)["passes"]
    assert (only["stage"], only["videos"]) == ("forward_selected", 9)


def test_prompts_heads_and_formats_are_counted_as_they_are_stored(basis: Basis) -> None:
    asked = {
        "prompts": ["What happens?", "Is it normal?"],
        "layers": [4],
        "heads": [[9, 0], [2, 1]],
        "store_dtype": "float32",
    }
    world = worlds.world(config(forward=asked))
    (case,) = estimated(world, basis)["passes"][0]["cases"]
    assert (case["kept"], case["layer"], case["prompts"]) == ("1 layer and 2 heads", 10, 2)
    assert case["bytes_per_segment"] == 2 * (4096 + 2 * 128) * 4
    alone = worlds.world(config(forward={**asked, "prompts": ["What happens?"]}))
    (one,) = estimated(alone, basis)["passes"][0]["cases"]
    assert one["flop_per_segment"] < case["flop_per_segment"] < 1.05 * one["flop_per_segment"]
    every = worlds.world(config(forward={"layers": [1], "heads": "all"}))
    (all_heads,) = estimated(every, basis)["passes"][0]["cases"]
    assert all_heads["layer"] == 32
    kept = stored_bytes(basis.shape, "bfloat16", 1, heads=32 * 32)
    assert all_heads["bytes_per_segment"] == kept


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        ({"layers": [3, 33]}, "names layer 33, and this backbone has layers 0 to 32"),
        ({"heads": [[32, 0]]}, r"names head \[32, 0\].* has heads \[0, 0\] to \[31, 31\]"),
        ({"heads": [[0, 32]]}, r"names head \[0, 32\]"),
    ],
)
def test_what_the_backbone_does_not_have_is_told_before_the_run(
    forward: dict[str, Any], words: str, basis: Basis
) -> None:
    world = worlds.world(config(forward=forward))
    with pytest.raises(ConfigError, match=words):
        estimated(world, basis)


def test_frames_that_were_seen_are_averaged_over_videos(tmp_path: Path) -> None:
    shape = shaped(tmp_path, QWEN2_5_VL_7B, preprocessor_config=QWEN_LIMITS)
    world = worlds.world(config())

    def each(frames: dict[tuple[int, int], int]) -> Any:
        found = estimated(world, Basis(shape, "bfloat16", frames))
        return found["passes"][0]["cases"][0], found["supposed"]

    small, said = each({(240, 320): 1})
    large, _ = each({(360, 640): 1})
    mixed, both = each({(240, 320): 3, (360, 640): 1})
    nothing, supposed = each({})
    assert nothing == small
    mean = (3 * small["flop_per_segment"] + large["flop_per_segment"]) / 4
    assert mixed["flop_per_segment"] == pytest.approx(mean)
    assert said[-1] == "frames of 320x240, as in 1 video"
    assert both[-1] == "frames of 320x240, 640x360, as in 4 videos"
    assert supposed[-1] == "frames of 320x240: no video is decoded yet"


def test_operations_are_written_in_three_figures() -> None:
    told = [operations(count) for count in (0, 999, 999_600, 36.66e12, 2.1e19)]
    assert told == ["0 FLOP", "999 FLOP", "1 MFLOP", "36.7 TFLOP", "21 EFLOP"]


def planned(demo: Demo, *words: str) -> Any:
    """What `hiprobe plan --json` says of a finished demonstration, and that torch was not needed."""
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        f"try: main({['plan', str(demo.config), '--json', *words]!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules), 'a model library'\n"
    )
    done = subprocess.run([HIPROBE[0], "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_plan_of_a_real_run_has_its_segments_and_its_choice(demo: Demo) -> None:
    assert planned(demo)["passes"] is None
    (only,) = planned(demo, "--set", "forward.system=Look")["passes"]["passes"]
    rows = read_table(demo.folder / "manifests" / "forward.parquet", STAGE_MANIFEST, ["rows"])
    assert (only["videos"], only["videos_unknown"]) == (20, 0)
    assert only["segments"] == sum(rows["rows"].to_pylist())
    (second,) = planned(demo, "--set", "forward.test_layers=selected")["passes"]["passes"]
    layers = read_table(demo.folder / "layers.parquet", SELECTION, ["layer", "chosen"]).to_pylist()
    chosen = [row["layer"] for row in layers if row["chosen"]]
    assert [case["layer"] for case in second["cases"]] == chosen


def test_the_plan_looks_at_the_size_of_frames_where_it_decides(demo: Demo, tmp_path: Path) -> None:
    folder = tmp_path / "qwen"
    folder.mkdir()
    qwen2_5_vl.build(folder)
    passes = planned(demo, "--set", f"backbone.model={folder}")["passes"]
    assert passes["supposed"][-1] == "frames of 160x120, as in 20 videos"


def test_a_plan_without_the_model_says_so(demo: Demo) -> None:
    identity = planned(demo)["backbone"]
    away = ("--set", "backbone.model=", "--set", f"backbone.identity={identity}")
    # Every video waits for its keyframes: what of them can be passed is not known yet.
    found = planned(demo, *away, "--set", "decode.damaged_share=0.1")
    assert found["passes"] == {"unknown": "the backbone is not on this machine"}
