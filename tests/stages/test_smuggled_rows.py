"""No test row is ever fitted on: a test row is put before every stage, which refuses it by name.

The jobs are the real ones of a finished run, into which a test video was smuggled; each goes through
without it.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from cache.digest import read_json
from cache.errors import LeakageError
from cache.store import Store
from manifests.schema import PROBING_SCORES, TRAINING_ROWS, VIDEOS
from manifests.table import read_table, write_table
from pipeline.assemble import tasks_of
from pipeline.commands.options import world_of
from pipeline.plan import StagePlan, plan_all
from pipeline.values import value_of
from pipeline.world import DATASET, World
from stages.contract import Job
from stages.probes.statistics_settings import Settings
from stages.probes.training import training_series
from tests.conftest import Demo
from tests.payload import Folder
from tests.training import SMUGGLED, forged_scorer

USED = "train/fight_01"
HEADS = ("select.method=rhi",)


@dataclasses.dataclass(frozen=True)
class Stages:
    """The jobs of a finished run, and what a smuggler needs."""

    world: World
    plans: Mapping[str, StagePlan]
    store: Store
    out: Path

    @classmethod
    def of(cls, demo: Demo, out: Path, *overrides: str) -> Stages:
        world, store = world_of(demo.config, overrides)
        return cls(world, plan_all(world), store, out)

    def job(self, stage: str, item: str = DATASET) -> Job[Any]:
        """What the pipeline would give to a stage for an item."""
        plan = dataclasses.replace(self.plans[stage], todo=[item])
        (task,) = tasks_of(plan, self.world, self.plans, self.store, plan.todo)
        (self.out / stage).mkdir(exist_ok=True)
        single = {
            role: self.store.artifact(*where)
            for role, where in task.single.items()
            if isinstance(where, tuple)
        }
        many = {
            role: {video: self.store.artifact(at, key) for video, key in keys.items()}
            for role, (at, keys) in task.many.items()
        }
        return Job(item, task.settings, self.out / stage, single, many, dict(task.values))

    def artifact(self, stage: str, item: str = SMUGGLED) -> Any:
        return self.store.artifact(stage, self.plans[stage].keys[item])

    def label(self, split: str = "test") -> dict[str, Any]:
        return {"split": split, "label": 1, "intervals": None}


def compute(job: Job[Any], stage: str) -> None:
    """Compute a stage into an empty folder."""
    shutil.rmtree(job.out)
    job.out.mkdir()
    import_module(f"stages.{stage}").compute(job)


@pytest.fixture
def stages(demo: Demo, tmp_path: Path) -> Stages:
    return Stages.of(demo, tmp_path)


def with_a_test_video(job: Job[Any], stages: Stages, **more: Any) -> Job[Any]:
    """The states, plan and label of a test video beside those of the probing videos."""
    made = {"states": stages.artifact("forward"), "plan": stages.artifact("sample"), **more}
    many = {role: {**given, SMUGGLED: made[role]} for role, given in job.many.items()}
    values = {**job.values, "labels": {**job.values["labels"], SMUGGLED: stages.label()}}
    if "sources" in values:
        values["sources"] = {**values["sources"], SMUGGLED: "f" * 64}
    return dataclasses.replace(job, many=many, values=values)


class TestTheStagesBeforeASelection:
    """moments, statistics and heads turn labels into samples: of training videos alone."""

    def test_moments(self, stages: Stages) -> None:
        job = stages.job("moments", USED)
        compute(job, "moments")
        values = {**job.values, "label": stages.label()}
        bad = dataclasses.replace(job, item=SMUGGLED, values=values)
        with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
            compute(bad, "moments")

    def test_statistics_even_of_moments_that_were_there(self, stages: Stages) -> None:
        job = stages.job("statistics")
        compute(job, "statistics")
        values = {"label": stages.label("train"), "question": job.values["question"]}
        states = {"states": stages.artifact("forward"), "plan": stages.artifact("sample")}
        out = stages.out / "forged"
        out.mkdir()
        compute(Job(SMUGGLED, Settings(), out, states, values=values), "moments")
        bad = with_a_test_video(job, stages, moments=Folder(out))
        with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
            compute(bad, "statistics")

    def test_heads(self, demo: Demo, tmp_path: Path) -> None:
        stages = Stages.of(demo, tmp_path, *HEADS)
        job = stages.job("heads")
        few = dataclasses.replace(job.settings, samples=20, starts=1)
        job = dataclasses.replace(job, settings=few)
        compute(job, "heads")
        with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
            compute(with_a_test_video(job, stages), "heads")

    def test_crossvalidate(self, demo: Demo, tmp_path: Path) -> None:
        stages = Stages.of(demo, tmp_path, "select.method=cv")
        job = stages.job("crossvalidate")
        few = dataclasses.replace(job.settings, folds=2, replicates=3)
        job = dataclasses.replace(job, settings=few)
        compute(job, "crossvalidate")
        with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
            compute(with_a_test_video(job, stages), "crossvalidate")


def test_projection(stages: Stages) -> None:
    job = stages.job("projection")
    compute(job, "projection")
    with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
        compute(with_a_test_video(job, stages), "projection")


def test_folds_that_a_test_video_is_in(demo: Demo, tmp_path: Path) -> None:
    stages = Stages.of(demo, tmp_path, "select.method=cv")
    job = stages.job("crossvalidate")
    settings = dataclasses.replace(job.settings, folds=2, replicates=0)
    compute(dataclasses.replace(job, settings=settings), "crossvalidate")
    (tmp_path / "select").mkdir()
    inputs = {
        "table": stages.artifact("statistics", DATASET),
        "folds": Folder(tmp_path / "crossvalidate"),
    }
    values = {"labels": value_of("labels", stages.world, stages.plans)}
    chosen = stages.world.config.sections["select"]
    ready = Job("set", chosen, tmp_path / "select", inputs, values=values)
    compute(ready, "select")
    for number, (row, said) in enumerate(
        [({}, "its split is 'test'"), ({"split": "train"}, "the figures rest on it")]
    ):
        forged = stages.out / f"forged-{number}"
        forged_rows(stages, "crossvalidate", forged, **row)
        bad = dataclasses.replace(ready, inputs={**inputs, "folds": Folder(forged)})
        with pytest.raises(LeakageError, match=f"^{SMUGGLED}: {said}"):
            compute(bad, "select")


def forged_rows(stages: Stages, stage: str, table: Path, **rows: Any) -> None:
    """Copy the figures of a stage to `table`, with a row of a test video in what they rest on."""
    shutil.copytree(stages.out / stage, table)
    path = table / "training_rows.parquet"
    found = pq.read_table(path)
    row = {"video_id": SMUGGLED, "split": "test", "n_normal": 0, "n_anomalous": 0, **rows}
    more = {name: [*found[name].to_pylist(), row[name]] for name in found.column_names}
    write_table(path, TRAINING_ROWS, more)


class TestSelection:
    """select reads figures that say what they rest on."""

    @pytest.fixture(params=["layers", "heads"])
    def ready(self, request: pytest.FixtureRequest, demo: Demo, tmp_path: Path) -> Any:
        """The job of select over figures that were made just now, and the stage that made them."""
        heads = request.param == "heads"
        stages = Stages.of(demo, tmp_path, *(HEADS if heads else ()))
        before = "heads" if heads else "statistics"
        job = stages.job(before)
        if heads:
            few = dataclasses.replace(job.settings, samples=20, starts=1)
            job = dataclasses.replace(job, settings=few)
        compute(job, before)
        (tmp_path / "select").mkdir()
        settings = stages.world.config.sections["select"]
        values = {"labels": value_of("labels", stages.world, stages.plans)}
        inputs = {"table": Folder(tmp_path / before)}
        return stages, before, Job("set", settings, tmp_path / "select", inputs, values=values)

    def attack(self, ready: Any, **row: Any) -> None:
        stages, before, job = ready
        forged_rows(stages, before, stages.out / "forged", **row)
        bad = dataclasses.replace(job, inputs={"table": Folder(stages.out / "forged")})
        compute(bad, "select")

    def test_it_counts_the_rows_that_it_rests_on(self, ready: Any) -> None:
        _, _, job = ready
        compute(job, "select")
        found = read_json(job.out / "selection.json")
        rows = pq.read_table(job.inputs["table"].file("training_rows.parquet"))
        assert found["videos"] == len(rows) == 8
        assert found["n_normal"] == sum(rows["n_normal"].to_pylist()) > 0
        assert found["n_anomalous"] == sum(rows["n_anomalous"].to_pylist()) > 0

    def test_a_test_video_in_its_figures(self, ready: Any) -> None:
        with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
            self.attack(ready)

    def test_a_test_video_that_is_called_a_training_video_there(self, ready: Any) -> None:
        with pytest.raises(LeakageError, match=f"^{SMUGGLED}: the figures rest on it"):
            self.attack(ready, split="train")

    def test_a_test_video_in_the_labels_too(self, ready: Any) -> None:
        stages, before, job = ready
        labels = {**job.values["labels"], SMUGGLED: stages.label()}
        job = dataclasses.replace(job, values={"labels": labels})
        with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
            self.attack((stages, before, job), split="train")

    def test_rows_that_no_training_video_accounts_for(self, ready: Any) -> None:
        with pytest.raises(LeakageError, match=r"^select: the figures rest on .* rows, the train"):
            self.attack(ready, video_id=USED, split="train", n_anomalous=1)

    def test_figures_that_do_not_say_what_they_rest_on(self, ready: Any) -> None:
        _, _, job = ready
        job.inputs["table"].file("training_rows.parquet").unlink()
        with pytest.raises(LeakageError, match=r"come without training_rows\.parquet"):
            compute(job, "select")


@pytest.mark.parametrize("solver", ["memory", "streaming"])
def test_fit(stages: Stages, solver: str) -> None:
    job = stages.job("fit")
    job = dataclasses.replace(job, settings=dataclasses.replace(job.settings, solver=solver))
    compute(job, "fit")
    table = read_table(job.out / "probing_scores.parquet", PROBING_SCORES).to_pydict()
    index = read_table(stages.artifact("index", DATASET).file("videos.parquet"), VIDEOS)
    sources = dict(zip(index["video_id"].to_pylist(), index["digest"].to_pylist(), strict=True))
    assert table["digest"] == [sources[name] for name in table["video_id"]]
    assert set(table["split"]) == {"train"}
    assert None not in table["held_out"]
    with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
        compute(with_a_test_video(job, stages), "fit")


def held_out_scorer(demo: Demo, folder: Path) -> Path:
    """The scorer of the run, with held-out scores of every row."""
    shutil.copytree(demo.folder / "scorer", folder)
    path = folder / "probing_scores.parquet"
    columns = read_table(path, PROBING_SCORES).to_pydict()
    score = np.asarray(columns["score"])
    write_table(path, PROBING_SCORES, {**columns, "held_out": 0.9 * score + 0.05})
    return folder


@pytest.mark.parametrize(
    ("threshold", "kappa"),
    [("kappa", 0.2), ("kappa", -1.0), ("kappa", 0.0), ("fixed:0.5", 0.2), ("f1", 0.2)],
)
def test_threshold_and_kappa(
    demo: Demo, stages: Stages, tmp_path: Path, threshold: str, kappa: float
) -> None:
    job = stages.job("threshold")
    settings = dataclasses.replace(job.settings, threshold=threshold, kappa=kappa)
    scorer = held_out_scorer(demo, tmp_path / "scorer")
    job = dataclasses.replace(job, settings=settings, inputs={"scorer": Folder(scorer)})
    compute(job, "threshold")
    found = read_json(job.out / "threshold.json")
    score = pq.read_table(demo.folder / "scorer" / "probing_scores.parquet")["score"].to_numpy()
    mu, sigma = float(score.mean()), float(score.std())
    expected = {"fixed:0.5": 0.5, "f1": found["search"] and found["threshold"]}
    assert found["threshold"] == expected.get(threshold, mu + kappa * sigma)
    table = pq.read_table(job.out / "sensitivity.parquet").to_pydict()
    assert table["threshold"] == [mu + at * sigma for at in table["kappa"]]
    forged = Folder(forged_scorer(scorer, tmp_path / "forged", tie=True))
    bad = dataclasses.replace(job, inputs={"scorer": forged})
    with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
        compute(bad, "threshold")
    assert not list(job.out.iterdir())  # neither a threshold nor a curve


def test_what_a_threshold_is_looked_at_on(demo: Demo, tmp_path: Path) -> None:
    """The door of the search and of the curve by itself, whoever opens it."""
    scorer = held_out_scorer(demo, tmp_path / "scorer")
    assert {one.split for one in training_series(Folder(scorer))} == {"train"}
    forged = Folder(forged_scorer(scorer, tmp_path / "forged", tie=True))
    with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
        training_series(forged)
    # Also among the rows of a video to train with.
    mixed = {"video_id": USED, "segment": 10_000}
    forged = Folder(forged_scorer(scorer, tmp_path / "mixed", tie=True, **mixed))
    with pytest.raises(LeakageError, match=f"^{USED}: its split is 'test'"):
        training_series(forged)


def test_evaluation_of_what_was_fitted_on(stages: Stages) -> None:
    job = stages.job("evaluate")
    compute(job, "evaluate")
    fitted = value_of("sources", stages.world, stages.plans)[USED]
    tested = {**job.values["tested"], SMUGGLED: fitted}
    bad = dataclasses.replace(job, values={**job.values, "tested": tested})
    with pytest.raises(LeakageError, match=rf"1 test video: {SMUGGLED} \(as {USED}\);"):
        compute(bad, "evaluate")
