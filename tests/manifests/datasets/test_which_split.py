"""Lists given without a word on which split they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.errors import ConfigError
from manifests.datasets.which_split import tell_splits
from tests.real_lists import UCF, XD, needs_lists


@pytest.fixture
def annotations(tmp_path: Path) -> str:
    return write(tmp_path, "annotations.txt", *(f"t{n} 1 5" for n in range(10)))


def write(tmp_path: Path, name: str, *lines: str) -> str:
    (tmp_path / name).write_text("\n".join([*lines, ""]))
    return str(tmp_path / name)


def tell(annotations: str, *lists: str) -> dict[str, str]:
    return dict(tell_splits(lists, annotations, (), "the.txt"))


def test_the_content_tells(tmp_path: Path, annotations: str) -> None:
    one = write(tmp_path, "one.txt", *(f"n{n}" for n in range(30)))
    two = write(
        tmp_path, "two.txt", *(f"T{n}.mp4" for n in range(10)), *(f"m{n}" for n in range(9))
    )
    assert tell(annotations, one, two) == tell(annotations, two, one) == {"train": one, "test": two}
    assert tell(annotations, two) == {"test": two}


def test_a_name_that_says_the_same_is_fine(tmp_path: Path, annotations: str) -> None:
    one = write(tmp_path, "Anomaly_Train.txt", "x", "y")
    two = write(tmp_path, "latest_test.txt", "t1", "t2", "x")
    assert tell(annotations, one, two) == {"train": one, "test": two}


def test_a_name_decides_where_the_content_does_not(tmp_path: Path, annotations: str) -> None:
    lines = ["t1", *(f"x{n}" for n in range(9))]
    assert tell(annotations, named := write(tmp_path, "my-test.txt", *lines)) == {"test": named}
    with pytest.raises(
        ConfigError, match="1 of its 10 names are annotated, so its content says ne"
    ):
        tell(annotations, write(tmp_path, "some.txt", *lines))


def test_a_name_that_says_otherwise_is_refused(tmp_path: Path, annotations: str) -> None:
    """The list of the normal test videos alone holds no annotated name."""
    with pytest.raises(ConfigError, match="content says train, and its name test; give it as --tr"):
        tell(annotations, write(tmp_path, "test_normal.txt", "n1", "n2"))


def test_two_lists_of_one_split_are_refused(tmp_path: Path, annotations: str) -> None:
    one, two = write(tmp_path, "a.txt", "x"), write(tmp_path, "b.txt", "y")
    with pytest.raises(ConfigError, match=r"a\.txt and .*b\.txt are both lists of train videos"):
        tell(annotations, one, two)


@needs_lists
def test_the_published_lists_are_told_apart(tmp_path: Path) -> None:
    from manifests.datasets import ucf_crime

    train, test = str(UCF / "Anomaly_Train.txt"), str(UCF / "Anomaly_Test.txt")
    plain = write(tmp_path, "list.txt", *Path(test).read_text().split())
    temporal = str(UCF / ucf_crime.PUBLISHED)
    classes = ucf_crime.ANNOTATED_CLASSES
    for lists in ((train, test), (test, train)):
        told = tell_splits(lists, temporal, classes, "")
        assert told == {"train": train, "test": test}
    assert tell_splits([plain], temporal, classes, "") == {"test": plain}
    train, test = str(XD / "train_frame_counts.csv"), str(XD / "test_frame_counts.csv")
    told = tell_splits([test, train], str(XD / "annotations.txt"), (), "")
    assert told == {"train": train, "test": test}
