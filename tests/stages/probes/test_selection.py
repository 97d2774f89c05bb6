"""Which layer each method chooses, and what never can be chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError
from stages.probes.selection import METRICS, compared_by, strategy_of, z_scores

NAN = float("nan")


def figures(**given):
    length = max((len(v) for v in given.values()), default=5)
    return {name: given.get(name, [0.0] * length) for name in METRICS}


def choose(method, table, layers=None):
    numbers = range(len(table["kl"])) if layers is None else layers
    return strategy_of(method).choose(numbers, table)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=34))
def test_z_scores_use_layers_from_1_and_the_population_deviation(values):
    found = z_scores(range(len(values)), values)
    assert found[0] is None
    inner = np.asarray(values[1:])
    if inner.min() == inner.max():
        assert found[1:] == (0.0,) * len(inner)
    elif inner.std() > 1e-9 * np.abs(inner).max():
        expected = (inner - inner.mean()) / inner.std()
        np.testing.assert_allclose(found[1:], expected, rtol=1e-6, atol=1e-6)


def test_a_figure_without_spread_has_z_score_zero():
    assert z_scores(range(4), [9.0, 0.1, 0.1, 0.1]) == (None, 0.0, 0.0, 0.0)


def test_dlsp_takes_the_highest_sum_of_z_scores():
    table = figures(kl=[0, 1, 2, 9, 3], ldr=[0, 1, 2, 3, 9], entropy=[0, 1, 2, 5, 5])
    choice = choose("dlsp", table)
    expected = sum(
        (np.asarray(table[n][1:]) - np.mean(table[n][1:])) / np.std(table[n][1:])
        for n in ("kl", "ldr", "entropy")
    )
    np.testing.assert_allclose(choice.score[1:], expected, rtol=1e-12)
    assert choice.layer == 1 + int(np.argmax(expected))


@pytest.mark.parametrize("method", METRICS)
def test_a_metric_chooses_its_highest_layer_and_never_layer_0(method):
    choice = choose(method, figures(**{method: [99.0, 1.0, 3.0, 2.0]}))
    assert choice.layer == 2
    assert choice.score == (None, 1.0, 3.0, 2.0)


@pytest.mark.parametrize("method", ["dlsp", "kl"])
def test_of_equal_layers_the_lowest_is_chosen(method):
    assert choose(method, figures(kl=[5.0, 1.0, 3.0, 3.0, 3.0])).layer == 2


@pytest.mark.parametrize("bad", [NAN, float("inf"), float("-inf")])
@pytest.mark.parametrize("method", ["dlsp", "kl"])
def test_what_is_not_finite_never_wins_and_does_not_disturb_the_others(method, bad):
    choice = choose(method, figures(kl=[0.0, bad, 1.0, 7.0, 2.0]))
    assert choice.layer == 3
    assert choice.score[1] is None
    with_it, without = [0.0, bad, 1.0, 7.0, 2.0], [0.0, 1.0, 7.0, 2.0]
    assert z_scores(range(5), with_it)[2:] == z_scores(range(4), without)[1:]


@pytest.mark.parametrize("method", ["dlsp", "silhouette"])
def test_nothing_finite_is_an_error(method):
    table = {name: [1.0, NAN, NAN] for name in METRICS}
    with pytest.raises(ConfigError, match="no layer with a finite figure"):
        choose(method, table)
    with pytest.raises(ConfigError, match="no layer with a finite figure"):
        choose(method, {name: [1.0] for name in METRICS})


@pytest.mark.parametrize(("method", "layer"), [("last", 4), ("fixed:0", 0), ("fixed:4", 4)])
def test_named_layers(method, layer):
    choice = choose(method, figures(kl=[0.0] * 5))
    assert choice.layer == layer
    assert choice.score == (None,) * 5


def test_a_layer_that_is_not_there_is_an_error_that_says_which_are():
    with pytest.raises(
        ConfigError, match="'fixed:5' names no layer that is kept, which are 0 to 4"
    ):
        choose("fixed:5", figures(kl=[0.0] * 5))


KEPT = [16, 20, 24]
"""Layers with gaps, and without layer 0."""


@pytest.mark.parametrize(
    ("method", "layer"),
    [("dlsp", 20), ("kl", 20), ("silhouette", 16), ("last", 24), ("fixed:16", 16)],
)
def test_layers_with_gaps_are_chosen_by_their_number(method, layer):
    table = figures(kl=[1.0, 5.0, 2.0], ldr=[1.0, 5.0, 2.0], silhouette=[3.0, 2.0, 1.0])
    choice = choose(method, table, KEPT)
    assert choice.layer == layer
    assert len(choice.score) == 3


def test_without_layer_0_every_kept_layer_has_a_z_score():
    values = [1.0, 5.0, 3.0]
    expected = (np.asarray(values) - 3.0) / np.std(values)
    np.testing.assert_allclose(z_scores(KEPT, values), expected, rtol=1e-12)
    assert z_scores([0, 20, 24], values)[0] is None


@pytest.mark.parametrize("method", ["dlsp", "last", "fixed:20", *METRICS])
def test_a_single_kept_layer_wins(method):
    choice = choose(method, {name: [0.25] for name in METRICS}, [20])
    assert choice.layer == 20
    assert choice.score == (
        (0.0,) if method == "dlsp" else (0.25,) if method in METRICS else (None,)
    )


def test_a_layer_that_is_not_kept_is_an_error_that_names_those_that_are():
    with pytest.raises(ConfigError, match=r"'fixed:18' names no layer that is kept.* 16, 20, 24 "):
        choose("fixed:18", figures(kl=[0.0] * 3), KEPT)
    with pytest.raises(ConfigError, match=r"'kl' has no layer .* among layers 0;"):
        choose("kl", {name: [1.0] for name in METRICS}, [0])


@pytest.mark.parametrize(
    "method", ["", "KL", "fixed", "fixed:", "fixed:-1", "fixed:1.5", "fixed:²"]
)
def test_an_unknown_method_is_an_error_that_names_the_allowed(method):
    with pytest.raises(ConfigError, match=r"dlsp, last, kl, ldr, entropy, silhouette.*fixed:16"):
        strategy_of(method)


VALUES = st.one_of(
    st.floats(-1e3, 1e3), st.sampled_from([0.0, 1.0, NAN, float("inf"), float("-inf")])
)
"""With many ties, and with what is not finite."""


@st.composite
def tables(draw):
    layers = sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=8)))
    column = st.lists(VALUES, min_size=len(layers), max_size=len(layers))
    return layers, {name: draw(column) for name in METRICS}


def naive_scores(method, layers, table):
    """What a method ranks layers by, from the formulas as they stand; None never wins."""
    if method in METRICS:
        return [
            v if n >= 1 and np.isfinite(v) else None
            for n, v in zip(layers, table[method], strict=True)
        ]
    sums = np.zeros(len(layers))
    for name in ("kl", "ldr", "entropy"):
        values = np.asarray(table[name], dtype=np.float64)
        able = np.isfinite(values) & (np.asarray(layers) >= 1)
        z = np.full(len(layers), NAN)
        if able.any():
            inner = values[able]
            flat = inner.min() == inner.max() or inner.std() == 0
            z[able] = 0.0 if flat else (inner - inner.mean()) / inner.std()
        sums = sums + z
    return [None if np.isnan(v) else float(v) for v in sums]


@settings(max_examples=200, deadline=None)
@given(tables(), st.sampled_from(["dlsp", *METRICS]))
def test_the_lowest_of_the_best_layers_wins_and_nothing_else_ever(made, method):
    layers, table = made
    expected = naive_scores(method, layers, table)
    able = [value for value in expected if value is not None]
    if not able:
        with pytest.raises(ConfigError, match="no layer with a finite figure"):
            choose(method, table, layers)
        return
    choice = choose(method, table, layers)
    assert [v is None for v in choice.score] == [v is None for v in expected]
    for found, wanted in zip(choice.score, expected, strict=True):
        assert found is wanted is None or found == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    best = max(value for value in choice.score if value is not None)
    assert choice.layer == min(n for n, v in zip(layers, choice.score, strict=True) if v == best)
    assert choice.layer >= 1


@settings(max_examples=100, deadline=None)
@given(tables(), st.sampled_from(["dlsp", *METRICS]))
def test_a_layer_that_cannot_win_changes_nothing(made, method):
    layers, table = made
    try:
        before = choose(method, table, layers).layer
    except ConfigError:
        return
    more = {name: [*values, NAN] for name, values in table.items()}
    assert choose(method, more, [*layers, 41]).layer == before
    if layers[0] != 0:
        more = {name: [1e9, *values] for name, values in table.items()}
        assert choose(method, more, [0, *layers]).layer == before


@pytest.mark.parametrize(
    ("method", "figures_of_it", "compared"),
    [
        ("dlsp", ("kl", "ldr", "entropy"), {"layer"}),
        ("silhouette", ("silhouette",), {"layer"}),
        ("cv", ("cv",), {"layer", "cv"}),
        ("last", (), {"layer"}),
        ("fixed:3", (), {"layer"}),
    ],
)
def test_a_method_says_what_it_ranks_by_and_what_is_compared_for_it(
    method, figures_of_it, compared
):
    assert tuple(strategy_of(method).ranks_by) == figures_of_it
    assert compared_by(method) == compared


def test_heads_are_compared_for_a_method_of_heads():
    assert compared_by("rhi") == {"heads"}
    with pytest.raises(ConfigError, match="cv"):
        compared_by("best")
