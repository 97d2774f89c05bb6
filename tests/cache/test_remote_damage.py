"""What is damaged, forged or foreign in a remote store does not arrive, nor does what is damaged here."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cache.remote
from cache.download import download
from cache.errors import StoreTooNew
from cache.moved import ABSENT, DAMAGED, MOVED
from cache.remote import Remote
from cache.store import Store
from cache.upload import upload
from tests.cache.remotes import Place, place_of
from tests.cache.stores import (
    PAYLOAD,
    at,
    begun,
    findings,
    flip,
    forge,
    key_of,
    plain_json,
    publish,
    record_of,
    sha,
)

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
