"""Every family of backbones, from the command line to what lies in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cache.arrays import Heads, States
from cache.digest import read_json
from tests.conftest import Called, Demo
from tests.stages.backbones.checkpoints.registry import SMALL

QUESTIONS = '["What happens?", "Is it abnormal?"]'


@pytest.mark.parametrize("name", sorted(SMALL))
def test_two_videos_pass_through(
    demo: Demo, tmp_path: Path, hiprobe: Callable[..., Called], name: str
) -> None:
    SMALL[name].build(tmp_path / "model")
    videos = demo.folder / "data" / "videos"
    config = tmp_path / "run.toml"
    config.write_text(
        f'[data]\nvideos = "{videos}"\n[backbone]\nmodel = "model"\n'
        f'[forward]\nprompts = {QUESTIONS}\nheads = "all"\nyes_no = true\nlayers = [0, 2]\n',
        encoding="utf-8",
    )
    options = ("--until", "forward", "--select", "test/fi*", "--limit", 2, "--quiet", "--json")
    ran = hiprobe("run", config, *options)
    assert ran.code == 0, ran.out
    assert ran.value()["built"]["forward"] == 2
    made = sorted((tmp_path / "hiprobe-store" / "forward").glob("*/*"))
    clips = []
    for folder in made:
        states, heads = States.open(folder / "states.zarr"), Heads.open(folder / "heads.zarr")
        record = read_json(folder / "states.json")
        assert (states.layers, states.prompts, heads.prompts) == ((0, 2), 2, 2)
        assert [prompt["question"] for prompt in record["prompts"]] == [
            "What happens?",
            "Is it abnormal?",
        ]
        assert heads.head(1, 0, prompt=1).shape[0] == states.segments == record["segments"]
        clips.append(states.layer(2, prompt=1))
        assert np.ptp(clips[-1], axis=0).max() > 0
        assert not np.array_equal(clips[-1], states.layer(2, prompt=0))
    # The text that was recorded is the text that `backbone prompt` shows.
    shown = hiprobe("backbone", "prompt", config, "--json")
    assert shown.code == 0
    for prompt, said in zip(shown.value()["prompts"], record["prompts"], strict=True):
        assert prompt["text"] == said["text"]
