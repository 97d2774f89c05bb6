"""Artifacts to and from remote stores: whole or not at all, whatever breaks, whoever else is there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cache.download
import cache.remote
import cache.upload
from cache.artifact import Artifact
from cache.download import download
from cache.errors import RunStopped, StoreTooNew, Unreachable
from cache.eviction import evict
from cache.moved import ABSENT, DAMAGED, DIFFERS, EVICTED, MOVED, PRESENT
from cache.remote import Remote
from cache.store import Store
from cache.upload import upload
from tests.cache.remotes import KINDS, Place, http_url, place_of
from tests.cache.stores import (
    PAYLOAD,
    findings,
    flip,
    forge,
    key_of,
    payload_of,
    plain_json,
    publish,
    record_of,
    sha,
)

FULL = {**PAYLOAD, "empty.bin": b"", "deep/er/notes.txt": b"n" * 300}
OTHER = {**PAYLOAD, "table.bin": bytes(range(1, 201))}


@pytest.fixture
def ours(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "theirs")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty remote store in memory."""
    with place_of("memory", tmp_path / "place") as place:
        place.remote().make()
        yield place


def at(artifact: Artifact, name: str = "") -> str:
    return f"{artifact.stage}/{artifact.key[:2]}/{artifact.key}/{name}".rstrip("/")


def begun(store: Store) -> list[Path]:
    return list((store.root / "staging").glob("parts/*/*"))


class Line:
    """A file system behind a line that breaks for good after so many calls, or bytes."""

    def __init__(self, fs: Any, *, calls: int = 1 << 60, count: int = 1 << 60) -> None:
        self._fs, self.calls, self.left = fs, calls, count
        self.passed = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._fs, name)
        if not callable(found) or name.startswith("_"):
            return found

        def call(*args: Any, **options: Any) -> Any:
            self.calls -= 1
            if self.calls < 0:
                raise OSError(errno.EPIPE, "the line broke")
            if name == "pipe_file":
                self.let(len(args[1]))  # objects are seen whole or not at all
            return found(*args, **options)

        return call

    def open(self, *args: Any, **options: Any) -> Any:
        return File(self, self._fs.open(*args, **options))

    def let(self, count: int) -> int:
        """How many of these bytes pass; raises where none does."""
        passing = min(count, self.left)
        self.left -= passing
        self.passed += passing
        if passing < count:
            raise OSError(errno.EPIPE, "the line broke")
        return passing


class File:
    def __init__(self, line: Line, file: Any) -> None:
        self._line, self._file = line, file

    def __enter__(self) -> File:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def read(self, count: int) -> bytes:
        block: bytes = self._file.read(min(count, self._line.left) or 1)
        self._line.let(len(block) if self._line.left else 1)
        return block

    def write(self, block: bytes) -> None:
        self._file.write(block[: self._line.left])
        self._line.let(len(block))


def behind(place: Place, **limits: int) -> tuple[Remote, Line]:
    remote = place.remote()
    line = Line(remote._shared, **limits)
    remote._shared = line
    return remote, line


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.remote, "BLOCK", 50)
    monkeypatch.setattr(cache.upload, "BLOCK", 50)


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


# Damage


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "a flipped bit": lambda c: c[:3] + bytes([c[3] ^ 16]) + c[4:],
    "truncated": lambda c: c[:-1],
    "emptied": lambda c: b"",
    "longer": lambda c: c + b"x",
    "deleted": lambda c: None,
}


@pytest.mark.parametrize(
    ("kind", "name", "damage"),
    [
        *itertools.product(["memory"], ["table.bin", "states.zarr/c/1", "commit.json"], DAMAGES),
        ("s3", "table.bin", "a flipped bit"),
        ("s3", "commit.json", "emptied"),
    ],
)
def test_a_damaged_remote_object_is_refused_and_named(
    tmp_path: Path, ours: Store, theirs: Store, kind: str, name: str, damage: str
) -> None:
    artifact = publish(ours, 1)
    with place_of(kind, tmp_path / "place") as place:
        remote = place.remote()
        remote.make()
        upload(artifact, remote)
        path = at(artifact, name)
        bad = DAMAGES[damage](place.read(path))
        place.remove(path) if bad is None else place.write(path, bad)
        moved = download(remote, "decode", artifact.key, theirs)
        if (name, damage) == ("commit.json", "deleted"):
            assert moved.outcome == ABSENT  # without its record there is no artifact
        else:
            assert moved.outcome == DAMAGED
            assert f"decode/{artifact.key}" in moved.message
            assert name in moved.message
            assert remote.shown in moved.message
        assert theirs.record("decode", artifact.key) is None
        assert theirs.keys("decode") == []
        assert not begun(theirs)
        # A push from a store that holds it puts it right.
        assert upload(artifact, remote, check=True).outcome == MOVED
        assert download(remote, "decode", artifact.key, theirs).outcome == MOVED
        assert findings(theirs) == []


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_flipped_bit_and_no_cut_of_any_object_arrives(
    place: Place, ours: Store, theirs: Store, data: st.DataObject
) -> None:
    artifact = ours.find("decode", key_of(1)) or publish(ours, 1)
    upload(artifact, place.remote(), check=True)
    name = data.draw(st.sampled_from([*PAYLOAD, "commit.json"]))
    content = place.read(at(artifact, name))
    where = data.draw(st.integers(0, 8 * len(content) - 1))
    bad = bytearray(content)
    bad[where // 8] ^= 1 << where % 8
    if data.draw(st.booleans()):
        bad = bytearray(content[: where // 8])
    place.write(at(artifact, name), bytes(bad))
    moved = download(place.remote(), "decode", artifact.key, theirs)
    assert moved.outcome == DAMAGED
    assert name in moved.message
    assert theirs.keys("decode") == []


def test_an_artifact_under_the_key_of_another_is_refused(
    place: Place, ours: Store, theirs: Store
) -> None:
    first, second = publish(ours, 1), publish(ours, 2)
    for name in (*PAYLOAD, "commit.json"):
        place.write(at(second, name), (first.path / name).read_bytes())
        place.write(f"score/{first.key[:2]}/{first.key}/{name}", (first.path / name).read_bytes())
    for stage, key in (("decode", second.key), ("score", first.key)):
        moved = download(place.remote(), stage, key, theirs)
        assert moved.outcome == DAMAGED
        assert f"that of decode/{first.key}" in moved.message
    assert theirs.stages() == []


PATHS = ["../../../../escaped", "/tmp/escaped", "a/../../escaped", "a\\..\\escaped", "commit.json",
         "a//b", "./a", "", "nul\0byte", "line\nbreak"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_forged_record_leaves_its_folder_nowhere(
    tmp_path: Path, place: Place, ours: Store, theirs: Store, path: str
) -> None:
    content = b"evil"
    artifact = publish(ours, 1, {"table.bin": content})
    entry = {**record_of(artifact.path)["files"][0], "path": path}
    digest = sha(plain_json([[path, sha(content)]]))
    forge(artifact.path, files=[entry], digest=digest)
    place.write(at(artifact, "commit.json"), (artifact.path / "commit.json").read_bytes())
    if path and path != "commit.json" and "\0" not in path:
        place.write(at(artifact) + "/" + path, content)
    before = {
        p for p in tmp_path.rglob("*") if "staging" not in p.parts and "claims" not in p.parts
    }
    moved = download(place.remote(), "decode", artifact.key, theirs)
    assert moved.outcome == DAMAGED
    assert "is not a path inside" in moved.message or "with the name of" in moved.message
    after = {p for p in tmp_path.rglob("*") if "staging" not in p.parts and "claims" not in p.parts}
    assert after == before
    assert not Path("/tmp/escaped").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"bytes": -1},
        {"bytes": "200"},
        {"bytes": 2.5},
        {"sha256": "x" * 64},
        {"sha256": 5},
        {"extra": 1},
        {"twice": True},
        {"folder": True},
    ],
)
def test_a_forged_list_of_files_is_refused(
    place: Place, ours: Store, theirs: Store, change: dict[str, Any]
) -> None:
    artifact = publish(ours, 1, {"table.bin": b"x" * 200})
    entry = record_of(artifact.path)["files"][0]
    files = [{**entry, **change}]
    if change == {"twice": True}:
        files = [entry, entry]
    if change == {"folder": True}:
        files = [entry, {**entry, "path": "table.bin/inner"}]
    digest = sha(plain_json(sorted([f["path"], f["sha256"]] for f in files)))
    forge(artifact.path, files=files, digest=digest)
    for name in ("table.bin", "commit.json"):
        place.write(at(artifact, name), (artifact.path / name).read_bytes())
    moved = download(place.remote(), "decode", artifact.key, theirs)
    assert moved.outcome == DAMAGED
    assert theirs.keys("decode") == []


def test_a_record_whose_content_digest_is_made_up_is_refused(
    place: Place, ours: Store, theirs: Store
) -> None:
    artifact = publish(ours, 1)
    upload(artifact, place.remote())
    forge(artifact.path, digest="0" * 64)
    place.write(at(artifact, "commit.json"), (artifact.path / "commit.json").read_bytes())
    assert "does not follow" in download(place.remote(), "decode", artifact.key, theirs).message
    # And what is damaged here is not pushed either.
    assert upload(artifact, place.remote()).outcome == DAMAGED


def test_a_record_of_a_newer_format_is_refused_by_number(
    place: Place, ours: Store, theirs: Store
) -> None:
    artifact = publish(ours, 1)
    forge(artifact.path, format=2)
    place.write(at(artifact, "commit.json"), (artifact.path / "commit.json").read_bytes())
    with pytest.raises(StoreTooNew, match="format 2"):
        download(place.remote(), "decode", artifact.key, theirs)


def test_a_server_that_sends_without_end_does_not_fill_the_disk(
    place: Place, ours: Store, theirs: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = publish(ours, 1)
    upload(artifact, place.remote())
    remote = place.remote()
    plain = remote.blocks
    sent: list[int] = []
    endless = (sent.append(n) or b"x" * 100 for n in range(1000))  # type: ignore[func-returns-value]
    monkeypatch.setattr(
        remote, "blocks", lambda p: plain(p) if p.endswith("commit.json") else endless
    )
    moved = download(remote, "decode", artifact.key, theirs)
    assert "more than" in moved.message
    assert len(sent) == 1  # preview.webp has 9 bytes


@pytest.mark.parametrize("name", ["table.bin", "preview.webp", "commit.json"])
def test_what_is_damaged_here_is_never_pushed(place: Place, ours: Store, name: str) -> None:
    artifact = publish(ours, 1)
    flip(artifact.path / name, 27)
    moved = upload(Store(ours.root).artifact("decode", artifact.key), place.remote())
    assert moved.outcome == DAMAGED
    assert name in moved.message
    assert at(artifact, "commit.json") not in place.files()
    assert at(artifact, "table.bin") not in place.files() or name != "table.bin"


@pytest.mark.parametrize("name", ["table.bin", "states.zarr"])
def test_a_link_in_a_payload_is_followed_neither_way(
    tmp_path: Path, place: Place, ours: Store, theirs: Store, name: str
) -> None:
    artifact = publish(ours, 1)
    shutil.move(artifact.path / name, tmp_path / "secret")
    (artifact.path / name).symlink_to(tmp_path / "secret")
    pushed = upload(artifact, place.remote())
    assert pushed.outcome == DAMAGED
    assert "is a link" in pushed.message
    pulled = download(Remote(cache.remote.Address(str(ours.root))), "decode", artifact.key, theirs)
    assert pulled.outcome == DAMAGED
    assert "is a link" in pulled.message


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


# At once


@contextmanager
def no_claims(store: Store) -> Iterator[None]:
    """Everybody gets every claim, as where O_EXCL does not hold what it promises."""
    with pytest.MonkeyPatch.context() as patch:

        @contextmanager
        def hold(name: str) -> Iterator[bool]:
            yield True

        patch.setattr(store.claims, "hold", hold)
        yield


@pytest.mark.parametrize("claims", [True, False])
def test_pulls_at_once_agree(
    place: Place, ours: Store, tmp_path: Path, small_blocks: None, claims: bool
) -> None:
    artifacts = [publish(ours, n, FULL) for n in range(4)]
    for artifact in artifacts:
        upload(artifact, place.remote())
    total = sum(sum(map(len, FULL.values())) + (a.path / "commit.json").stat().st_size
                for a in artifacts)  # fmt: skip
    for round_ in range(3):
        store = Store.open(tmp_path / f"round{round_}")
        remote, line = behind(place)
        ready = threading.Barrier(4)

        def pull(one: Store, remote: Remote = remote, ready: Any = ready) -> list[str]:
            ready.wait()
            with contextlib.nullcontext() if claims else no_claims(one):
                return [download(remote, "decode", a.key, one).outcome for a in artifacts]

        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(pull, [Store(store.root) for _ in range(4)]))
        for outcomes in zip(*said, strict=True):
            assert set(outcomes) <= {MOVED, PRESENT}
            assert outcomes.count(MOVED) == 1 or not claims
        assert line.passed == total or not claims
        assert findings(store) == []
        assert [payload_of(store.artifact("decode", a.key).path) for a in artifacts] == [FULL] * 4
        assert not begun(store)


def test_a_pull_waits_for_whoever_makes_the_same(place: Place, ours: Store, theirs: Store) -> None:
    artifact = publish(ours, 1)
    upload(artifact, place.remote())
    with theirs.claims.hold(f"decode~{artifact.key}"), ThreadPoolExecutor(1) as pool:
        moving = pool.submit(download, place.remote(), "decode", artifact.key, Store(theirs.root))
        publish(theirs, 1)
        assert moving.result(timeout=10).outcome == PRESENT


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_pushes_at_once_of_one_content_agree(tmp_path: Path, ours: Store, kind: str) -> None:
    artifact = publish(ours, 1, FULL)
    with place_of(kind, tmp_path) as place:
        remote = place.remote()
        remote.make()
        with ThreadPoolExecutor(4) as pool:
            said = [pool.submit(upload, artifact, remote) for _ in range(4)]
        assert {future.result().outcome for future in said} <= {MOVED, PRESENT}
        expected = {at(artifact, n): c for n, c in FULL.items()}
        assert place.files().items() >= expected.items()
        assert upload(artifact, remote, check=True).outcome == PRESENT


def test_pushes_at_once_of_two_contents_leave_one_whole(tmp_path: Path) -> None:
    """On S3: whoever puts his record last sees that the payload is not his own."""
    stores = [Store.open(tmp_path / name) for name in "ab"]
    with place_of("s3", tmp_path) as place:
        remote = place.remote()
        remote.make()
        for round_ in range(ROUNDS):
            artifacts = [
                publish(s, round_, c) for s, c in zip(stores, (PAYLOAD, OTHER), strict=True)
            ]
            ready = threading.Barrier(2)

            def push(artifact: Artifact, ready: Any = ready) -> None:
                ready.wait()
                push_until_it_is_said(artifact, remote)

            with ThreadPoolExecutor(2) as pool:
                list(pool.map(push, artifacts))
            fresh = Store.open(tmp_path / "fresh")
            assert download(remote, "decode", artifacts[0].key, fresh).outcome == MOVED
            assert findings(fresh) == []


ROUNDS = 12


def test_a_push_of_other_content_at_any_request_of_another_leaves_one_whole(tmp_path: Path) -> None:
    stores = [Store.open(tmp_path / name) for name in "ab"]
    with place_of("s3", tmp_path) as place:
        other = place.remote()
        other.make()
        for at in itertools.count(1):
            first, second = (
                publish(s, at, c) for s, c in zip(stores, (PAYLOAD, OTHER), strict=True)
            )
            requests = itertools.count(1)

            def before(
                plain: Any, at: int = at, second: Artifact = second, n: Any = requests
            ) -> Any:
                def call(*words: Any, **named: Any) -> Any:
                    if next(n) == at:
                        upload(second, other)
                    return plain(*words, **named)

                return call

            remote = place.remote()
            for name in ("record", "files", "send", "write", "remove"):
                setattr(remote, name, before(getattr(remote, name)))
            push_until_it_is_said(first, remote)
            fresh = Store.open(tmp_path / "fresh")
            moved = download(place.remote(), "decode", first.key, fresh)
            assert (moved.outcome, findings(fresh)) == (MOVED, []), (at, moved)
            if next(requests) <= at:
                break
    assert at > 5


def push_until_it_is_said(artifact: Artifact, remote: Remote) -> None:
    """As `hiprobe cache push` does, but as often as it takes."""
    for _ in range(20):
        with contextlib.suppress(Unreachable):
            upload(artifact, remote)
            return
    pytest.fail("twenty times in a row")


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
