"""How often each layer is chosen, against a recomputation of every figure from repeated rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError
from stages.probes.selection import METRICS, STRATEGIES, strategy_of
from stages.probes.stability import replicates_of, stability_of

NAN = float("nan")

VALUES = st.one_of(st.floats(-5, 5), st.sampled_from([0.0, 1.0, NAN, float("inf"), float("-inf")]))


@st.composite
def replicated(draw: st.DrawFn) -> tuple[list[int], list[dict[str, list[float]]]]:
    """Increasing numbers of layers, and the figures of some replicates."""
    layers = sorted(draw(st.sets(st.integers(0, 9), min_size=1, max_size=5)))
    column = st.lists(VALUES, min_size=len(layers), max_size=len(layers))
    one = st.fixed_dictionaries(dict.fromkeys(METRICS, column))
    return layers, draw(st.lists(one, min_size=1, max_size=6))


@settings(max_examples=100, deadline=None)
@given(replicated(), st.sampled_from([*STRATEGIES]))
def test_wins_are_counted_one_replicate_at_a_time(
    made: tuple[list[int], list[dict[str, list[float]]]], method: str
) -> None:
    layers, replicates = made
    strategy = strategy_of(method)
    found = stability_of(strategy, layers, replicates)
    if method == "last":
        assert found is None
        return
    assert found is not None
    winners = []
    for one in replicates:
        try:
            winners.append(strategy.choose(layers, one).layer)
        except ConfigError:
            winners.append(None)
    assert found.chosen == tuple(winners)
    assert found.wins == tuple(winners.count(layer) / len(winners) for layer in layers)
    assert found.undecided == winners.count(None)
    assert sum(found.wins) == pytest.approx(1 - found.undecided / len(winners))
    for layer, share in zip(layers, found.wins, strict=True):
        assert found.wins_of(layer) == share
        assert found.record(layer) == {
            "replicates": len(winners), "undecided": winners.count(None), "wins": share
        }  # fmt: skip


@pytest.mark.parametrize("method", ["last", "fixed:2"])
def test_a_layer_that_is_named_in_advance_has_no_stability(method: str) -> None:
    figures = {name: [1.0, 2.0, 3.0] for name in METRICS}
    assert stability_of(strategy_of(method), [1, 2, 3], [figures]) is None


def test_without_replicates_nothing_is_said() -> None:
    assert stability_of(strategy_of("kl"), [1, 2, 3], []) is None


def test_replicates_are_read_in_order_and_null_is_nan() -> None:
    columns: dict[str, list[Any]] = {
        "replicate": [0, 0, 1, 1], "layer": [1, 4, 1, 4], "kl": [0.5, None, 2.0, 3.0],
    }  # fmt: skip
    first, second = replicates_of(columns, [1, 4], ["kl"])
    assert first["kl"][0] == 0.5
    assert np.isnan(first["kl"][1])
    assert second == {"kl": [2.0, 3.0]}
    assert replicates_of({"replicate": [], "layer": [], "kl": []}, [1, 4], ["kl"]) == []


@pytest.mark.parametrize(
    ("replicate", "layer"),
    [([0, 0], [1, 3]), ([0, 1], [1, 4]), ([0, 0, 1], [1, 4, 1]), ([1, 1], [1, 4])],
)
def test_replicates_of_other_layers_are_refused(replicate: list[int], layer: list[int]) -> None:
    columns = {"replicate": replicate, "layer": layer, "kl": [0.0] * len(layer)}
    with pytest.raises(ConfigError, match="the replicates have layers"):
        replicates_of(columns, [1, 4], ["kl"])
