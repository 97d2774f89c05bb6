"""Artifacts to and from remote stores: whole or not at all, whatever breaks, whoever else is there."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cache.remote
import cache.upload
from cache.artifact import Artifact
from cache.download import download
from cache.errors import RunStopped, Unreachable
from cache.eviction import evict
from cache.moved import ABSENT, DAMAGED, DIFFERS, EVICTED, MOVED, PRESENT
from cache.remote import Remote
from cache.store import Store
from cache.upload import upload
from tests.cache.lines import behind
from tests.cache.remotes import KINDS, Place, http_url, place_of
from tests.cache.stores import (
    FULL,
    OTHER,
    PAYLOAD,
    at,
    begun,
    findings,
    key_of,
    payload_of,
    publish,
)

# There and back


@pytest.mark.parametrize("kind", KINDS)
def test_an_artifact_comes_back_as_it_went(
    tmp_path: Path, ours: Store, theirs: Store, kind: str
) -> None:
    artifact = publish(ours, 1, FULL, auxiliary=["preview.webp"])
    with place_of(kind, tmp_path / "place") as place:
        remote = place.remote()
        remote.make()
        went = upload(artifact, remote)
        expected = {at(artifact, n): c for n, c in FULL.items()}
        record = (artifact.path / "commit.json").read_bytes()
        assert place.files() == {
            **expected, at(artifact, "commit.json"): record, "format.json": b'{"hiprobe_store":1}\n',
        }  # fmt: skip
        came = download(remote, "decode", artifact.key, theirs)
        size = sum(map(len, FULL.values())) + len(record)
        for moved in (went, came):
            assert (moved.outcome, moved.bytes) == (MOVED, size)
        assert payload_of(theirs.artifact("decode", artifact.key).path) == FULL
        assert (theirs.folder("decode", artifact.key) / "commit.json").read_bytes() == record
        assert findings(theirs) == []
        assert not begun(theirs)
        assert upload(artifact, remote).outcome == PRESENT
        assert download(remote, "decode", artifact.key, theirs).outcome == PRESENT
        assert download(remote, "decode", key_of(5), theirs).outcome == ABSENT


def test_an_artifact_comes_over_http(tmp_path: Path, ours: Store, theirs: Store) -> None:
    artifact = publish(ours, 1, FULL)
    with http_url(ours.root) as url:
        remote = Remote(cache.remote.Address(url))
        assert download(remote, "decode", artifact.key, theirs).outcome == MOVED
    assert payload_of(theirs.artifact("decode", artifact.key).path) == FULL
    assert findings(theirs) == []


def test_a_dry_run_says_what_would_go_and_touches_nothing(
    place: Place, ours: Store, theirs: Store
) -> None:
    artifact = publish(ours)
    before = place.files()
    size = sum(map(len, PAYLOAD.values())) + (artifact.path / "commit.json").stat().st_size
    assert upload(artifact, place.remote(), dry_run=True).bytes == size
    assert place.files() == before
    upload(artifact, place.remote())
    listed = sorted(theirs.root.rglob("*"))
    assert download(place.remote(), "decode", artifact.key, theirs, dry_run=True).bytes == size
    assert sorted(theirs.root.rglob("*")) == listed


def test_large_files_go_to_s3_in_parts_whose_digests_are_compared(
    tmp_path: Path, ours: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = 5 << 20  # the smallest that S3 takes
    monkeypatch.setattr(cache.remote, "PART", part)
    monkeypatch.setattr(cache.upload, "PART", part)
    sizes = (part - 1, part, part + 1, 2 * part, 2 * part + 3)
    payload = {f"{size}.bin": os.urandom(size) for size in sizes}
    artifact = publish(ours, 1, payload)
    read_back: list[str] = []
    plain = Remote.blocks
    monkeypatch.setattr(Remote, "blocks", lambda r, p: (read_back.append(p), plain(r, p))[1])
    with place_of("s3", tmp_path) as place:
        remote = place.remote()
        remote.make()
        assert upload(artifact, remote).outcome == MOVED
        assert not [path for path in read_back if path.endswith(".bin")]
        assert {p[-1]: c for p, c in ((p.split("/"), c) for p, c in place.files().items())}.items() \
            >= payload.items()  # fmt: skip


# Interruptions


def test_a_pull_that_breaks_at_any_byte_leaves_nothing_visible_and_goes_on(
    place: Place, ours: Store, theirs: Store, small_blocks: None
) -> None:
    artifact = publish(ours, 1, FULL)
    upload(artifact, place.remote())
    record = (artifact.path / "commit.json").stat().st_size
    total = sum(map(len, FULL.values())) + record
    for count in range(0, total, 67):
        remote, line = behind(place, count=count)
        with pytest.raises(Unreachable, match="the line broke"):
            download(remote, "decode", artifact.key, theirs)
        assert line.passed == count
        assert theirs.find("decode", artifact.key) is None
        assert not theirs.folder("decode", artifact.key).exists()
        # Whole files are kept: the second try moves only the rest, and the record again.
        kept = sum(len(FULL[n]) for n in names_begun(theirs))
        again, line = behind(place)
        assert download(again, "decode", artifact.key, theirs).outcome == MOVED
        assert line.passed == total - kept
        assert payload_of(theirs.artifact("decode", artifact.key).path) == FULL
        assert not begun(theirs)
        shutil.rmtree(theirs.folder("decode", artifact.key))
    assert findings(theirs) == []


def names_begun(store: Store) -> list[str]:
    found = [f for folder in begun(store) for f in (folder / "whole").rglob("*") if f.is_file()]
    return [f.relative_to(f.parents[len(f.parts) - 1 - f.parts.index("whole")] / "whole").as_posix()
            for f in found]  # fmt: skip


def test_a_push_that_breaks_at_any_byte_leaves_nothing_visible_and_goes_on(
    tmp_path: Path, ours: Store, theirs: Store, small_blocks: None
) -> None:
    artifact = publish(ours, 1, FULL)
    record = (artifact.path / "commit.json").stat().st_size
    total = sum(map(len, FULL.values())) + record
    for count in range(0, total, 131):
        with place_of("memory", tmp_path) as place:
            place.remote().make()
            remote, _ = behind(place, count=count)
            with pytest.raises(Unreachable, match="the line broke"):
                upload(artifact, remote)
            assert at(artifact, "commit.json") not in place.files()
            assert download(place.remote(), "decode", artifact.key, theirs).outcome == ABSENT
            assert upload(artifact, place.remote()).outcome == MOVED
            assert download(place.remote(), "decode", artifact.key, theirs).outcome == MOVED
        assert payload_of(theirs.artifact("decode", artifact.key).path) == FULL
        shutil.rmtree(theirs.folder("decode", artifact.key))


def test_a_push_and_a_pull_that_break_at_any_call(
    tmp_path: Path, ours: Store, theirs: Store
) -> None:
    artifact = publish(ours, 1, FULL)
    for calls in itertools.count():
        with place_of("memory", tmp_path) as place:
            place.remote().make()
            remote, line = behind(place, calls=calls)
            try:
                upload(artifact, remote)
            except Unreachable:
                assert at(artifact, "commit.json") not in place.files()
                assert upload(artifact, place.remote()).outcome == MOVED
        if line.calls >= 0:
            break
    assert calls >= 3  # two listings and a record, at least


def test_on_s3_a_second_push_sends_only_what_has_not_arrived(tmp_path: Path, ours: Store) -> None:
    artifact = publish(ours, 1, FULL)
    with place_of("s3", tmp_path) as place:
        place.remote().make()
        remote = place.remote()
        files = list(FULL)
        sent: list[str] = []
        plain = remote.send

        def send(path: str, blocks: Any) -> None:
            if len(sent) == 4:
                raise Unreachable("the line broke")
            sent.append(path)
            plain(path, blocks)

        remote.send = send  # type: ignore[method-assign]
        with pytest.raises(Unreachable):
            upload(artifact, remote)
        before, first = len(files), list(sent)
        sent.clear()
        # One of those that arrived is not what was sent.
        place.write(first[0], b"x" * len(place.read(first[0])))
        remote.send = lambda p, b: (sent.append(p), plain(p, b))[1]  # type: ignore[method-assign]
        assert upload(artifact, remote).outcome == MOVED
        assert len(sent) == before - 4 + 1
        assert first[0] in sent


# What is there


@pytest.mark.parametrize("kind", ["memory", "sftp"])
def test_of_two_contents_under_one_key_the_first_stays(
    tmp_path: Path, ours: Store, theirs: Store, kind: str
) -> None:
    first, second = publish(ours, 1), publish(theirs, 1, OTHER)
    with place_of(kind, tmp_path / "place") as place:
        remote = place.remote()
        remote.make()
        upload(first, remote)
        before = place.files()
        moved = upload(second, remote)
        assert moved.outcome == DIFFERS
        assert "the first stays" in moved.message
        assert place.files() == before


@pytest.mark.parametrize("kind", ["memory", "sftp"])
def test_a_damaged_record_there_is_replaced(tmp_path: Path, ours: Store, kind: str) -> None:
    artifact = publish(ours, 1)
    with place_of(kind, tmp_path / "place") as place:
        remote = place.remote()
        remote.make()
        upload(artifact, remote)
        expected = place.files()
        place.write(at(artifact, "commit.json"), expected[at(artifact, "commit.json")][:-9])
        place.write(at(artifact, "stray.bin"), b"from another content")
        moved = upload(artifact, remote)
        assert moved.outcome == MOVED
        assert "replaced" in moved.message
        assert place.files() == expected


def test_something_else_that_arrives_is_noticed_before_the_record(
    tmp_path: Path, ours: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = publish(ours, 1)
    for kind, harm, check in (
        ("memory", lambda c: c[:-1], False),  # sizes are always looked at
        ("memory", lambda c: c[:-1] + b"x", True),
        ("s3", lambda c: c[:-1] + b"x", False),  # S3 says which content has arrived
    ):
        with place_of(kind, tmp_path) as place:
            place.remote().make()
            remote = place.remote()
            plain = remote.send

            def send(path: str, blocks: Any, plain: Any = plain, harm: Any = harm) -> None:
                content = b"".join(blocks)
                plain(path, iter([harm(content) if path.endswith("table.bin") else content]))

            remote.send = send  # type: ignore[method-assign]
            with pytest.raises(Unreachable, match=r"table\.bin has not arrived"):
                upload(artifact, remote, check=check)
            assert at(artifact, "commit.json") not in place.files()


def test_what_is_evicted_is_not_pushed_and_can_be_pulled_back(
    place: Place, ours: Store, theirs: Store
) -> None:
    artifact = publish(ours, 1)
    upload(artifact, place.remote())
    evict(ours, "decode", artifact.key)
    record = ours.record("decode", artifact.key)
    assert record is not None
    assert upload(record, place.remote()).outcome == EVICTED
    assert download(place.remote(), "decode", artifact.key, ours).outcome == MOVED
    assert payload_of(ours.artifact("decode", artifact.key).path) == PAYLOAD
    assert ours.listing("decode").evicted == frozenset()
    # With other content under its key, what rests on the first would be lost.
    publish(theirs, 1, OTHER)
    evict(theirs, "decode", artifact.key)
    moved = download(place.remote(), "decode", artifact.key, theirs)
    assert moved.outcome == DIFFERS
    assert theirs.find("decode", artifact.key) is None


def test_a_disk_that_is_too_small_is_said_before(
    place: Place, ours: Store, theirs: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = publish(ours, 1)
    upload(artifact, place.remote())
    monkeypatch.setattr(Store, "free_bytes", lambda store: 100)
    size = sum(map(len, PAYLOAD.values()))
    with pytest.raises(RunStopped, match=f"has {size} bytes, 100 are free"):
        download(place.remote(), "decode", artifact.key, theirs)


def test_a_broken_connection_is_made_anew(tmp_path: Path, ours: Store, theirs: Store) -> None:
    artifact = publish(ours, 1)
    with place_of("sftp", tmp_path / "place") as place:
        remote = place.remote()
        remote.make()
        upload(artifact, remote)
        remote._fs.client.close()
        with pytest.raises(Unreachable):
            download(remote, "decode", artifact.key, theirs)
        assert download(remote, "decode", artifact.key, theirs).outcome == MOVED


@pytest.mark.parametrize("others", [{}, {"deep": b"a file now"}], ids=["fewer", "a file"])
def test_what_is_begun_from_another_record_is_begun_anew(
    place: Place, ours: Store, theirs: Store, small_blocks: None, others: dict[str, bytes]
) -> None:
    artifact = publish(ours, 1, FULL)
    upload(artifact, place.remote())
    interrupt(place, artifact, theirs)
    assert "deep/er/notes.txt" in names_begun(theirs)
    for path in list(place.files()):
        if path != "format.json":
            place.remove(path)
    shutil.rmtree(ours.root)
    other = publish(Store.open(ours.root), 1, {**PAYLOAD, **others})
    upload(other, place.remote())
    assert download(place.remote(), "decode", other.key, theirs).outcome == MOVED
    assert payload_of(theirs.artifact("decode", other.key).path) == {**PAYLOAD, **others}
    assert findings(theirs) == []


@pytest.mark.parametrize("harm", [lambda c: c[:-1], lambda c: c[:-1] + b"x", lambda c: b""])
def test_what_was_torn_while_nobody_looked_is_fetched_anew(
    place: Place, ours: Store, theirs: Store, small_blocks: None, harm: Callable[[bytes], bytes]
) -> None:
    """A power cut can leave a file that was renamed before its bytes were on the disk."""
    artifact = publish(ours, 1, FULL)
    upload(artifact, place.remote())
    interrupt(place, artifact, theirs)
    (torn,) = (f for folder in begun(theirs) for f in folder.rglob("notes.txt"))
    torn.write_bytes(harm(torn.read_bytes()))
    assert download(place.remote(), "decode", artifact.key, theirs).outcome == MOVED
    assert payload_of(theirs.artifact("decode", artifact.key).path) == FULL


def interrupt(place: Place, artifact: Artifact, store: Store) -> None:
    """Begin a pull, which breaks after the first file."""
    record = (artifact.path / "commit.json").stat().st_size
    remote, _ = behind(place, count=record + len(FULL["deep/er/notes.txt"]) + 1)
    with pytest.raises(Unreachable):
        download(remote, "decode", artifact.key, store)


def test_finished_parts_of_a_run_stay(place: Place, ours: Store, theirs: Store) -> None:
    """What a run has finished of an item is not thrown away because a pull was refused."""
    artifact = publish(ours, 1)
    upload(artifact, place.remote())
    place.write(at(artifact, "table.bin"), b"")
    shard = theirs.parts(artifact.key) / "shard.part"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"hours of work")
    assert download(place.remote(), "decode", artifact.key, theirs).outcome == DAMAGED
    assert shard.read_bytes() == b"hours of work"
    assert [p.name for p in begun(theirs)] == ["shard.part"]


def test_the_tag_of_parts_is_that_of_s3() -> None:
    """An MD5 over the MD5s of the parts, and their number."""
    parts = [hashlib.md5(b"a").digest(), hashlib.md5(b"b").digest()]
    expected = hashlib.md5(b"".join(parts)).hexdigest() + "-2"
    assert cache.remote.expected_tag(parts, cache.remote.PART + 1) == expected
    assert cache.remote.expected_tag(parts[:1], 1) == hashlib.md5(b"a").hexdigest()
