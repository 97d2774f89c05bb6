"""No test row is ever fitted on: a test row is put before every reader, which refuses it by name.

Stages are attacked with the real jobs of a finished run, into which a test video was smuggled; the
command line with data sets and scorers that would bring one.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cache.digest import read_json, write_json
from cache.errors import LeakageError
from cache.store import Store
from manifests.schema import PROBING_SCORES, TRAINING_ROWS, VIDEOS
from manifests.table import read_table, write_table
from pipeline import gather as gathering
from pipeline.assemble import tasks_of
from pipeline.commands.options import world_of
from pipeline.leakage import refuse_leaks
from pipeline.plan import StagePlan, plan_all
from pipeline.values import label_of, value_of
from pipeline.world import DATASET, OutsideScorer, World
from stages.contract import Job
from stages.probes.training import fitted_files
from tests.conftest import Called, Demo
from tests.payload import Folder
from tests.pipeline import worlds

Hiprobe = Callable[..., Called]
SMUGGLED = "test/fight_02"
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
        (task,) = tasks_of(plan, self.world, self.plans, self.store.root)
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
        compute(Job(SMUGGLED, None, out, states, values=values), "moments")
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


def test_fit(stages: Stages) -> None:
    job = stages.job("fit")
    compute(job, "fit")
    table = read_table(job.out / "probing_scores.parquet", PROBING_SCORES).to_pydict()
    index = read_table(stages.artifact("index", DATASET).file("videos.parquet"), VIDEOS)
    sources = dict(zip(index["video_id"].to_pylist(), index["digest"].to_pylist(), strict=True))
    assert table["digest"] == [sources[name] for name in table["video_id"]]
    assert set(table["split"]) == {"train"}
    with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
        compute(with_a_test_video(job, stages), "fit")


def forged_scorer(scorer: Path, folder: Path, tie: bool = False, **changed: str) -> Path:
    """A copy of a scorer with a row of a test video among those of its fit.

    mu and sigma are made to agree; with `tie`, so are the digests in scorer.json.
    """
    shutil.copytree(scorer, folder)
    path = folder / "probing_scores.parquet"
    found = read_table(path, PROBING_SCORES).to_pydict()
    row = {"video_id": SMUGGLED, "split": "test", "digest": "f" * 64, "segment": 0, "label": 1}
    row |= {"score": 0.5, **changed}
    write_table(path, PROBING_SCORES, {name: [*found[name], row[name]] for name in found})
    score = pq.read_table(path)["score"].to_numpy()
    record = read_json(folder / "scorer.json")
    record |= {"mu": float(score.mean()), "sigma": float(score.std())}
    if tie:
        record["files"] = fitted_files(folder)
    write_json(folder / "scorer.json", record)
    return folder


@pytest.mark.parametrize(
    ("threshold", "kappa"), [("kappa", 0.2), ("kappa", -1.0), ("kappa", 0.0), ("fixed:0.5", 0.2)]
)
def test_threshold_and_kappa(
    demo: Demo, stages: Stages, tmp_path: Path, threshold: str, kappa: float
) -> None:
    job = stages.job("localize", SMUGGLED)
    settings = dataclasses.replace(job.settings, threshold=threshold, kappa=kappa)
    job = dataclasses.replace(job, settings=settings)
    compute(job, "localize")
    score = pq.read_table(demo.folder / "scorer" / "probing_scores.parquet")["score"].to_numpy()
    expected = 0.5 if threshold == "fixed:0.5" else float(score.mean()) + kappa * float(score.std())
    assert read_json(job.out / "threshold.json")["threshold"] == expected
    forged = Folder(forged_scorer(demo.folder / "scorer", tmp_path / "forged", tie=True))
    bad = dataclasses.replace(job, inputs={**job.inputs, "scorer": forged})
    with pytest.raises(LeakageError, match=f"^{SMUGGLED}: its split is 'test'"):
        compute(bad, "localize")


def test_evaluation_of_what_was_fitted_on(stages: Stages) -> None:
    job = stages.job("evaluate")
    compute(job, "evaluate")
    fitted = value_of("sources", stages.world, stages.plans)[USED]
    tested = {**job.values["tested"], SMUGGLED: fitted}
    bad = dataclasses.replace(job, values={**job.values, "tested": tested})
    with pytest.raises(LeakageError, match=rf"test videos: {SMUGGLED} \(as {USED}\);"):
        compute(bad, "evaluate")


class TestTheWorld:
    """Before anything is made."""

    def with_probing(self, name: str, **changed: Any) -> World:
        world = worlds.world()
        videos = [
            dataclasses.replace(v, subset="probing", **changed) if v.video_id == name else v
            for v in world.videos or ()
        ]
        return dataclasses.replace(world, videos=tuple(videos))

    def test_a_probing_video_of_another_split(self) -> None:
        refuse_leaks(worlds.world())
        for split in ("test", ""):
            with pytest.raises(LeakageError, match=rf"^test/a1: its split is '{split}'"):
                refuse_leaks(self.with_probing("test/a1", split=split))

    def test_its_label_says_so_to_every_stage(self) -> None:
        world = self.with_probing("test/a1")
        assert value_of("labels", world, {})["test/a1"]["split"] == "test"
        (video,) = (v for v in world.videos or () if v.video_id == "test/a1")
        assert label_of(world, video)["split"] == "test"

    def test_a_probing_video_with_the_bytes_of_a_test_video(self) -> None:
        world = self.with_probing("train/a1", digest=worlds.sha("bytes of test/a2"))
        with pytest.raises(LeakageError, match=r"^train/a1: it is the same file as .* test/a2,"):
            refuse_leaks(world)

    def test_an_outside_scorer_that_was_fitted_on_a_test_video(self) -> None:
        fitted = {worlds.sha("bytes of train/a1"): "a", worlds.sha("bytes of test/a2"): "elsewhere"}
        scorer = OutsideScorer(Path("scorer"), worlds.sha("scorer"), {}, "", fitted)
        with pytest.raises(LeakageError, match=r"1 test videos: test/a2 \(as elsewhere\);"):
            refuse_leaks(dataclasses.replace(worlds.world(), scorer=scorer))
        del fitted[worlds.sha("bytes of test/a2")]
        refuse_leaks(dataclasses.replace(worlds.world(), scorer=scorer))

    def test_a_choice_that_went_wrong_ends_every_command(
        self, demo: Demo, hiprobe: Hiprobe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gathering, "choose_probing", lambda *_, **__: frozenset({SMUGGLED}))
        for command in ("plan", "status", "run"):
            called = hiprobe(command, demo.config, "--set", "data.probing_seed=9")
            assert called.code == 2, called.out
            assert f"{SMUGGLED}: its split is 'test'" in called.out


def relabelled(demo: Demo, *names: str) -> None:
    """Move videos to the test split in labels.csv."""
    labels = demo.folder / "data" / "labels.csv"
    text = labels.read_text()
    for name in names:
        assert f"{name}.mp4,train," in text
        text = text.replace(f"{name}.mp4,train,", f"{name}.mp4,test,")
    labels.write_text(text)


class TestTheCommandLine:
    """What a person may do by mistake ends with exit code 2 and the name of the video."""

    def test_a_copy_of_a_test_video_among_those_to_train_with(
        self, own_demo: Demo, hiprobe: Hiprobe
    ) -> None:
        videos = own_demo.folder / "data" / "videos"
        shutil.copyfile(videos / f"{SMUGGLED}.mp4", videos / "train" / "brawl.mp4")
        with (own_demo.folder / "data" / "labels.csv").open("a") as file:
            file.write("train/brawl.mp4,train,1,fight,0,200\n")
        called = hiprobe("run", own_demo.config, "--until", "index")
        assert called.code == 0, called.out
        assert f"'train/brawl' is the same file as the test video '{SMUGGLED}'" in called.out
        world, _ = world_of(own_demo.config, ())
        assert len(value_of("labels", world, {})) == 8
        assert "train/brawl" not in value_of("labels", world, {})
        named = ("--set", "data.probing_videos=['train/courtyard_01', 'train/brawl']")
        called = hiprobe("run", own_demo.config, *named)
        assert called.code == 2
        assert f"'train/brawl' is the same file as the test video '{SMUGGLED}'" in called.out

    def test_a_probing_video_that_becomes_a_test_video(
        self, own_demo: Demo, hiprobe: Hiprobe
    ) -> None:
        named = ("--set", f"data.probing_videos=['train/courtyard_01', '{USED}']")
        assert hiprobe("plan", own_demo.config, *named).code == 0
        relabelled(own_demo, USED)
        called = hiprobe("run", own_demo.config, *named)
        assert called.code == 2
        assert f"'{USED}' is a test video: nothing is ever fitted on the test set" in called.out

    def test_a_scorer_that_was_fitted_on_what_is_a_test_video_here(
        self, demo: Demo, own_demo: Demo, hiprobe: Hiprobe
    ) -> None:
        outside = ("--set", f"run.scorer={demo.folder / 'scorer'}", "--set", "run.name=outside")
        assert hiprobe("plan", own_demo.config, *outside).code == 0
        videos = own_demo.folder / "data" / "videos" / "train"
        (videos / "fight_01.mp4").rename(videos / "renamed.mp4")
        labels = own_demo.folder / "data" / "labels.csv"
        labels.write_text(labels.read_text().replace(f"{USED}.mp4,", "train/renamed.mp4,"))
        relabelled(own_demo, "train/renamed")
        for command in ("plan", "run"):
            called = hiprobe(command, own_demo.config, *outside)
            assert called.code == 2, called.out
            assert f"1 test videos: train/renamed (as {USED})" in called.out
        assert not (own_demo.folder.parent / "outside").exists()

    @pytest.mark.parametrize(
        ("forge", "said"),
        [
            ({"tie": True}, f"{SMUGGLED}: its split is 'test'"),
            ({"split": "train"}, "probing_scores.parquet is not the file"),
        ],
    )
    def test_a_scorer_whose_rows_were_edited(
        self, demo: Demo, tmp_path: Path, hiprobe: Hiprobe, forge: Any, said: str
    ) -> None:
        scorer = forged_scorer(demo.folder / "scorer", tmp_path / "scorer", **forge)
        called = hiprobe("plan", demo.config, "--set", f"run.scorer={scorer}")
        assert called.code == 2, called.out
        assert said in called.out

    def test_a_scorer_whose_threshold_was_edited(
        self, demo: Demo, tmp_path: Path, hiprobe: Hiprobe
    ) -> None:
        shutil.copytree(demo.folder / "scorer", tmp_path / "scorer")
        record = read_json(tmp_path / "scorer" / "scorer.json")
        write_json(tmp_path / "scorer" / "scorer.json", {**record, "mu": record["mu"] + 0.01})
        called = hiprobe("plan", demo.config, "--set", f"run.scorer={tmp_path / 'scorer'}")
        assert called.code == 2
        assert "scorer.json gives mu = " in called.out

    def test_a_scorer_that_does_not_say_what_it_was_fitted_on(
        self, demo: Demo, tmp_path: Path, hiprobe: Hiprobe
    ) -> None:
        shutil.copytree(demo.folder / "scorer", tmp_path / "scorer")
        (tmp_path / "scorer" / "probing_scores.parquet").unlink()
        called = hiprobe("plan", demo.config, "--set", f"run.scorer={tmp_path / 'scorer'}")
        assert called.code == 2
        assert "probing_scores.parquet is missing" in called.out
        assert "run that run again" in called.out
