"""Servers for tests of remote stores, in this process: S3 (moto), SFTP (paramiko), HTTP."""
# ruff: noqa: PTH102, PTH106, PTH107, PTH116

from __future__ import annotations

import functools
import http.server
import io
import logging
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest

from cache.address import Address
from cache.remote import Remote

USER, PASSWORD = "ada", "correct-horse-battery"
KINDS = ("folder", "memory", "s3", "sftp")
"""File systems that can be written; "folder" goes through fsspec here, as `pull` reads one."""


@dataclass(frozen=True)
class Place:
    """Where a remote store is, and another way to its bytes, past the code under test."""

    address: Address
    fs: Any
    root: str

    def remote(self) -> Remote:
        return Remote(self.address)

    def read(self, path: str) -> bytes:
        content: bytes = self.fs.cat_file(f"{self.root}/{path}")
        return content

    def write(self, path: str, content: bytes) -> None:
        self.fs.pipe_file(f"{self.root}/{path}", content)

    def remove(self, path: str) -> None:
        self.fs.rm_file(f"{self.root}/{path}")

    def files(self) -> dict[str, bytes]:
        """Everything there is, by its path."""
        found = self.fs.find(self.root)
        return {path[len(self.root) + 1 :]: self.fs.cat_file(path) for path in found}


@contextmanager
def place_of(kind: str, folder: Path) -> Iterator[Place]:
    """An empty place of one kind; what has to be on a disk is below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    local = fsspec.filesystem("file")
    if kind == "folder":
        yield Place(Address(folder.as_uri()), local, str(folder))
    elif kind == "memory":
        name = f"/{uuid.uuid4().hex}"
        yield Place(Address(f"memory:/{name}/store"), fsspec.filesystem("memory"), f"{name}/store")
    elif kind == "s3":
        with s3_options() as options:
            fs = fsspec.filesystem("s3", use_listings_cache=False, **options)  # one for all
            bucket = f"b{uuid.uuid4().hex}"
            fs.mkdir(bucket)
            yield Place(Address(f"s3://{bucket}/team/store", options), fs, f"{bucket}/team/store")
    else:
        with sftp_port(folder) as port:
            url = f"sftp://{USER}:{PASSWORD}@127.0.0.1:{port}/store"
            options = {"host_key_policy": "auto_add", "look_for_keys": False, "allow_agent": False}
            yield Place(Address(url, options), local, f"{folder}/store")


_S3: list[Any] = []


@contextmanager
def s3_options() -> Iterator[dict[str, Any]]:
    """Options of a file system over an S3 server that lives as long as this process."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: hiprobe[s3]")
    server = pytest.importorskip("moto.server", reason="moto is not installed: hiprobe[dev]")
    if not _S3:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        _S3.append(server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False))
        _S3[0].start()
    host, port = _S3[0].get_host_and_port()
    yield {"key": USER, "secret": PASSWORD, "endpoint_url": f"http://{host}:{port}"}


@contextmanager
def http_url(folder: Path, password: str = "", listing: bool = True) -> Iterator[str]:
    """The URL of a folder over HTTP, as `python -m http.server` gives it."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed: hiprobe[http]")

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            if password and "Authorization" not in self.headers:
                self.send_error(401)
            elif self.path.endswith("/") and not listing:
                self.send_error(403)
            else:
                super().do_GET()

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def sftp_port(folder: Path) -> Iterator[int]:
    """The port of an SFTP server over a folder."""
    paramiko = pytest.importorskip("paramiko", reason="paramiko is not installed: hiprobe[sftp]")
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    host_key = paramiko.ECDSAKey.generate()
    interface = _sftp_interface(paramiko, folder)

    class Access(paramiko.ServerInterface):  # type: ignore[misc]
        def check_auth_password(self, username: str, password: str) -> int:
            right = (username, password) == (USER, PASSWORD)
            return int(paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED)

        def check_channel_request(self, kind: str, chanid: int) -> int:
            return int(paramiko.OPEN_SUCCEEDED)

        def get_allowed_auths(self, username: str) -> str:
            return "password"

    listener = socket.create_server(("127.0.0.1", 0))
    transports: list[Any] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transports.append(transport)
            transport.add_server_key(host_key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, interface)
            transport.start_server(server=Access(), event=threading.Event())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Closing alone does not wake up who waits in accept.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)
        for transport in transports:
            transport.close()


def _sftp_interface(paramiko: Any, folder: Path) -> Any:
    def answer(action: Any) -> Any:
        try:
            return action()
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    class Handle(paramiko.SFTPHandle):  # type: ignore[misc]
        def stat(self) -> Any:
            return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    class Files(paramiko.SFTPServerInterface):  # type: ignore[misc]
        def _real(self, path: str) -> str:
            return str(folder) + self.canonicalize(path)

        def list_folder(self, path: str) -> Any:
            def listed() -> list[Any]:
                entries = os.scandir(self._real(path))
                return [paramiko.SFTPAttributes.from_stat(e.stat(), e.name) for e in entries]

            return answer(listed)

        def stat(self, path: str) -> Any:
            return answer(lambda: paramiko.SFTPAttributes.from_stat(os.stat(self._real(path))))

        def lstat(self, path: str) -> Any:
            return answer(lambda: paramiko.SFTPAttributes.from_stat(os.lstat(self._real(path))))

        def open(self, path: str, flags: int, attr: Any) -> Any:
            def opened() -> Any:
                descriptor = os.open(self._real(path), flags, 0o666)
                mode = "wb" if flags & os.O_WRONLY else "rb+" if flags & os.O_RDWR else "rb"
                file = io.open(descriptor, mode)  # noqa: SIM115, UP020
                handle = Handle(flags)
                handle.readfile = handle.writefile = file
                return handle

            return answer(opened)

        def _done(self, action: Any) -> Any:
            return answer(lambda: (action(), paramiko.SFTP_OK)[1])

        def remove(self, path: str) -> Any:
            return self._done(lambda: os.remove(self._real(path)))

        def posix_rename(self, old: str, new: str) -> Any:
            return self._done(lambda: os.replace(self._real(old), self._real(new)))

        def mkdir(self, path: str, attr: Any) -> Any:
            return self._done(lambda: os.mkdir(self._real(path)))

        def rmdir(self, path: str) -> Any:
            return self._done(lambda: os.rmdir(self._real(path)))

    return Files
