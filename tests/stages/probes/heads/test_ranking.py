"""Which heads are chosen, from the figures of each."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.errors import ConfigError
from stages.probes.heads import ranking
from stages.probes.heads.ranking import Asked, HeadFigures, highest, scale, stability

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


def chosen_by(method, figures, prompt=0, seed=0):
    score = ranking.METHODS[method]
    return list(score(figures, stability(figures, 0.5), Asked(prompt, seed)))


def test_separability_is_that_of_the_probed_prompt():
    figures = table()
    assert chosen_by("separability", figures, prompt=2) == figures.prompts[2]["separability"]


@pytest.mark.parametrize("name", ranking.COMBINED)
def test_one_figure_alone_is_its_mean_over_the_prompts(name):
    figures = table()
    expected = np.mean([prompt[name] for prompt in figures.prompts], axis=0)
    np.testing.assert_allclose(chosen_by(f"head-{name}", figures), expected)
    figures.prompts[1][name][4] = None
    found = chosen_by(f"head-{name}", figures, prompt=3)
    assert [place for place, value in enumerate(found) if value is None] == [4]


def test_random_heads_are_drawn_from_all_that_are_kept_by_a_seed():
    figures = table()
    for prompt in figures.prompts:
        prompt["lda"][:] = [None] * 6
    draws = [tuple(chosen_by("random", figures, seed=seed)) for seed in range(400)]
    assert draws[7] == tuple(chosen_by("random", table(seed=5), prompt=3, seed=7))
    assert len(set(draws)) == 400
    picked = [highest(PAIRS, draw, 2, "random") for draw in draws]
    for pair in PAIRS:
        assert sum(pair in heads for heads in picked) == pytest.approx(400 * 2 / 6, rel=0.25)


VALUES = st.one_of(
    st.none(), st.sampled_from([0.0, 1.0, 2.0, -1.0]), st.floats(-1e6, 1e6),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(VALUES, min_size=6, max_size=6), st.integers(1, 6))
def test_whatever_the_scores_the_choice_is_theirs_or_refused(score, top):
    able = [
        (value, pair)
        for value, pair in zip(score, PAIRS, strict=True)
        if value is not None and math.isfinite(value)
    ]
    if len(able) < top:
        with pytest.raises(ConfigError):
            highest(PAIRS, score, top, "rhi")
        return
    # Take the best that is left, again and again; of equal ones the first.
    expected = []
    for _ in range(top):
        best = max(value for value, pair in able if pair not in expected)
        expected.append(next(p for v, p in able if v == best and p not in expected))
    assert highest(PAIRS, score, top, "rhi") == tuple(sorted(expected))


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 4), st.floats(0, 3))
def test_rss_is_that_of_the_formulas_wherever_all_figures_are_known(data, prompts, weight):
    figures = HeadFigures(
        PAIRS,
        tuple(
            {name: data.draw(st.lists(VALUES, min_size=6, max_size=6)) for name in ranking.FIGURES}
            for _ in range(prompts)
        ),
    )
    found = stability(figures, weight)
    for place in range(6):
        saliency = []
        for prompt in figures.prompts:
            parts = []
            for name in ("lda", "kl", "mmd", "nmi"):
                value, known = prompt[name][place], [v for v in prompt[name] if _finite(v)]
                if _finite(value):
                    width = max(known) - min(known)
                    parts.append((value - min(known)) / width if width else 0.0)
            saliency.append(np.mean(parts) if len(parts) == 4 else None)
        assert [one[place] for one in found.saliency] == pytest.approx(saliency)
        if None in saliency:
            assert found.rss[place] is None
        else:
            expected = np.mean(saliency) - weight * np.std(saliency)
            assert found.rss[place] == pytest.approx(expected, abs=1e-12)


def _finite(value):
    return value is not None and math.isfinite(value)


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
