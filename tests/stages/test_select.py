"""Stage select: one layer is chosen, and every figure is kept whatever the method."""

import numpy as np
import pytest

from cache.digest import read_json
from cache.errors import ConfigError
from cache.fields import notes
from manifests.schema import LAYERS, SELECTION
from manifests.table import read_table, write_table
from stages import select
from stages.contract import Job
from tests.payload import Folder


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
    }
    write_table(tmp_path / "table/layers.parquet", LAYERS, columns)
    inputs = {"table": Folder(tmp_path / "table")}
    return Job("set", select.Settings(method=method), tmp_path / out, inputs)


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
