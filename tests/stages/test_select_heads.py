"""Stage select: how often heads are chosen where the videos are drawn again, and heads by chance."""

from __future__ import annotations

import numpy as np
import pytest

from cache.digest import read_json
from cache.errors import ConfigError
from manifests.schema import HEAD_REPLICATES, HEAD_SELECTION
from manifests.table import read_table, write_table
from stages import select
from tests.stages.test_select import PAIRS, make_heads_job

REPLICATES = 9


def with_replicates(tmp_path, method="separability", lost=(), **settings):
    """The job of six heads at three prompts, and a separability for every replicate."""
    job, figures = make_heads_job(tmp_path, method, **settings)
    rows = [(*pair, m, r) for pair in PAIRS for m in range(3) for r in range(REPLICATES)]
    names = ("layer", "head", "prompt", "replicate")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    values = np.random.default_rng(1).random(len(rows))
    columns["separability"] = [
        None if row[3] in lost else float(value) for row, value in zip(rows, values, strict=True)
    ]
    write_table(tmp_path / "heads/replicates.parquet", HEAD_REPLICATES, columns)
    return job, figures, dict(zip(rows, values, strict=True))


@pytest.mark.parametrize(("prompt", "top"), [(0, 1), (2, 3)])
def test_wins_are_the_share_of_replicates_that_choose_a_head(tmp_path, prompt, top):
    job, _, values = with_replicates(tmp_path, lost=[4], prompt=prompt, heads_top=top)
    result = select.compute(job)
    counts = dict.fromkeys(PAIRS, 0)
    for replicate in set(range(REPLICATES)) - {4}:
        ranked = sorted(PAIRS, key=lambda pair: -values[(*pair, prompt, replicate)])
        for pair in ranked[:top]:
            counts[pair] += 1
    table = read_table(job.out / "heads.parquet", HEAD_SELECTION).to_pylist()
    for row in table:
        assert row["wins"] == counts[row["layer"], row["head"]] / REPLICATES
    chosen = [tuple(pair) for pair in read_json(job.out / "choice.json")["heads"]]
    wins = [counts[pair] / REPLICATES for pair in chosen]
    assert read_json(job.out / "selection.json")["stability"] == {
        "replicates": REPLICATES, "undecided": 1, "wins": wins,
    }  # fmt: skip
    rare = sum(share < 0.5 for share in wins)
    assert [f"{rare} of the {top} chosen heads" in note for note in result.notes] == [True] * (
        rare > 0
    )


@pytest.mark.parametrize("method", ["rhi", "head-lda", "random"])
def test_of_other_methods_the_replicates_say_nothing(tmp_path, method):
    job, _, _ = with_replicates(tmp_path, method, heads_top=2)
    select.compute(job)
    table = read_table(job.out / "heads.parquet", HEAD_SELECTION).to_pylist()
    assert {row["wins"] for row in table} == {None}
    assert read_json(job.out / "selection.json")["stability"] is None


def test_replicates_of_other_heads_are_refused(tmp_path):
    job, _, _ = with_replicates(tmp_path, heads_top=2)
    path = tmp_path / "heads/replicates.parquet"
    columns = read_table(path, HEAD_REPLICATES).slice(1).to_pydict()
    write_table(path, HEAD_REPLICATES, columns)
    with pytest.raises(ConfigError, match="53 rows at prompt 0 for 6 heads"):
        select.compute(job)


@pytest.mark.parametrize("name", ["lda", "kl", "mmd", "nmi"])
def test_one_figure_chooses_by_its_mean_over_the_prompts(tmp_path, name):
    job, columns = make_heads_job(tmp_path, f"head-{name}", lost=[(6, 2)], heads_top=2)
    select.compute(job)
    means = {
        pair: np.mean(columns[name][place * 3 : place * 3 + 3])
        for place, pair in enumerate(PAIRS)
        if pair != (6, 2)
    }
    expected = sorted(sorted(means, key=lambda pair: -means[pair])[:2])
    assert read_json(job.out / "choice.json") == {"heads": [list(pair) for pair in expected]}


def test_random_heads_do_not_look_at_the_figures(tmp_path):
    choices = []
    for number, lost in enumerate(([], PAIRS)):
        job, _ = make_heads_job(tmp_path, "random", f"o{number}", lost=lost, heads_top=3, seed=11)
        select.compute(job)
        choices.append(read_json(job.out / "choice.json"))
        assert read_json(job.out / "selection.json")["seed"] == 11
    assert choices[0] == choices[1]
    job, _ = make_heads_job(tmp_path, "random", "other", heads_top=3, seed=12)
    select.compute(job)
    assert read_json(job.out / "choice.json") != choices[0]
