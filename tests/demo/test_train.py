"""Training: it learns, and an interruption changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
import torch

from demo.architecture import build_model, build_tokenizer
from demo.train import Recipe, train

RECIPE = Recipe(looks=3, glances=4, steps=4, batch=2, warmup=2)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return _weights(tmp_path_factory.mktemp("whole") / "state.safetensors")


def _weights(
    state: Path, until: int | None = None, recipe: Recipe = RECIPE
) -> dict[str, torch.Tensor]:
    with ThreadPoolExecutor(1) as pool:
        model, _, _ = train(recipe, state, CPU, pool, save_every=100, until=until)
    return dict(model.state_dict())


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_training_that_was_stopped_ends_with_the_same_weights(
    stop: int, whole: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    _weights(tmp_path / "state.safetensors", until=stop)
    rest = _weights(tmp_path / "state.safetensors")
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


def test_vision_alone_leaves_the_language_as_it_was(
    whole: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    first = build_model(build_tokenizer(), RECIPE.seed).state_dict()
    seen = _weights(tmp_path / "state.safetensors", until=RECIPE.looks)
    for name, tensor in first.items():
        assert torch.equal(seen[name], tensor) == ("vision_tower" not in name), name
        assert not torch.equal(whole[name], seen[name]), name


def test_it_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Recipe(looks=0, steps=100, batch=2, warmup=5)
    _weights(tmp_path / "state.safetensors", recipe=recipe)
    first, second = (
        float(line.split("answers ")[1].split()[0]) for line in capsys.readouterr().out.splitlines()
    )
    assert second < 0.8 * first


def test_rates_rise_and_fall_in_both_parts() -> None:
    recipe = Recipe(looks=1000, steps=500, warmup=100)
    rates = [recipe.rates_at(step) for step in range(recipe.total)]
    assert rates[0] == pytest.approx((recipe.look_rate / 100, 0))
    assert rates[200] == (recipe.look_rate, 0)
    assert rates[999] == pytest.approx((0.0015 * recipe.look_rate, 0), rel=1e-6)
    assert rates[1150] == pytest.approx((recipe.vision_share * recipe.rate, recipe.rate))
    assert max(rate for _, rate in rates) == recipe.rate
    assert rates[-1][1] < 0.01 * recipe.rate


def test_a_state_of_another_recipe_is_refused(tmp_path: Path) -> None:
    _weights(tmp_path / "state.safetensors", until=1)
    with pytest.raises(click.ClickException, match="remove it"):
        _weights(tmp_path / "state.safetensors", recipe=Recipe(looks=3, steps=7, batch=2))
