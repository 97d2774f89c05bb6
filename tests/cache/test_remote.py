"""Remote stores: addresses, what they may show, and what becomes of what a file system raises."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import cache.remote
from cache.address import Address, parse_options
from cache.errors import ConfigError, DamagedArtifact, NotAStore, StoreTooNew, Unreachable
from cache.remote import Remote
from cache.store import Store
from tests.cache.remotes import KINDS, PASSWORD, USER, http_url, place_of, sftp_port
from tests.cache.stores import key_of, publish, start

# Addresses


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/team", "s3://bucket/team"),
        ("sftp://ada:pa:ss@host:22/store", "sftp://host:22/store"),
        ("sftp://ada:p@ss@host/store", "sftp://host/store"),
        ("https://token@host/store", "https://host/store"),
        ("s3://bucket/team?X-Amz-Signature=abc", "s3://bucket/team"),
        ("/a/folder@work?/store#1", "/a/folder@work?/store#1"),
    ],
)
def test_an_address_is_shown_without_credentials(url: str, shown: str) -> None:
    assert Address(url).shown == shown


def test_what_libraries_quote_is_scrubbed() -> None:
    options = {"key": "AKIA123", "client_kwargs": {"aws_session_token": "s3cr3t"}, "port": 9000}
    address = Address("sftp://ada:correct%20horse@host/store", options)
    text = address.scrub(
        "cannot connect to sftp://ada:correct%20horse@host:9000/x as correct horse with AKIA123 "
        "and s3cr3t, nor to http://bob:other@elsewhere/y"
    )
    for secret in ("correct", "horse", "AKIA123", "s3cr3t", "ada", "other"):
        assert secret not in text
    assert "host:9000/x" in text
    assert "elsewhere/y" in text


def test_options_are_json_or_text_and_may_lie_deep() -> None:
    given = ["anon=true", "port=2222", "endpoint_url=http://h:9000", 'key="123"',
             "client_kwargs.region_name=eu", "client_kwargs.verify=false"]  # fmt: skip
    assert parse_options(given) == {
        "anon": True,
        "port": 2222,
        "endpoint_url": "http://h:9000",
        "key": "123",
        "client_kwargs": {"region_name": "eu", "verify": False},
    }
    for wrong in ("endpoint_url", "=x", "a..b=1"):
        with pytest.raises(ConfigError, match="NAME=VALUE"):
            parse_options([wrong])
    with pytest.raises(ConfigError, match="has a value already"):
        parse_options(["a=1", "a.b=2"])


@pytest.mark.parametrize("url", ["simplecache::s3://bucket/x", "zip://a.zip::file:///tmp/x"])
def test_an_address_of_several_file_systems_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not supported"):
        Address(url)


# What a file system raises


def test_an_unknown_protocol_and_an_unknown_option_are_named() -> None:
    with pytest.raises(ConfigError, match="gopher"):
        Remote(Address("gopher://host/store"))
    with pytest.raises(ConfigError, match="no_such_option"):
        Remote(Address("sftp://127.0.0.1/x", {"no_such_option": 1}))


WITHOUT = """
import sys
for name in ("s3fs", "paramiko", "aiohttp"):
    sys.modules[name] = None
from cache.address import Address
from cache.errors import ConfigError
from cache.remote import Remote
for url in ("s3://bucket/x", "sftp://h/x", "http://h/x"):
    try:
        Remote(Address(url))
    except ConfigError as error:
        print(error)
"""


def test_a_missing_package_is_named() -> None:
    said = start(WITHOUT).communicate()[0].splitlines()
    assert [line.rpartition(": ")[2] for line in said] == [
        'pip install "hiprobe[s3]"', 'pip install "hiprobe[sftp]"', 'pip install "hiprobe[http]"',
    ]  # fmt: skip


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_a_host_that_does_not_answer_is_unreachable() -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    with pytest.raises(Unreachable, match=r"cannot read format\.json"):
        Remote(Address(f"http://ada:{PASSWORD}@127.0.0.1:{closed_port()}/s")).check()
    pytest.importorskip("paramiko", reason="paramiko is not installed")
    with pytest.raises(Unreachable) as refused:
        Remote(Address(f"sftp://ada:{PASSWORD}@127.0.0.1:{closed_port()}/s"))
    assert PASSWORD not in str(refused.value)


def test_wrong_credentials_are_refused_and_not_shown(tmp_path: Path) -> None:
    Store.open(tmp_path / "store")
    with http_url(tmp_path, password=PASSWORD) as url:
        with pytest.raises(ConfigError, match="401"):
            Remote(Address(f"{url}/store")).check()
        Remote(Address(url.replace("://", f"://{USER}:{PASSWORD}@") + "/store")).check()
    with sftp_port(tmp_path) as port:
        options = {"host_key_policy": "auto_add", "look_for_keys": False, "allow_agent": False}
        with pytest.raises(ConfigError) as refused:
            Remote(Address(f"sftp://{USER}:wrong-word@127.0.0.1:{port}/store", options))
        assert "Authentication" in str(refused.value)
        assert "wrong-word" not in str(refused.value)


def test_an_sftp_host_that_nobody_knows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paramiko = pytest.importorskip("paramiko", reason="paramiko is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))
    Store.open(tmp_path / "store")
    options = {"look_for_keys": False, "allow_agent": False}
    with sftp_port(tmp_path) as port:
        address = Address(f"sftp://{USER}:{PASSWORD}@127.0.0.1:{port}/store", options)
        with pytest.raises(ConfigError, match="known_hosts"):
            Remote(address)
        with paramiko.Transport(("127.0.0.1", port)) as transport:
            transport.start_client()
            key = transport.get_remote_server_key()
        (tmp_path / ".ssh").mkdir()
        line = f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n"
        (tmp_path / ".ssh" / "known_hosts").write_text(line)
        Remote(address).check()


# Stores


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_becomes_a_store_once(tmp_path: Path, kind: str) -> None:
    with place_of(kind, tmp_path / "place") as place:
        remote = place.remote()
        with pytest.raises(NotAStore, match=r"has no format\.json"):
            remote.check()
        remote.make()
        remote.make()
        remote.check()
        assert place.files() == {"format.json": b'{"hiprobe_store":1}\n'}
        place.write("format.json", b'{"hiprobe_store":2}\n')
        with pytest.raises(StoreTooNew, match="store format 2"):
            remote.check()
        place.write("format.json", b"\x00")
        with pytest.raises(NotAStore, match="does not say"):
            remote.check()


@pytest.mark.parametrize("kind", KINDS)
def test_what_holds_something_else_is_left_alone(tmp_path: Path, kind: str) -> None:
    with place_of(kind, tmp_path / "place") as place:
        if kind == "sftp":
            (tmp_path / "place" / "store").mkdir()
        place.write("thesis.tex", b"years of work")
        with pytest.raises(NotAStore, match="not empty"):
            place.remote().make()
        assert place.files() == {"thesis.tex": b"years of work"}


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path) -> None:
    with place_of("s3", tmp_path) as place:
        remote = Remote(Address("s3://no-such-bucket/team", place.address.options))
        with pytest.raises(ConfigError, match="make the bucket"):
            remote.make()
        with pytest.raises(NotAStore, match="not there"):
            remote.check()


@pytest.mark.parametrize("kind", [*KINDS, "http"])
def test_a_remote_store_lists_stages_and_keys(tmp_path: Path, kind: str) -> None:
    store = Store.open(tmp_path / "store")
    expected = sorted(publish(store, n).key for n in range(3))
    publish(store, 0, stage="score")
    listed = {}
    if kind == "http":
        with http_url(tmp_path) as url:
            remote = Remote(Address(f"{url}/store"))
            listed = {stage: remote.keys(stage) for stage in remote.stages()}
            assert remote.record("decode", key_of(9)) is None
    else:
        with place_of(kind, tmp_path / "place") as place:
            copied = [p for p in store.root.rglob("*") if p.is_file()]
            for path in copied:
                name = path.relative_to(store.root).as_posix()
                if kind in ("folder", "sftp"):
                    Path(place.root, name).parent.mkdir(parents=True, exist_ok=True)
                place.write(name, path.read_bytes())
            remote = place.remote()
            listed = {stage: remote.keys(stage) for stage in remote.stages()}
            assert remote.record("decode", key_of(9)) is None
    assert listed == {"decode": expected, "score": [key_of(0, "score")]}


def test_a_file_without_end_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.remote, "RECORD_BYTES", 1000)
    monkeypatch.setattr(cache.remote, "BLOCK", 64)
    with place_of("memory", tmp_path) as place:
        place.write("format.json", b" " * 1001)
        with pytest.raises(DamagedArtifact, match="larger than any file of its kind"):
            place.remote().check()
