"""What would let a test video have a part in the probe ends a command before any work."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.digest import read_json, write_json
from cache.errors import LeakageError
from pipeline import gather as gathering
from pipeline.commands.options import world_of
from pipeline.leakage import refuse_leaks
from pipeline.plan import plan_all
from pipeline.values import label_of, value_of
from pipeline.world import OutsideScorer, World
from tests.conftest import Called, Demo
from tests.pipeline import worlds
from tests.training import SMUGGLED, copy_scorer, forged_scorer

Hiprobe = Callable[..., Called]
USED = "train/fight_01"


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
        with pytest.raises(LeakageError, match=r"1 test video: test/a2 \(as elsewhere\);"):
            refuse_leaks(dataclasses.replace(worlds.world(), scorer=scorer))
        del fitted[worlds.sha("bytes of test/a2")]
        refuse_leaks(dataclasses.replace(worlds.world(), scorer=scorer))

    @pytest.mark.parametrize(
        ("compared", "sections"),
        [
            (("moments", "statistics"), {}),
            (("heads",), {"forward": {"heads": "all"}, "select": {"method": "rhi"}}),
        ],
    )
    def test_nothing_of_a_test_video_is_in_a_key_of_selection_or_fit(
        self, compared: tuple[str, ...], sections: Any
    ) -> None:
        settled, _ = worlds.settle(worlds.world(worlds.config(**sections)))
        others = [
            [f"{name}x", f"{path}x", size + 1, worlds.sha(digest), split, 1 - label, "Other", []]
            if split == "test"
            else [name, path, size, digest, split, label, cls, spans]
            for name, path, size, digest, split, label, cls, spans in worlds.listing()
        ]
        changed = worlds.world(settled.config, rows=others, committed=settled.committed)
        work = worlds.work(plan_all(changed))
        assert not set(work) & {*compared, "select", "fit"}
        assert {"index", "forward", "score", "localize", "evaluate"} <= set(work)

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
            assert f"1 test video: train/renamed (as {USED})" in called.out
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
        copy_scorer(demo.folder / "scorer", tmp_path / "scorer")
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
