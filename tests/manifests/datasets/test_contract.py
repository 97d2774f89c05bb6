"""What every data set reader has in common."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from cache.errors import ConfigError
from manifests.datasets import folder
from manifests.datasets.contract import (
    READERS,
    SUFFIXES,
    Annotation,
    Listing,
    SourceFile,
    VideoLabel,
    reader_of,
    video_id_of,
)


@pytest.mark.parametrize(
    ("path", "video_id"),
    [
        ("a.mp4", "a"),
        ("train/Abuse/Abuse028_x264.mp4", "train/Abuse/Abuse028_x264"),
        ("v=S-7rRLrxnVQ__#1_label_B4-0-0.mp4", "v=S-7rRLrxnVQ__#1_label_B4-0-0"),
        ("Fast.Five.2011__#0-01-1.label_A.mp4", "Fast.Five.2011__#0-01-1.label_A"),
        ("a.mp4.avi", "a.mp4"),
        ("a.MP4", "a"),
        ("a b.MoV", "a b"),
        ("a.txt", "a.txt"),
        ("a", "a"),
        ("a.b/c", "a.b/c"),
        ("a.mp4/c", "a.mp4/c"),
        ("a/.mp4", "a/.mp4"),
        (".mp4", ".mp4"),
        ("", ""),
    ],
)
def test_a_video_id_is_the_path_without_its_one_known_suffix(path: str, video_id: str) -> None:
    assert video_id_of(path) == video_id


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_known_suffix_is_taken_off_in_any_case(suffix: str) -> None:
    assert video_id_of(f"x{suffix}") == video_id_of(f"x{suffix.upper()}") == "x"


def test_every_kind_has_a_reader() -> None:
    assert reader_of("folder") is folder
    assert all(callable(reader_of(kind).read) for kind in READERS)


def test_an_unknown_kind_is_refused_with_the_nearest_and_all_known_names() -> None:
    with pytest.raises(
        ConfigError,
        match=r"data.kind = 'foldr' is not known; the nearest known name is 'folder'; .*are folder",
    ):
        reader_of("foldr")


@pytest.mark.parametrize("kind", [SourceFile, Annotation, VideoLabel, Listing])
def test_the_contract_is_plain_frozen_data(kind: type) -> None:
    assert dataclasses.fields(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert not hasattr(kind, "__dict__") or "__slots__" in vars(kind)


def test_reading_a_folder_imports_nothing_heavy() -> None:
    code = (
        "import sys, manifests.datasets.sources, stages.index\n"
        "from manifests.datasets.contract import READERS, reader_of\n"
        "list(map(reader_of, READERS))\n"
        "print(sorted({'pyarrow', 'numpy', 'pandas', 'torch', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(folder.__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
