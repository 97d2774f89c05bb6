"""From hidden states to how often each layer wins, against rows that are really repeated."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import silhouette_samples

from cache.digest import read_json
from cache.errors import ConfigError, ItemError
from manifests.schema import SEGMENTS, SELECTION
from manifests.table import read_table, write_table
from stages import crossvalidate, moments, select, statistics
from stages.contract import Job, Payload, Result
from stages.probes.resampling import video_draws
from stages.probes.selection import METRICS, strategy_of
from tests.payload import Folder
from tests.states import QUESTION, write_artifact
from tests.training import spans_of

Array = NDArray[Any]
NAN = float("nan")
EPS = 1e-6
BINS = 8
REPLICATES = 40


def made_videos() -> tuple[list[Array], list[int]]:
    """Videos [segments, layers, dim] whose layers 1 to 3 are about as good as each other."""
    generator = np.random.default_rng(5)
    labels = [0, 1, 0, 1, 1, 0]
    videos = []
    for label, length in zip(labels, (4, 6, 5, 3, 4, 6), strict=True):
        of_video = generator.normal(0, 0.8, size=(1, 4, 3))
        rows = of_video + generator.normal(0, 1, size=(length, 4, 3)) + 0.7 * label
        rows[:, 0] = 2.0  # the embedding output of the last position is the same everywhere
        videos.append(rows.astype(np.float32))
    return videos, labels


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the stages before have made of these videos: payloads by role, and the labels."""
    root = tmp_path_factory.mktemp("stability")
    videos, labels = made_videos()
    many: dict[str, dict[str, Payload]] = {"states": {}, "plan": {}, "moments": {}}
    entries = {}
    for number, (rows, label) in enumerate(zip(videos, labels, strict=True)):
        name = f"v{number}"
        entries[name] = {"split": "train", "label": label, "intervals": None}
        write_artifact(root / name / "states", rows)
        (root / name / "plan").mkdir()
        write_table(root / name / "plan/segments.parquet", SEGMENTS, spans_of(range(len(rows))))
        (root / name / "moments").mkdir()
        single = {part: Folder(root / name / part) for part in ("states", "plan")}
        values = {"label": entries[name], "question": QUESTION}
        out = root / name / "moments"
        moments.compute(Job(name, moments.Settings(), out, single, values=values))
        for part in many:
            many[part][name] = Folder(root / name / part)
    return {"many": many, "values": {"labels": entries, "question": QUESTION}, "root": root}


def compute(
    artifacts: dict[str, Any], stage: str, settings: Any, **inputs: Path
) -> tuple[Path, Result]:
    roles = {"statistics": ("states", "plan", "moments"), "crossvalidate": ("states", "plan")}
    out = artifacts["root"] / f"{stage}-{sum(1 for _ in artifacts['root'].iterdir())}"
    out.mkdir()
    many = {role: artifacts["many"][role] for role in roles.get(stage, ())}
    single = {role: Folder(path) for role, path in inputs.items()}
    job = Job("set", settings, out, single, many, artifacts["values"])
    return out, import_module(f"stages.{stage}").compute(job)


def naive_figures(rows: Array, own: Array, low: Array, high: Array) -> dict[str, list[float]]:
    """Every figure of [rows, layers, dim] by layer; bins over a range that is given."""
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    if len(set(own.tolist())) < 2:
        return {name: [NAN] * rows.shape[1] for name in METRICS}
    for layer in range(rows.shape[1]):
        x = rows[:, layer].astype(np.float64)
        normal, anomalous = x[own == 0], x[own == 1]
        gap = (normal.mean(axis=0) - anomalous.mean(axis=0)) ** 2
        s2n, s2a = (np.maximum(part.var(axis=0), EPS) for part in (normal, anomalous))
        found["kl"].append((0.5 * (np.log(s2a / s2n) + (s2n + gap) / s2a - 1)).mean())
        found["ldr"].append((gap / (normal.var(axis=0) + anomalous.var(axis=0) + EPS)).mean())
        found["entropy"].append(
            np.mean([naive_entropy(x[:, d], low[layer, d], high[layer, d]) for d in range(3)])
        )
        values = silhouette_samples(x, own) if np.ptp(x) else np.zeros(len(x))
        found["silhouette"].append(values.mean())
        found["cv"].append(NAN)
    return found


def naive_entropy(x: Array, low: float, high: float) -> float:
    if low == high:
        return 0.0
    codes = np.floor((x - low) * (BINS / (high - low)) + 2.0**-20).clip(max=BINS - 1)
    shares = np.unique(codes, return_counts=True)[1] / len(x)
    return float(-(shares * np.log2(shares)).sum())


@pytest.fixture(scope="module")
def naive(artifacts: dict[str, Any]) -> list[dict[str, list[float]]]:
    """Figures of every replicate, from rows that are there as often as their video is drawn."""
    videos, labels = made_videos()
    per_row = [np.full(len(v), label) for v, label in zip(videos, labels, strict=True)]
    together = np.concatenate(videos).astype(np.float64)
    found = []
    for draw in video_draws(per_row, REPLICATES, seed=0):
        rows = np.concatenate([v for v, n in zip(videos, draw, strict=True) for _ in range(n)])
        own = np.concatenate([v for v, n in zip(per_row, draw, strict=True) for _ in range(n)])
        found.append(naive_figures(rows, own, together.min(axis=0), together.max(axis=0)))
    return found


@pytest.fixture(scope="module")
def table(artifacts: dict[str, Any]) -> Path:
    settings = statistics.Settings(bins=BINS, eps=EPS, replicates=REPLICATES, seed=0)
    return compute(artifacts, "statistics", settings)[0]


@pytest.mark.parametrize("method", ["dlsp", "kl", "ldr", "entropy", "silhouette"])
def test_wins_equal_those_of_rows_that_are_really_repeated(
    artifacts: dict[str, Any], table: Path, naive: list[dict[str, list[float]]], method: str
) -> None:
    out, result = compute(artifacts, "select", select.Settings(method=method), table=table)
    strategy = strategy_of(method)
    winners = [strategy.choose(range(4), figures).layer for figures in naive]
    assert len(set(winners)) > 1, "a bootstrap that always agrees tests nothing"
    found = read_table(out / "layers.parquet", SELECTION).to_pydict()
    assert found["wins"] == [winners.count(layer) / REPLICATES for layer in range(4)]
    layer = read_json(out / "choice.json")["layer"]
    wins = winners.count(layer) / REPLICATES
    assert read_json(out / "selection.json")["stability"] == {
        "replicates": REPLICATES, "undecided": 0, "wins": wins
    }  # fmt: skip
    assert bool(result.notes) == (wins < 0.5)


def test_of_a_layer_that_is_named_nothing_is_said(artifacts: dict[str, Any], table: Path) -> None:
    for method in ("last", "fixed:1"):
        out, result = compute(artifacts, "select", select.Settings(method=method), table=table)
        assert read_json(out / "selection.json")["stability"] is None
        assert read_table(out / "layers.parquet", SELECTION)["wins"].to_pylist() == [None] * 4
        assert result.notes == ()


def test_without_replicates_a_layer_is_chosen_all_the_same(artifacts: dict[str, Any]) -> None:
    settings = statistics.Settings(bins=BINS, eps=EPS, replicates=0, seed=0)
    bare, _ = compute(artifacts, "statistics", settings)
    out, _ = compute(artifacts, "select", select.Settings(method="kl"), table=bare)
    assert read_json(out / "selection.json")["stability"] is None


class TestCrossValidation:
    def folds(self, artifacts: dict[str, Any], **changed: Any) -> tuple[Path, Result]:
        return compute(artifacts, "crossvalidate", crossvalidate.Settings(**changed))

    def test_the_layer_of_the_highest_figure_is_chosen(
        self, artifacts: dict[str, Any], table: Path
    ) -> None:
        folds, result = self.folds(artifacts, replicates=30)
        assert result.rows == 4
        assert result.notes == (
            "3 folds instead of 5: the smaller class has no more probing videos",
        )
        settings = select.Settings(method="cv")
        out, _ = compute(artifacts, "select", settings, table=table, folds=folds)
        found = read_table(out / "layers.parquet", SELECTION).to_pydict()
        assert found["cv"][0] == found["cv_pooled"][0] == 0.5, "equal rows tell nothing apart"
        layer = read_json(out / "choice.json")["layer"]
        assert found["cv"][layer] == max(found["cv"][1:])
        assert found["score"] == [None, *found["cv"][1:]]
        assert read_json(out / "selection.json")["stability"]["replicates"] == 30
        assert 0 < sum(found["wins"]) <= 1 + 1e-12
        assert found["wins"][0] == 0
        record = read_json(folds / "crossvalidation.json")
        assert sorted(record["folds"].values()) == [0, 0, 1, 1, 2, 2]

    def test_the_figures_are_kept_by_other_methods_too(
        self, artifacts: dict[str, Any], table: Path
    ) -> None:
        folds, _ = self.folds(artifacts, replicates=0)
        settings = select.Settings(method="last")
        out, _ = compute(artifacts, "select", settings, table=table, folds=folds)
        assert None not in read_table(out / "layers.parquet", SELECTION)["cv"].to_pylist()
        plain, _ = compute(artifacts, "select", settings, table=table)
        assert read_table(plain / "layers.parquet", SELECTION)["cv"].to_pylist() == [None] * 4

    def test_without_replicates_there_is_no_stability(
        self, artifacts: dict[str, Any], table: Path
    ) -> None:
        folds, _ = self.folds(artifacts, replicates=0)
        settings = select.Settings(method="cv")
        out, _ = compute(artifacts, "select", settings, table=table, folds=folds)
        assert read_json(out / "selection.json")["stability"] is None

    def test_without_folds_the_method_says_what_it_lacks(
        self, artifacts: dict[str, Any], table: Path
    ) -> None:
        with pytest.raises(ConfigError, match="needs the stage crossvalidate"):
            compute(artifacts, "select", select.Settings(method="cv"), table=table)

    def test_folds_of_other_rows_are_refused(self, artifacts: dict[str, Any], table: Path) -> None:
        fewer = {**artifacts, "many": {}, "values": artifacts["values"]}
        for role, payloads in artifacts["many"].items():
            fewer["many"][role] = {name: payloads[name] for name in sorted(payloads)[:4]}
        folds, _ = self.folds(fewer)
        with pytest.raises(ConfigError, match=r"n_normal of the cross-validation is .* run both"):
            compute(artifacts, "select", select.Settings(method="cv"), table=table, folds=folds)

    @pytest.mark.parametrize("kept", [("v0", "v1", "v2"), ("v0", "v2", "v5"), ("v0", "v1")])
    def test_too_few_videos_of_a_class_say_what_to_do(
        self, artifacts: dict[str, Any], kept: tuple[str, ...]
    ) -> None:
        many = {r: {n: p[n] for n in kept} for r, p in artifacts["many"].items()}
        with pytest.raises(ConfigError, match=r"add (probing videos|at least one anomalous)"):
            self.folds({**artifacts, "many": many})

    def test_hidden_states_that_are_not_one_row_per_segment_are_refused(
        self, artifacts: dict[str, Any]
    ) -> None:
        plans = {**artifacts["many"]["plan"], "v1": artifacts["many"]["plan"]["v0"]}
        many = {**artifacts["many"], "plan": plans}
        with pytest.raises(ItemError, match="v1: hidden states of 6 segments, but the plan has 4"):
            self.folds({**artifacts, "many": many})

    def test_videos_of_two_backbones_are_refused(
        self, artifacts: dict[str, Any], tmp_path: Path
    ) -> None:
        write_artifact(tmp_path, np.zeros((6, 4, 5), dtype=np.float32))
        states = {**artifacts["many"]["states"], "v1": Folder(tmp_path)}
        many = {**artifacts["many"], "states": states}
        with pytest.raises(ConfigError, match=r"v1: .* layers 0 to 3 \[5\], those of v0 .* \[3\]"):
            self.folds({**artifacts, "many": many})

    def test_fits_that_had_not_converged_are_told(self, artifacts: dict[str, Any]) -> None:
        _, result = self.folds(artifacts, max_iter=1, folds=2, replicates=0)
        assert len(result.notes) == 1
        assert "fits had not converged: raise crossvalidate.max_iter" in result.notes[0]

    def test_the_same_inputs_give_the_same_bytes_with_any_workers(
        self, artifacts: dict[str, Any]
    ) -> None:
        outs = [self.folds(artifacts, workers=workers)[0] for workers in (1, 3)]
        one, two = ([path.read_bytes() for path in sorted(out.iterdir())] for out in outs)
        assert one == two
