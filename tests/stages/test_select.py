"""Stage select: a layer or heads are chosen, and every figure is kept whatever the method."""

import numpy as np
import pytest

from cache.digest import read_json
from cache.errors import ConfigError
from cache.fields import notes
from manifests.schema import HEAD_SELECTION, HEADS, LAYER_REPLICATES, LAYERS, SELECTION
from manifests.table import read_table, write_table
from stages import select
from stages.contract import Job
from stages.probes.heads.ranking import FIGURES
from tests.payload import Folder
from tests.training import labels_of, write_rows

VIDEOS = {"a": (7, 0), "b": (3, 8)}
"""(normal, anomalous) samples of the videos that the tables rest on."""
RESTS_ON = {"videos": 2, "n_normal": 10, "n_anomalous": 8}


def make_job(tmp_path, method, out="out", layers=range(5)):
    for name in ("table", out):
        (tmp_path / name).mkdir(exist_ok=True)
    columns = {
        "layer": np.asarray(layers),
        "n_normal": np.full(5, 10),
        "n_anomalous": np.full(5, 8),
        "kl": np.asarray([99, 1, 2, 9, 3.0]),
        "ldr": np.asarray([99, 1, 2, 3, 9.0]),
        "entropy": np.asarray([99, 1, 1, 5, 2.0]),
        "silhouette": np.asarray([0.9, 0.4, 0.1, 0.2, 0.3]),
        "silhouette_se": np.full(5, 0.01),
    }
    write_table(tmp_path / "table/layers.parquet", LAYERS, columns)
    write_rows(tmp_path / "table", VIDEOS)
    inputs, values = {"table": Folder(tmp_path / "table")}, {"labels": labels_of(VIDEOS)}
    return Job("set", select.Settings(method=method), tmp_path / out, inputs, values=values)


@pytest.mark.parametrize(
    ("method", "layer"),
    [
        ("dlsp", 3),
        ("last", 4),
        ("fixed:0", 0),
        ("fixed:2", 2),
        ("kl", 3),
        ("ldr", 4),
        ("entropy", 3),
        ("silhouette", 1),
    ],
)
def test_the_choice_and_its_table(tmp_path, method, layer):
    job = make_job(tmp_path, method)
    assert select.compute(job).rows == 5
    assert read_json(job.out / "choice.json") == {"layer": layer}
    assert read_json(job.out / "selection.json") == {
        "method": method, "prompt": 0, "layer": layer, "layers": [0, 1, 2, 3, 4],
        "stability": None, **RESTS_ON,
    }  # fmt: skip
    found = read_table(job.out / "layers.parquet", SELECTION).to_pydict()
    assert [n for n, chosen in enumerate(found["chosen"]) if chosen] == [layer]
    assert found["kl"] == [99, 1, 2, 9, 3]
    for name in ("kl", "ldr", "entropy"):
        values = np.asarray(found[name][1:])
        expected = (values - values.mean()) / values.std()
        assert found[f"z_{name}"][0] is None
        np.testing.assert_allclose(found[f"z_{name}"][1:], expected, rtol=1e-12)


def test_dlsp_is_the_default_and_ranks_by_the_sum(tmp_path):
    assert select.Settings().method == "dlsp"
    job = make_job(tmp_path, "dlsp")
    select.compute(job)
    found = read_table(job.out / "layers.parquet", SELECTION).to_pydict()
    sums = [sum(found[f"z_{n}"][layer] for n in ("kl", "ldr", "entropy")) for layer in range(1, 5)]
    assert found["score"][0] is None
    np.testing.assert_allclose(found["score"][1:], sums, rtol=1e-12)


@pytest.mark.parametrize(
    ("method", "first", "layer"),
    [
        ("dlsp", 3, 3),  # without layer 0, the first row takes part as every other
        ("dlsp", 0, 20),
        ("silhouette", 3, 3),
        ("silhouette", 0, 8),
        ("last", 3, 24),
        ("fixed:3", 3, 3),
    ],
)
def test_layers_with_gaps_are_chosen_by_their_numbers(tmp_path, method, first, layer):
    job = make_job(tmp_path, method, layers=[first, 8, 16, 20, 24])
    select.compute(job)
    found = read_table(job.out / "layers.parquet", SELECTION).to_pydict()
    assert read_json(job.out / "choice.json") == {"layer": layer}
    assert read_json(job.out / "selection.json")["layers"] == [first, 8, 16, 20, 24]
    assert found["layer"] == [first, 8, 16, 20, 24]
    assert found["chosen"] == [number == layer for number in found["layer"]]


def test_only_the_choice_is_content_the_rest_says_how_it_came_about(tmp_path):
    outs = []
    for method in ("dlsp", "kl", "fixed:3"):
        job = make_job(tmp_path, method, method)
        auxiliary = select.compute(job).auxiliary
        names = {path.name for path in job.out.iterdir()}
        assert names - auxiliary == {"choice.json"}
        outs.append((job.out / "choice.json").read_bytes())
        assert read_json(job.out / "selection.json")["method"] == method
    assert len(set(outs)) == 1


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    outs = []
    for name in ("one", "two"):
        job = make_job(tmp_path, "dlsp", name)
        select.compute(job)
        outs.append([path.read_bytes() for path in sorted(job.out.iterdir())])
    assert outs[0] == outs[1]


def test_a_method_is_checked_before_anything_runs(tmp_path):
    check = notes(select.Settings)["method"].check
    assert check("fixed:16") is None
    assert check("silhouette") is None
    assert "dlsp, last, kl" in check("best")
    with pytest.raises(
        ConfigError, match=r"'fixed:9' names no layer that is kept, which are 0 to 4"
    ):
        select.compute(make_job(tmp_path, "fixed:9"))
    with pytest.raises(ConfigError, match=r"names no layer that is kept, which are 1, 3 to 5, 9 "):
        select.compute(make_job(tmp_path, "fixed:2", layers=[1, 3, 4, 5, 9]))
    assert notes(select.Settings)["prompt"].check(-1) == "must be at least 0"


def test_a_table_whose_layers_repeat_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"layers \[1, 3, 3, 4, 5\], expected increasing"):
        select.compute(make_job(tmp_path, "dlsp", layers=[1, 3, 3, 4, 5]))


@pytest.mark.parametrize(
    ("winners", "wins", "told"),
    [
        ([3, 3, 1, 2], 0.5, False),
        ([3, 1, 1, 2], 0.25, True),
        ([1, 1, None, 2], 0.0, True),
        ([None] * 4, 0.0, True),
        ([3, 3, 3, None], 0.75, False),
    ],
)
def test_a_choice_that_few_replicates_make_is_noted(tmp_path, winners, wins, told):
    job = make_job(tmp_path, "kl")  # which chooses layer 3
    rows = [(number, layer, winner) for number, winner in enumerate(winners) for layer in range(5)]
    values = [None if winner is None else float(layer == winner) for _, layer, winner in rows]
    columns = {
        "replicate": [number for number, _, _ in rows],
        "layer": [layer for _, layer, _ in rows],
        **dict.fromkeys(("kl", "ldr", "entropy", "silhouette"), values),
    }
    write_table(tmp_path / "table/replicates.parquet", LAYER_REPLICATES, columns)
    result = select.compute(job)
    undecided = winners.count(None)
    assert read_json(job.out / "selection.json")["stability"] == {
        "replicates": 4, "undecided": undecided, "wins": wins
    }  # fmt: skip
    found = read_table(job.out / "layers.parquet", SELECTION)["wins"].to_pylist()
    assert found == [winners.count(layer) / 4 for layer in range(5)]
    percent = f"{100 * wins:.0f}"
    expected = (
        f"layer 3 is chosen in {percent} % of 4 replicates that draw the probing videos again"
    )
    assert [note.startswith(expected) for note in result.notes] == [True] * told


PAIRS = [(layer, head) for layer in (4, 6) for head in (0, 2, 3)]


def make_heads_job(tmp_path, method, out="out", lost=(), **settings):
    """Six heads at three prompts; the figures of the heads in `lost` are null."""
    for name in ("heads", out):
        (tmp_path / name).mkdir(exist_ok=True)
    rows = [(*pair, prompt) for pair in PAIRS for prompt in range(3)]
    columns = dict(zip(("layer", "head", "prompt"), zip(*rows, strict=True), strict=True))
    columns |= {"n_normal": [10] * 18, "n_anomalous": [8] * 18}
    generator = np.random.default_rng(4)
    for name in FIGURES:
        values = generator.random(18)
        columns[name] = [
            None if row[:2] in lost else float(v) for row, v in zip(rows, values, strict=True)
        ]
    write_table(tmp_path / "heads/heads.parquet", HEADS, columns)
    write_rows(tmp_path / "heads", VIDEOS)
    inputs, values = {"table": Folder(tmp_path / "heads")}, {"labels": labels_of(VIDEOS)}
    chosen = select.Settings(method=method, **settings)
    return Job("set", chosen, tmp_path / out, inputs, values=values), columns


def naive_rss(columns, weight):
    """RSS by pair as the formulas stand, row by row."""
    saliency = {}
    for prompt in range(3):
        at = [i for i, p in enumerate(columns["prompt"]) if p == prompt]
        scaled = []
        for name in ("lda", "kl", "mmd", "nmi"):
            values = [columns[name][i] for i in at]
            scaled.append([(v - min(values)) / (max(values) - min(values)) for v in values])
        for place, pair in enumerate(PAIRS):
            saliency.setdefault(pair, []).append(sum(s[place] for s in scaled) / 4)
    return {pair: np.mean(s) - weight * np.std(s) for pair, s in saliency.items()}


@pytest.mark.parametrize(("top", "weight"), [(1, 0.5), (3, 0.5), (3, 3.0), (6, 0.0)])
def test_rhi_chooses_the_heads_of_the_highest_rss(tmp_path, top, weight):
    job, columns = make_heads_job(tmp_path, "rhi", heads_top=top, heads_lambda=weight)
    assert select.compute(job).rows == 6
    rss = naive_rss(columns, weight)
    expected = sorted(sorted(PAIRS, key=lambda pair: -rss[pair])[:top])
    assert read_json(job.out / "choice.json") == {"heads": [list(pair) for pair in expected]}
    assert read_json(job.out / "selection.json") == {
        "method": "rhi", "prompt": 0, "heads": [list(pair) for pair in expected], "top": top,
        "lambda": weight, "kept": 6, "prompts": 3, "stability": None, **RESTS_ON,
    }  # fmt: skip
    table = read_table(job.out / "heads.parquet", HEAD_SELECTION).to_pylist()
    assert len(table) == 18
    for row in table:
        pair = (row["layer"], row["head"])
        assert row["rss"] == row["score"] == pytest.approx(rss[pair], rel=1e-12)
        assert row["chosen"] == (pair in expected)
    for name in FIGURES:
        assert [row[name] for row in table] == columns[name]


def test_separability_chooses_by_the_probed_prompt(tmp_path):
    choices = []
    for prompt in range(3):
        job, columns = make_heads_job(
            tmp_path, "separability", f"out{prompt}", heads_top=2, prompt=prompt
        )
        select.compute(job)
        values = dict(zip(PAIRS, columns["separability"][prompt::3], strict=True))
        expected = sorted(sorted(PAIRS, key=lambda pair: -values[pair])[:2])
        choices.append(read_json(job.out / "choice.json"))
        assert choices[-1] == {"heads": [list(pair) for pair in expected]}
        table = read_table(job.out / "heads.parquet", HEAD_SELECTION).to_pylist()
        assert {(r["layer"], r["head"]): r["score"] for r in table} == values
        assert None not in {row["rss"] for row in table}
    assert len({str(choice) for choice in choices}) > 1


@pytest.mark.parametrize(("said", "context"), [("", None), ("last", 7), ("0", 0), ("2", 2)])
def test_the_layer_that_steers_the_heads_is_part_of_the_choice(tmp_path, said, context):
    """The last is the output of the last decoder layer: that of layer l is hidden state l + 1."""
    job, columns = make_heads_job(tmp_path, "separability", heads_top=2, context=said)
    select.compute(job)
    choice = read_json(job.out / "choice.json")
    assert max(columns["layer"]) == 6
    assert choice.pop("context", None) == context
    assert list(choice) == ["heads"]
    assert read_json(job.out / "selection.json").get("context") == context


def test_of_heads_too_the_choice_alone_is_content(tmp_path):
    job, _ = make_heads_job(tmp_path, "rhi", heads_top=6)
    auxiliary = select.compute(job).auxiliary
    assert {path.name for path in job.out.iterdir()} - auxiliary == {"choice.json"}
    other, _ = make_heads_job(tmp_path, "separability", "other", heads_top=6)
    select.compute(other)
    assert (job.out / "choice.json").read_bytes() == (other.out / "choice.json").read_bytes()


def test_heads_without_figures_are_never_chosen(tmp_path):
    job, _ = make_heads_job(tmp_path, "rhi", lost=[(4, 2), (6, 3)], heads_top=4)
    select.compute(job)
    assert read_json(job.out / "choice.json") == {"heads": [[4, 0], [4, 3], [6, 0], [6, 2]]}
    job, _ = make_heads_job(tmp_path, "rhi", "more", lost=[(4, 2), (6, 3)], heads_top=5)
    with pytest.raises(ConfigError, match=r"choose 5 heads, and of 6 that are kept 4 have"):
        select.compute(job)
    with pytest.raises(ConfigError, match=r"choose 7 heads, .* lower select\.heads_top"):
        select.compute(make_heads_job(tmp_path, "separability", "seven", heads_top=7)[0])


def test_the_methods_of_heads_are_known():
    check = notes(select.Settings)["method"].check
    assert check("rhi") is check("separability") is None
    assert "rhi or separability" in check("best")
