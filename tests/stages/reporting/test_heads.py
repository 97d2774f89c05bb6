"""The report of a run that chose attention heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cache.digest import read_json, write_json
from manifests import schema
from manifests.table import write_table
from stages import select
from stages.contract import Job
from stages.probes.heads.ranking import FIGURES
from tests.report_run import Page, Run, make_run
from tests.training import labels_of, write_rows

LAYERS, PER_LAYER, PROMPTS = 4, 7, 3
DEAD = (1, 2)
"""A head without figures."""


def make_heads_run(
    root: Path, method: str = "rhi", prompts: int = PROMPTS, replicates: int = 0
) -> Run:
    """The run of the report's other tests, with heads in the place of its layer."""
    made = make_run(root)
    table, choice = made.folder("heads"), made.folder("select")
    rows = [(x, y, m) for x in range(LAYERS) for y in range(PER_LAYER) for m in range(prompts)]
    generator = np.random.default_rng(0)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("layer", "head", "prompt"))}
    columns |= {"n_normal": [9] * len(rows), "n_anomalous": [7] * len(rows)}
    figures = {
        name: [None if row[:2] == DEAD else float(generator.random()) for row in rows]
        for name in FIGURES
    }
    write_table(table.path / "heads.parquet", schema.HEADS, {**columns, **figures})
    if replicates:
        write_replicates(table.path, rows, replicates)
    record = {"eps": 1e-6, "n_normal": 9, "n_anomalous": 7, "samples": 16, "head_dim": 8}
    write_json(table.path / "heads.json", record)
    videos = {"train/a": (9, 0), "train/b": (0, 7)}
    write_rows(table.path, videos)
    settings, values = select.Settings(method=method, heads_top=3), {"labels": labels_of([*videos])}
    select.compute(Job("set", settings, choice.path, {"table": table}, values=values))
    made.inputs |= {"choice": choice, "table": table}
    scorer = made.inputs["scorer"].path / "scorer.json"
    heads = read_json(choice.path / "choice.json")
    write_json(scorer, {k: v for k, v in {**read_json(scorer), **heads}.items() if k != "layer"})
    return made


def write_replicates(folder: Path, rows: list[tuple[int, int, int]], replicates: int) -> None:
    """In the first replicate the last heads are highest, in all others the first ones."""
    places = [(*row, number) for row in rows for number in range(replicates)]
    names = ("layer", "head", "prompt", "replicate")
    columns = {name: [place[i] for place in places] for i, name in enumerate(names)}
    columns["separability"] = [
        float(x * PER_LAYER + y) * (1 if number == 0 else -1) for x, y, _, number in places
    ]
    write_table(folder / "replicates.parquet", schema.HEAD_REPLICATES, columns)


def chosen_of(run: Run) -> list[list[int]]:
    found: list[list[int]] = read_json(run.inputs["choice"].path / "choice.json")["heads"]
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_heads_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return run.page()


def test_the_chosen_heads_are_named_and_what_they_were_ranked_by(run: Run, page: Page) -> None:
    named = ", ".join(f"[{layer}, {head}]" for layer, head in chosen_of(run))
    assert f"The method rhi chose 3 of 28 heads, as [layer, head]: {named}." in page.text
    assert "RSS is the mean of S over 3 prompts less 0.5 of its deviation." in page.text
    assert "16 samples (9 normal, 7 anomalous) of heads 8 wide." in page.text
    assert "The heads and the scorer rest on these 1 alone" in page.text


def test_there_is_a_map_of_heads_and_no_curve_of_layers(page: Page) -> None:
    assert "RSS by layer and head" in page.source
    assert "RSS of 28 heads; highest, " in page.source
    assert "Sum score" not in page.source
    assert "KL divergence by layer" not in page.source
    assert {a["href"] for a in page.all("a")} >= {"#layers"}
    assert "Heads Probing scores" in page.text


def test_the_table_begins_with_the_chosen_heads(run: Run, page: Page) -> None:
    table = page.text[page.text.index("The highest heads as a table") :]
    for layer, head in chosen_of(run):
        assert f"[{layer}, {head}] (chosen)" in table
    assert table.count("(chosen)") == 3
    assert table.index("[layer, head]") < table.index("(chosen)")
    assert "The first 20 of 28;" in table
    assert f"{list(DEAD)} " not in table[: table.index("The first 20")]


def test_the_recipe_and_the_scorer_name_pairs_with_their_brackets(run: Run, page: Page) -> None:
    named = ", ".join(f"[{layer}, {head}]" for layer, head in chosen_of(run))
    assert f"heads {named}" in page.text


def test_of_one_prompt_it_says_what_is_not_known(tmp_path: Path) -> None:
    text = make_heads_run(tmp_path, prompts=1).page().text
    assert "over 1 prompt less 0.5 of its deviation. Of one prompt nothing is known" in text


def test_another_method_has_another_score(tmp_path: Path) -> None:
    page = make_heads_run(tmp_path, "separability").page()
    assert "The method separability chose 3 of 28 heads" in page.text
    assert "Separability by layer and head" in page.source
    assert "RSS is" not in page.text


def test_how_often_the_chosen_heads_win_is_said(tmp_path: Path) -> None:
    made = make_heads_run(tmp_path, "separability", replicates=4)
    first, last = [(0, 0), (0, 1), (0, 2)], [(3, 4), (3, 5), (3, 6)]
    shares = {**dict.fromkeys(first, "75 %"), **dict.fromkeys(last, "25 %")}
    wins = [shares.get((layer, head), "0 %") for layer, head in chosen_of(made)]
    page = made.page()
    assert f"are among the first 3 in {', '.join(wins)} of 4 replicates." in page.text
    table = page.text[page.text.index("The highest heads as a table") :]
    assert "chosen in" in table
    assert table.count("75 %") == 3


@pytest.mark.parametrize(
    ("method", "score", "said"),
    [
        ("random", "Drawn", "drawn for each head with seed 0: no figure takes part"),
        ("head-mmd", "MMD²", "Its mean over 3 prompts."),
    ],
)
def test_an_ablation_of_the_choice_says_what_it_is(
    tmp_path: Path, method: str, score: str, said: str
) -> None:
    page = make_heads_run(tmp_path, method).page()
    assert f"{score} by layer and head" in page.source
    assert said in page.text
    assert "where the probing videos are drawn again" not in page.text.lower()


def test_the_heads_of_a_scorer_from_elsewhere_are_named(tmp_path: Path) -> None:
    made = make_heads_run(tmp_path)
    named = ", ".join(f"[{layer}, {head}]" for layer, head in chosen_of(made))
    del made.inputs["choice"], made.inputs["table"]
    assert f"the scorer was fitted elsewhere, on heads {named}." in made.page().text
