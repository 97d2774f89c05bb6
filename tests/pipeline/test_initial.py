"""`hiprobe init` for the published data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import Config, load_config
from pipeline.sources import sources_of
from tests.conftest import Called
from tests.real_lists import MSAD, TEMPORAL, UCF, XD, needs_lists

Hiprobe = Callable[..., Called]


@pytest.fixture
def made(hiprobe: Hiprobe, tmp_path: Path) -> Callable[..., Config]:
    def make(kind: str, *words: object) -> Config:
        called = hiprobe("init", kind, *words)
        assert called.code == 0, called.out
        path = tmp_path / "run.toml"
        path.write_text(called.out, encoding="utf-8")
        return load_config(path)

    return make


def lists(tmp_path: Path) -> tuple[Path, Path, Path]:
    annotations, train, test = (tmp_path / name for name in ("annotations", "one", "two"))
    annotations.write_text("Abuse001_x264.mp4 Abuse 1 5\n")
    train.write_text("Abuse/Abuse002_x264.mp4\n")
    test.write_text("Abuse/Abuse001_x264.mp4\n")
    return annotations, train, test


def test_paths_are_written_as_given_and_splits_by_their_content(
    made: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = made(
        "ucf-crime", "--videos", "my videos", "--annotations", "annotations", "--splits", "two",
        "--splits", "one", "--frame-counts", "a.csv", "--frame-counts", "b.txt",
        "--backbone", "model", "--scorer", "scorer", "--name", "ucf",
    )  # fmt: skip
    data = config.sections["data"]
    assert (data.kind, data.videos, data.annotations) == ("ucf-crime", "my videos", "annotations")
    assert (data.train_list, data.test_list, data.frame_counts) == (
        "one",
        "two",
        ("a.csv", "b.txt"),
    )
    assert (config.run.name, config.run.scorer) == ("ucf", "scorer")
    assert config.sections["backbone"].model == "model"
    sources = sources_of(config)
    assert sources.root == tmp_path / "my videos"
    assert (sources.train_list, sources.test_list) == (tmp_path / "one", tmp_path / "two")
    assert sources.frame_counts == (tmp_path / "a.csv", tmp_path / "b.txt")
    assert (sources.labels, sources.allow_missing) == (None, False)


def test_lists_can_be_named_by_their_split_without_being_opened(
    made: Callable[..., Config],
) -> None:
    words = ("--videos", "v", "--annotations", "a", "--train-list", "x", "--test-list", "y")
    for kind in ("ucf-crime", "xd-violence", "msad"):
        data = made(kind, *words).sections["data"]
        assert (data.kind, data.train_list, data.test_list) == (kind, "x", "y")


def test_msad_is_evaluated_with_both_ends(made: Callable[..., Config]) -> None:
    words = ("--videos", "v", "--annotations", "a")
    assert made("msad", *words).sections["evaluate"].labels == "inclusive"
    assert made("ucf-crime", *words).sections["evaluate"].labels == "exact"


def test_a_list_given_twice_is_refused(hiprobe: Hiprobe, tmp_path: Path) -> None:
    annotations, train, _ = lists(tmp_path)
    words = ("--videos", "v", "--annotations", annotations, "--splits", train)
    called = hiprobe("init", "ucf-crime", *words, "--train-list", "x")
    assert called.code == 2
    assert "is a train list, and --train-list is given" in called.out


def test_without_videos_the_lists_are_there_all_the_same(
    made: Callable[..., Config],
) -> None:
    config = made("ucf-crime", "--videos", "", "--annotations", "a")
    assert sources_of(config).root is None
    assert sources_of(config).annotations is not None


@needs_lists
def test_the_published_lists_need_no_word_on_their_split(made: Callable[..., Config]) -> None:
    for kind, temporal, train, test in (
        ("ucf-crime", UCF / TEMPORAL, UCF / "Anomaly_Train.txt", UCF / "Anomaly_Test.txt"),
        (
            "xd-violence",
            XD / "annotations_with_mp4_suffixes.txt",
            XD / "train_frame_counts.csv",
            XD / "test_frame_counts.csv",
        ),
    ):
        config = made(
            kind, "--videos", "v", "--annotations", temporal, "--splits", test, "--splits", train
        )
        data = config.sections["data"]
        assert (data.train_list, data.test_list) == (str(train), str(test))
    words = ("--annotations", MSAD / TEMPORAL, "--splits", MSAD / "anomaly_test.txt")
    data = made("msad", "--videos", "v", *words).sections["data"]
    assert (data.train_list, data.test_list) == ("", str(MSAD / "anomaly_test.txt"))
