"""The commit record: what is written is what is read, and no other bytes are accepted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.commit import Commit, FileEntry, content_digest, read_commit
from cache.errors import ConfigError, DamagedArtifact, StoreError, StoreTooNew
from cache.keys import canonical
from cache.store import Store
from tests.cache.stores import digest_of, flip, forge, plain_json, publish, record_of, sha

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
OBJECTS = st.dictionaries(st.text(max_size=5), JSON, max_size=3)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
    lambda name: name not in (".", "..")
)
ENTRIES = st.builds(
    FileEntry,
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.integers(0, 2**50),
    st.just("a" * 64),
    st.sampled_from(["", "b" * 64]),
    st.booleans(),
)
COMMITS = st.builds(
    Commit,
    stage=st.just("decode"),
    version=st.integers(1, 9),
    key=st.just("c" * 64),
    recipe=OBJECTS,
    inputs=OBJECTS,
    files=st.lists(ENTRIES, max_size=3).map(tuple),
    digest=st.just("d" * 64),
    rows=st.integers(0, 10**9),
    seconds=st.dictionaries(st.text(max_size=5), st.floats(0, 1e6), max_size=2),
    notes=st.lists(st.text(max_size=20), max_size=2).map(tuple),
    members=st.just({"states": {"Abuse028_x264": "e" * 64}}),
    environment=OBJECTS,
    created=st.just("2025-01-01T00:00:00Z"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an artifact with every kind of field filled."""
    return publish(
        Store.open(tmp_path / "store"),
        seconds={"read": 0.25, "all": 1.5},
        notes=["3 frames unsound", "é"],
        members={"states": {"Abuse028_x264": "e" * 64}},
        environment={"host": "node7", "packages": {"av": "18.1"}},
        auxiliary=["preview.webp"],
    ).path


@settings(max_examples=60, deadline=None)
@given(commit=COMMITS)
def test_what_is_written_is_read(commit: Commit, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("artifact")
    (folder / "commit.json").write_text(canonical(commit.to_json()))
    assert read_commit(folder) == commit


def test_the_record_carries_the_sha256_of_the_rest_of_it(folder: Path) -> None:
    record = record_of(folder)
    said = record.pop("record")
    assert said == sha(plain_json(record))
    assert (folder / "commit.json").read_bytes() == plain_json({**record, "record": said})


def test_a_flipped_bit_in_any_byte_of_a_record_is_damage(folder: Path) -> None:
    path = folder / "commit.json"
    chance = random.Random(5)
    for byte in range(path.stat().st_size):
        bit = 8 * byte + chance.randrange(8)
        flip(path, bit)
        with pytest.raises(DamagedArtifact, match=folder.name):
            read_commit(folder)
        flip(path, bit)
    read_commit(folder)


def test_another_text_of_the_same_value_is_not_the_record(folder: Path) -> None:
    path = folder / "commit.json"
    text = path.read_text()
    for other in (text + "\n", text.replace(":", ": ", 1), text.replace("\\u00e9", "\\u00E9")):
        assert other != text
        path.write_text(other)
        with pytest.raises(DamagedArtifact, match="sha256"):
            read_commit(folder)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{}", b"[]", b"3", b'"record"', b"null", b"\xff\xfe", b"{" * 100_000, b"[" * 100_000],
    ids=["missing", "empty", "{}", "[]", "3", "text", "null", "binary", "objects", "lists"],
)  # fmt: skip
def test_what_is_no_record_is_damage_and_names_the_artifact(
    folder: Path, content: bytes | None
) -> None:
    (folder / "commit.json").unlink()
    if content is not None:
        (folder / "commit.json").write_bytes(content)
    with pytest.raises(DamagedArtifact, match=rf"{folder.name}.*hiprobe cache repair"):
        read_commit(folder)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_record_is_damage(folder: Path, keep: float) -> None:
    whole = (folder / "commit.json").read_bytes()
    (folder / "commit.json").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(DamagedArtifact):
        read_commit(folder)


def test_a_newer_format_is_refused_by_number(folder: Path) -> None:
    forge(folder, format=7, something_new=1, rows=None)
    with pytest.raises(StoreTooNew, match="format 7, this hiprobe reads up to 1") as refused:
        read_commit(folder)
    assert isinstance(refused.value, StoreError)
    assert isinstance(refused.value, ConfigError)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": None},
        {"rows": "3"},
        {"recipe": []},
        {"inputs": None},
        {"notes": "text"},
        {"files": {}},
        {"files": [{"path": "a"}]},
        {"files": [3]},
        {"format": "1"},
        {"unknown": 1},
    ],
)
def test_a_forged_record_of_another_shape_is_damage(folder: Path, changes: dict[str, Any]) -> None:
    forge(folder, **changes)
    with pytest.raises(DamagedArtifact, match=folder.name):
        read_commit(folder)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../other/commit.json", "a/../../b", "", ".", "a//b", "a/", "./a"]
)
def test_a_listed_path_cannot_leave_the_artifact(folder: Path, path: str) -> None:
    files = record_of(folder)["files"]
    files[0]["path"] = path
    forge(folder, files=files)
    with pytest.raises(DamagedArtifact, match="inside an artifact"):
        read_commit(folder)


def test_the_key_tells_a_record_whose_recipe_was_tampered_with(folder: Path) -> None:
    commit = read_commit(folder)
    assert commit.expected_key() == commit.key == folder.name
    for change in (
        {"recipe": {**commit.recipe, "segment": 48}},
        {"inputs": {"source": "f" * 64}},
        {"version": 2},
        {"stage": "sample"},
    ):
        before = record_of(folder)
        forge(folder, **change)
        assert read_commit(folder).expected_key() != commit.key
        forge(folder, **before)
    assert read_commit(folder) == commit


def test_the_content_digest_is_made_of_names_and_digests(folder: Path) -> None:
    plain = {"b": b"two", "a/c": b"three", "a": b"one"}
    entries = [FileEntry(name, len(data), sha(data)) for name, data in plain.items()]
    assert content_digest(tuple(entries)) == digest_of(plain)
    assert content_digest(tuple(reversed(entries))) == digest_of(plain)
    extra = FileEntry("page.html", 1, sha(b"x"), auxiliary=True)
    assert content_digest((*entries, extra)) == digest_of(plain)
    renamed = FileEntry("z", 3, sha(b"two"))
    assert content_digest((renamed, *entries[1:])) != digest_of(plain)


def test_a_logical_digest_stands_for_the_bytes() -> None:
    one = FileEntry("t.parquet", 10, "1" * 64, logical="9" * 64)
    two = FileEntry("t.parquet", 11, "2" * 64, logical="9" * 64)
    three = FileEntry("t.parquet", 10, "1" * 64, logical="8" * 64)
    assert content_digest((one,)) == content_digest((two,))
    assert content_digest((one,)) == sha(plain_json([["t.parquet", "9" * 64]]))
    assert content_digest((one,)) != content_digest((three,))


def test_the_size_of_a_commit_is_that_of_its_payload(folder: Path) -> None:
    assert read_commit(folder).bytes == sum(
        p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != "commit.json"
    )
