"""Training: it learns, and an interruption changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
import torch

from demo.train import Recipe, train

RECIPE = Recipe(steps=6, batch=2, warmup=2)
CPU = torch.device("cpu")


def _weights(
    state: Path, until: int | None = None, recipe: Recipe = RECIPE
) -> dict[str, torch.Tensor]:
    with ThreadPoolExecutor(1) as pool:
        model, _ = train(recipe, state, CPU, pool, save_every=100, until=until)
    return dict(model.state_dict())


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = _weights(tmp_path / "one.safetensors")
    _weights(tmp_path / "two.safetensors", until=3)
    rest = _weights(tmp_path / "two.safetensors")
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


def test_it_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _weights(tmp_path / "state.safetensors", recipe=Recipe(steps=50, batch=2, warmup=5))
    first, second = (
        float(line.split("loss ")[1].split()[0]) for line in capsys.readouterr().out.splitlines()
    )
    assert second < 0.8 * first


def test_a_state_of_another_recipe_is_refused(tmp_path: Path) -> None:
    _weights(tmp_path / "state.safetensors", until=1)
    with pytest.raises(click.ClickException, match="remove it"):
        _weights(tmp_path / "state.safetensors", recipe=Recipe(steps=7, batch=2))
