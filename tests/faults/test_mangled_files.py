"""Truncated, emptied, deleted, swapped, replaced by something else, stray: found, and never read."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cache.artifact import Artifact
from cache.errors import DamagedArtifact, MissingArtifact
from cache.store import Store
from cache.surroundings import misfits
from cache.verify import examine, look_at, places_of
from tests.conftest import Called, Demo, copy_of
from tests.faults.flips import REFUSALS, Target, targets
from tests.faults.mangles import FULL, QUICK, artifact_of, harmed, of_artifacts, swap
from tests.faults.test_interruptions import digests

Hiprobe = Callable[..., Called]


@pytest.fixture(scope="module")
def copy(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A copy that may be harmed, if it is mended again."""
    return copy_of(demo, tmp_path_factory.mktemp("mangled") / "runs" / "demo")


def of_each_stage(copy: Demo) -> list[Target]:
    """Every file of one artifact of each stage."""
    chosen: dict[str, str] = {}
    some = []
    for target in of_artifacts(copy.folder / "store", copy.folder):
        stage, _, key = target.path.relative_to(copy.folder / "store").parts[:3]
        if chosen.setdefault(stage, key) == key:
            some.append(target)
    return some


def folder_of(copy: Demo, target: Target) -> Artifact:
    return artifact_of(copy.folder / "store", target)


@pytest.mark.parametrize("harm", [*QUICK, *FULL])
def test_every_file_of_every_stage_that_is_harmed_is_found_and_not_believed(
    copy: Demo, tmp_path: Path, harm: str
) -> None:
    tried = 0
    for target in of_each_stage(copy):
        whole, artifact = target.read(), folder_of(copy, target)
        if harm in FULL and target.path.read_bytes()[::-1] == target.path.read_bytes():
            continue
        with harmed(target.path, harm, tmp_path / "spare"):
            quick = examine(folder_of(copy, target), full=False)
            # A record carries its own digest: no look is too quick for it.
            assert (quick != "") == (harm in QUICK or target.kind == "record"), target.path
            assert examine(artifact, full=True) != "", target.path
            try:
                read = target.read()
            except (*REFUSALS, MissingArtifact):
                read = None
            assert read in (None, whole), target.path
            # Where it is known by the path alone (a link), nobody reads through it.
            assert read is None or "zarr" in str(target.path), target.path
        tried += 1
    assert tried >= 30


def test_the_arrays_of_two_videos_that_were_exchanged_are_not_read_for_one_another(
    copy: Demo, tmp_path: Path
) -> None:
    """The same form, sound check sums in every chunk: only the record knows whose they are."""
    store = Store(copy.folder / "store")
    sizes: dict[int, list[Target]] = {}
    for target in targets(store.root, copy.folder):
        if target.path.match("forward/*/*/states.zarr/c/0/0/0"):
            sizes.setdefault(target.path.stat().st_size, []).append(target)
    one, two = max(sizes.values(), key=len)[:2]
    whole = one.read()
    assert whole[1:] != two.read()[1:]
    for at in (one.path, one.path.parents[3] / "zarr.json", one.path.parents[3]):
        other = Path(str(at).replace(str(_folder(one)), str(_folder(two))))
        swap(at, other, tmp_path / "spare")
        for target in (one, two):
            assert examine(folder_of(copy, target), full=True) != ""
            if at.name != "zarr.json" or at.read_bytes() != other.read_bytes():
                with pytest.raises(DamagedArtifact):
                    target.read()
        swap(at, other, tmp_path / "spare")
    assert one.read() == whole


def _folder(target: Target) -> Path:
    return next(path for path in target.path.parents if len(path.name) == 64)


def test_two_artifacts_that_were_exchanged_are_found_quickly_and_read_by_nobody(
    own_demo: Demo, hiprobe: Hiprobe, tmp_path: Path
) -> None:
    before = digests(own_demo.folder / "store")
    one, two = sorted((own_demo.folder / "store" / "forward").glob("*/*"))[:2]
    swap(one, two, tmp_path / "spare")
    store = Store(own_demo.folder / "store")
    for path in (one, two):
        with pytest.raises(DamagedArtifact, match="its record is that of forward/"):
            assert store.artifact("forward", path.name).digest
    found = hiprobe("cache", "verify", store.root, "--json")
    assert found.code == 5
    # Nobody has to ask for it: the run finds both, and makes both again.
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert hiprobe("cache", "verify", store.root, "--full").code == 0
    assert digests(store.root) == before


def test_what_does_not_belong_is_told_harms_nobody_and_stays(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    store = own_demo.folder / "store"
    key = next((store / "score").glob("*/*")).name
    strays = ["notes.txt", "score/notes.txt", f"score/{key[:2]}/notes.txt", "lost+found/x",
              "score/zz/x", f"score/{'00' if key[:2] != '00' else '01'}/{key}/commit.json",
              "roots/notes"]  # fmt: skip
    for name in strays:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_text("a note")
    value = hiprobe("cache", "verify", store, "--json")
    assert value.code == 0
    told = [stray["path"] for stray in value.value()["strays"]]
    assert sorted(told) == sorted(
        n.rsplit("/", 1)[0] if n.endswith(("/x", "/commit.json")) else n for n in strays
    )
    assert hiprobe("plan", own_demo.config, "--check").code == 0
    assert hiprobe("cache", "repair", store).code == 0
    assert all((store / name).exists() for name in strays)


@pytest.mark.parametrize("what", ["an artifact", "a folder"])
def test_a_link_in_place_of_an_artifact_is_damage(
    own_demo: Demo, hiprobe: Hiprobe, tmp_path: Path, what: str
) -> None:
    path = next((own_demo.folder / "store" / "score").glob("*/*"))
    if what == "an artifact":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        assert "its folder is a link" in hiprobe("cache", "verify", own_demo.config).out
    else:
        shutil.rmtree(path)
        path.write_text("no folder")
        assert hiprobe("cache", "verify", own_demo.config).code == 5
    assert hiprobe("cache", "repair", own_demo.config).code == 0
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert hiprobe("cache", "verify", own_demo.config, "--full").code == 0


def test_an_emptied_folder_and_a_deleted_stage_are_made_again(
    own_demo: Demo, hiprobe: Hiprobe
) -> None:
    store = own_demo.folder / "store"
    before = digests(store)
    path = next((store / "sample").glob("*/*"))
    shutil.rmtree(path)
    path.mkdir()
    shutil.rmtree(store / "threshold")
    looked = list(look_at(Store(store), places_of(Store(store)), full=False))
    assert Counter(one.finding is not None for one in looked)[True] == 1
    assert not list(misfits(Store(store)))
    assert hiprobe("cache", "repair", store).code == 0
    assert hiprobe("run", own_demo.config, "--quiet").code == 0
    assert digests(store) == before


def test_any_two_payload_files_that_were_exchanged_are_found(copy: Demo, tmp_path: Path) -> None:
    """Also files of one size, and of two artifacts: a full look knows each by its digest."""
    chance = random.Random(11)
    payload = [t for t in of_each_stage(copy) if t.kind != "record"]
    for one, two in chance.sample(list(itertools.combinations(payload, 2)), 60):
        if one.path.read_bytes() == two.path.read_bytes():
            continue
        swap(one.path, two.path, tmp_path / "spare")
        for target in (one, two):
            assert examine(folder_of(copy, target), full=True) != ""
            with pytest.raises(REFUSALS):
                target.read()
        swap(one.path, two.path, tmp_path / "spare")
