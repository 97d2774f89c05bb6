"""Which heads are chosen, from the figures of each."""

import numpy as np
import pytest

from cache.errors import ConfigError
from stages.probes.heads import ranking
from stages.probes.heads.ranking import HeadFigures, highest, scale, stability

PAIRS = tuple((layer, head) for layer in (3, 5) for head in (0, 1, 4))
NAMES = ("place", "layer", "head", "prompt")


def table(prompts=4, seed=0):
    """Figures of six heads on scales that differ by figure, and by prompt."""
    generator = np.random.default_rng(seed)
    return HeadFigures(
        PAIRS,
        tuple(
            {n: list(10.0 ** (k + m) * generator.normal(size=6)) for k, n in enumerate(ranking.FIGURES)}
            for m in range(prompts)
        ),
    )  # fmt: skip


def naive_rss(figures, weight):
    """As the paper's formulas stand."""
    values = np.asarray(
        [[p[name] for name in ("lda", "kl", "mmd", "nmi")] for p in figures.prompts]
    )
    low, high = values.min(axis=2, keepdims=True), values.max(axis=2, keepdims=True)
    s = ((values - low) / (high - low)).mean(axis=1)
    return s.mean(axis=0) - weight * np.sqrt(((s - s.mean(axis=0)) ** 2).mean(axis=0))


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_rss_is_the_mean_over_prompts_less_a_share_of_the_deviation(weight):
    figures = table()
    np.testing.assert_allclose(stability(figures, weight).rss, naive_rss(figures, weight))


def test_of_one_prompt_it_is_the_mean_of_the_scaled_figures():
    figures = table(prompts=1)
    found = stability(figures, 0.5)
    assert found.rss == found.saliency[0]
    expected = np.mean([found.scaled[0][name] for name in ranking.COMBINED], axis=0)
    np.testing.assert_allclose(found.rss, expected)


def test_another_unit_or_origin_of_a_figure_changes_nothing():
    figures = table()
    moved = tuple({n: [5 * v - 3 for v in p[n]] for n in p} for p in figures.prompts)
    found = stability(HeadFigures(PAIRS, moved), 0.5).rss
    np.testing.assert_allclose(found, stability(figures, 0.5).rss, rtol=1e-9)


def test_scaling_is_over_all_heads_and_a_figure_without_spread_is_zero():
    assert scale([1.0, 3.0, 2.0]) == [0.0, 1.0, 0.5]
    assert scale([7.0, 7.0]) == [0.0, 0.0]
    assert scale([7.0]) == [0.0]
    assert scale([None, 1.0, float("inf"), 3.0, float("nan")]) == [None, 0.0, None, 1.0, None]
    assert scale([None, None]) == [None, None]


def test_a_head_that_lacks_a_figure_at_one_prompt_has_no_rss_and_spoils_no_other():
    figures = table()
    figures.prompts[2]["mmd"][1] = None
    found = stability(figures, 0.5)
    assert found.rss[1] is None
    assert found.saliency[2][1] is None
    assert found.saliency[0][1] is not None
    assert None not in found.rss[:1] + found.rss[2:]


def test_the_highest_are_chosen_in_order_of_layer_and_head():
    assert highest(PAIRS, [0.1, 0.9, 0.3, 0.8, None, 0.7], 3, "rhi") == ((3, 1), (5, 0), (5, 4))


@pytest.mark.parametrize("top", [1, 2, 3])
def test_of_equal_heads_the_lowest_are_chosen(top):
    assert (
        highest(PAIRS, [0.1, 0.5, None, 0.5, 0.5, 0.5], top, "rhi")
        == ((3, 1), (5, 0), (5, 1))[:top]
    )


def test_more_heads_than_have_a_score_are_refused():
    with pytest.raises(ConfigError, match=r"choose 5 heads, and of 6 that are kept 4 have"):
        highest(PAIRS, [0.1, 0.5, None, 0.5, 0.5, None], 5, "rhi")
    with pytest.raises(ConfigError, match=r"of 6 that are kept 6 have .* lower select\.heads_top"):
        highest(PAIRS, [0.1] * 6, 7, "separability")


def test_separability_is_that_of_the_probed_prompt():
    figures = table()
    found = ranking.METHODS["separability"](figures, stability(figures, 0.5), 2)
    assert found == figures.prompts[2]["separability"]


def test_columns_of_a_table_become_figures_and_go_back():
    figures = table(prompts=3)
    rows = [(place, *pair, m) for place, pair in enumerate(PAIRS) for m in range(3)]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(NAMES)}
    for name in ranking.FIGURES:
        columns[name] = [figures.prompts[m][name][place] for place, _, _, m in rows]
    assert ranking.figures_of(columns) == figures
    found = stability(figures, 0.5)
    back = ranking.columns_of(found)
    assert back["rss"] == [found.rss[place] for place, _, _, _ in rows]
    assert back["saliency"] == [found.saliency[m][place] for place, _, _, m in rows]
    assert back["scaled_kl"] == [found.scaled[m]["kl"][place] for place, _, _, m in rows]


@pytest.mark.parametrize("lost", [0, 4, 17])
def test_a_table_that_lacks_a_row_is_refused(lost):
    rows = [(place, *pair, m) for place, pair in enumerate(PAIRS) for m in range(3)]
    del rows[lost]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(NAMES)}
    with pytest.raises(ConfigError, match="17 rows for 6 heads"):
        ranking.figures_of(columns | {name: [0.0] * 17 for name in ranking.FIGURES})
