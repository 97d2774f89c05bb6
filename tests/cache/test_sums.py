"""Check sums beside files: what coreutils check, what is believed, what is told."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from cache import sums
from cache.errors import DamagedArtifact
from tests.cache.stores import flip, sha

OURS = {"a.json": "a result", "b.parquet": "a result", "c": "a result"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {"a.json": b"{}", "b.parquet": b"PAR1", "mine.txt": b"a note"}.items():
        (tmp_path / name).write_bytes(content)
        if name in OURS:
            sums.note(tmp_path / name)
    return tmp_path


def problems(folder: Path) -> list[str]:
    return sorted(name for name, _ in sums.problems(folder, OURS))


def test_what_is_noted_is_what_sha256sum_checks(folder: Path) -> None:
    assert (folder / sums.SUMS).read_text() == (
        f"{sha(b'{}')}  a.json\n{sha(b'PAR1')}  b.parquet\n"
    )
    assert problems(folder) == []
    if shutil.which("sha256sum"):
        check = ["sha256sum", "--check", "--strict", "--quiet", sums.SUMS]
        assert subprocess.run(check, cwd=folder, check=False).returncode == 0
        (folder / "a.json").write_bytes(b"[]")
        assert subprocess.run(check, cwd=folder, check=False, capture_output=True).returncode == 1


def test_a_file_that_was_written_and_not_noted_is_not_believed(folder: Path) -> None:
    """As after a kill between the two writes; also where it is the first of its name."""
    (folder / "a.json").write_bytes(b"[]")
    (folder / "c").write_bytes(b"new")
    assert [sums.is_sound(folder / name) for name in OURS] == [False, True, False]
    for name in ("a.json", "c"):
        with pytest.raises(DamagedArtifact, match=rf"{name} in .* does not have the sha256"):
            sums.require(folder / name)
    assert problems(folder) == ["a.json", "c"]
    for name in ("a.json", "c"):
        sums.note(folder / name)
        assert sums.require(folder / name) == folder / name
    assert problems(folder) == []


def test_a_folder_without_check_sums_is_one_of_before(folder: Path) -> None:
    (folder / sums.SUMS).unlink()
    assert all(sums.is_sound(folder / name) for name in OURS)
    assert not any(sums.is_noted(folder / name) or sums.knows(folder / name) for name in OURS)


def test_what_is_gone_is_told_until_it_is_forgotten(folder: Path) -> None:
    (folder / "a.json").unlink()
    assert problems(folder) == ["a.json"]
    sums.forget(folder / "a.json")
    sums.forget(folder / "never.there")
    assert problems(folder) == []
    assert not sums.knows(folder / "a.json")


def test_every_flipped_bit_is_told_and_lines_that_are_none_can_be_dropped(folder: Path) -> None:
    chance = random.Random(3)
    for name in ("a.json", "b.parquet", sums.SUMS):
        whole = (folder / name).read_bytes()
        bits = range(len(whole) * 8)
        for bit in bits if len(whole) < 9 else chance.sample(bits, 30):
            flip(folder / name, bit)
            assert problems(folder) != [], (name, bit)
            sums.mend(folder)
            assert sums.SUMS not in problems(folder)
            (folder / name).write_bytes(whole)
            for noted in ("a.json", "b.parquet"):
                sums.note(folder / noted)
            for other in set(problems(folder)):
                sums.forget(folder / other)
