"""Verification: nothing that is not what was committed passes."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import verify as verify_module
from cache.artifact import Artifact
from cache.eviction import evict
from cache.store import Store
from cache.verify import examine, verify
from tests.cache.stores import (
    PAYLOAD,
    findings,
    flip,
    forge,
    key_of,
    payload_of,
    publish,
    record_of,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two artifacts of one stage and one of another, the first with every field filled."""
    store = Store.open(tmp_path / "store")
    publish(
        store,
        seconds={"read": 0.25, "all": 1.5},
        notes=["3 frames unsound"],
        members={"states": {"Abuse028_x264": "e" * 64}},
        environment={"host": "node7", "packages": {"av": "18.1"}},
        auxiliary=["preview.webp"],
    )
    publish(store, 1)
    publish(store, 0, stage="sample")
    return store


@pytest.fixture
def first(store: Store) -> Artifact:
    return store.artifact("decode", key_of(0))


def problem(artifact: Artifact, *, full: bool = False) -> str:
    """What is wrong with an artifact, by an object that remembers nothing."""
    return examine(Artifact(artifact.stage, artifact.key, artifact.path), full=full)


def test_a_store_as_it_was_written_has_no_findings(store: Store) -> None:
    assert findings(store, full=False) == findings(store, full=True) == []


def test_every_artifact_of_the_named_stages_is_seen(store: Store) -> None:
    seen: list[tuple[str, str]] = []
    note = lambda artifact: seen.append((artifact.stage, artifact.key))  # noqa: E731
    assert list(verify(store, seen=note)) == []
    decode = [("decode", key) for key in sorted([key_of(0), key_of(1)])]
    assert seen == [*decode, ("sample", key_of(0, "sample"))]
    seen.clear()
    assert list(verify(store, ["sample"], seen=note)) == []
    assert seen == [("sample", key_of(0, "sample"))]


def test_a_bit_flipped_anywhere_is_found_in_full(first: Artifact) -> None:
    files = [*(first.path / name for name in PAYLOAD), first.path / "commit.json"]
    chance = random.Random(7)
    for _ in range(300):
        path = chance.choice(files)
        bit = chance.randrange(path.stat().st_size * 8)
        flip(path, bit)
        found = problem(first, full=True)
        assert path.name in found, f"bit {bit} of {path.name}: {found!r}"
        flip(path, bit)
    assert problem(first, full=True) == ""


def test_a_bit_flipped_in_a_record_is_found_quickly(first: Artifact) -> None:
    path = first.path / "commit.json"
    chance = random.Random(8)
    for _ in range(300):
        bit = chance.randrange(path.stat().st_size * 8)
        flip(path, bit)
        assert "commit.json cannot be read" in problem(first)
        flip(path, bit)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_payload_with_any_byte_changed_is_found_in_full(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = data.draw(st.binary(min_size=1, max_size=300))
    artifact = publish(Store.open(tmp_path_factory.mktemp("store")), 0, {"a": content})
    other = bytearray(content)
    other[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (artifact.path / "a").write_bytes(other)
    assert problem(artifact, full=True) == "a does not have the digest of its record"
    assert problem(artifact) == "", "the size is the same: a quick look cannot see it"


@pytest.mark.parametrize("name", [*PAYLOAD, "commit.json"])
@pytest.mark.parametrize("harm", ["cut", "lengthened", "emptied", "deleted", "made a folder"])
def test_a_quick_look_finds_a_file_that_is_not_whole(
    store: Store, first: Artifact, name: str, harm: str
) -> None:
    path = first.path / name
    whole = path.read_bytes()
    path.unlink()
    if harm == "made a folder":
        path.mkdir()
    elif harm != "deleted":
        path.write_bytes({"cut": whole[:-1], "lengthened": whole + b"\n", "emptied": b""}[harm])
    (finding,) = verify(store)
    assert (finding.stage, finding.key) == ("decode", first.key)
    assert name in finding.message


def test_a_quick_look_finds_a_link_in_place_of_a_file(
    store: Store, first: Artifact, tmp_path: Path
) -> None:
    for name in ("table.bin", "states.zarr"):
        moved = (first.path / name).rename(tmp_path / name)
        (first.path / name).symlink_to(moved)
        assert payload_of(first.path)["table.bin"] == PAYLOAD["table.bin"]
        assert name in problem(first)
        (first.path / name).unlink()
        moved.rename(first.path / name)
    assert problem(first, full=True) == ""


def test_a_quick_look_finds_what_was_swapped(store: Store, first: Artifact) -> None:
    def swap(one: Path, two: Path) -> None:
        spare = store.root / "staging" / "spare"
        one.rename(spare)
        two.rename(one)
        spare.rename(two)

    second = store.artifact("decode", key_of(1))
    swap(first.path / "table.bin", first.path / "preview.webp")
    assert "should have" in problem(first)
    swap(first.path / "table.bin", first.path / "preview.webp")
    swap(first.path, second.path)
    assert sorted(f.key for f in verify(store)) == sorted([first.key, second.key])
    assert key_of(1) in problem(first)
    swap(first.path, second.path)
    swap(first.path / "commit.json", second.path / "commit.json")
    assert len(findings(store, full=False)) == 2
    swap(first.path / "commit.json", second.path / "commit.json")
    assert findings(store) == []


def test_a_full_look_finds_files_of_one_size_that_were_swapped(first: Artifact) -> None:
    one, two = first.path / "states.zarr/c/0", first.path / "states.zarr/c/1"
    one.write_bytes(PAYLOAD["states.zarr/c/0"][::-1])
    assert "states.zarr/c/0 does not have the digest" in problem(first, full=True)
    assert two.exists()


def test_an_artifact_of_another_stage_is_found(store: Store, first: Artifact) -> None:
    there = store.folder("score", first.key)
    there.parent.mkdir(parents=True)
    shutil.copytree(first.path, there)
    (finding,) = verify(store)
    assert (finding.stage, finding.key) == ("score", first.key)
    assert "decode" in finding.message


@pytest.mark.parametrize(
    "name", ["stray", "states.zarr/c/2", ".hidden", "deep/er/file", "deep/commit.json"]
)
def test_a_quick_look_finds_a_stray_file(first: Artifact, name: str) -> None:
    (first.path / name).parent.mkdir(parents=True, exist_ok=True)
    (first.path / name).write_bytes(b"")
    assert problem(first) == f"{name} is not in its record"


def test_a_quick_look_finds_a_stray_link(first: Artifact, tmp_path: Path) -> None:
    (first.path / "link").symlink_to(tmp_path)
    assert problem(first) == "link is not in its record"


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": {"rule": "endpoints"}},
        {"recipe": {"rule": float("nan")}},
        {"inputs": {"source": "f" * 64}},
        {"version": 2},
        {"stage": "sample"},
        {"key": "0" * 64},
        {"digest": "0" * 64},
        {"files": []},
    ],
)
def test_a_forged_record_is_found_quickly(first: Artifact, changes: dict[str, Any]) -> None:
    forge(first.path, **changes)
    assert problem(first) != ""


def test_a_forged_list_of_files_is_found(first: Artifact) -> None:
    files = record_of(first.path)["files"]
    by_path = {entry["path"]: entry for entry in files}
    by_path["table.bin"]["sha256"] = "0" * 64
    forge(first.path, files=files)
    assert "content digest" in problem(first)
    by_path["table.bin"]["auxiliary"] = True
    forge(first.path, files=files)
    assert "content digest" in problem(first)


def test_an_artifact_that_is_set_aside_meanwhile_is_no_finding(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verify_module.examine

    def examine_late(artifact: Artifact, *, full: bool, stop: Any) -> str:
        if artifact.path.exists():
            store.quarantine(artifact.stage, artifact.key)
        return real(artifact, full=full, stop=stop)

    monkeypatch.setattr(verify_module, "examine", examine_late)
    assert findings(store) == []


@pytest.mark.parametrize("again", [False, True])
def test_an_artifact_that_is_evicted_or_made_again_meanwhile_is_no_finding(
    store: Store, first: Artifact, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Half of it was read from the one, half from the other: no word about either."""
    real, done = verify_module._digest, []

    def digest_late(path: str, *rest: Any) -> str:
        found = real(path, *rest)
        if path.startswith(str(first.path)) and not done:
            done.append(path)
            evict(store, first.stage, first.key)
            if again:
                publish(store, notes=["made again"], auxiliary=["preview.webp"])
            return "0" * 64
        return found

    monkeypatch.setattr(verify_module, "_digest", digest_late)
    assert findings(store) == []
    assert done
    assert store.folder("decode", first.key).exists() == again


def test_a_file_that_cannot_be_read_is_a_finding(
    store: Store, first: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("states.zarr"):
            raise OSError(5, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "Input/output error" in problem(first)
    assert len(findings(store)) == 3
