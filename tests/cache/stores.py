"""Stores for tests: small artifacts, file operations that fail, and an independent view."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cache.store
from cache.artifact import Artifact
from cache.store import Store
from cache.verify import verify

RECIPE = {"rule": "midpoints", "segment": 24, "weights": [0.5, 1.25]}
PAYLOAD = {
    "table.bin": bytes(range(200)),
    "states.zarr/c/0": b"\x01\x02\x03" * 11,
    "states.zarr/c/1": b"\x04\x05\x06" * 7,
    "states.zarr/zarr.json": b'{"shape":[2]}',
    "preview.webp": b"a picture",
}
OPERATIONS = (
    (os, "open"), (os, "fsync"), (os, "rename"), (os, "replace"), (os, "mkdir"), (os, "scandir"),
    (io, "open"),
)  # fmt: skip


def inputs(number: int) -> dict[str, str]:
    return {"source": hashlib.sha256(b"source %d" % number).hexdigest()}


def fill(folder: Path, payload: Mapping[str, bytes]) -> None:
    for name, content in payload.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def publish(
    store: Store,
    number: int = 0,
    payload: Mapping[str, bytes] = PAYLOAD,
    *,
    stage: str = "decode",
    **options: Any,
) -> Artifact:
    """Publish one artifact; the number stands for the video that it is made from."""
    with store.draft(stage, 1, RECIPE, inputs(number)) as draft:
        fill(draft.path, payload)
        return store.publish(draft, **{"rows": 3, **options})


def key_of(number: int, stage: str = "decode") -> str:
    """The key, from the definition and not from the code."""
    made_of = {
        "inputs": inputs(number), "recipe": RECIPE, "schema": 1, "stage": stage, "version": 1,
    }  # fmt: skip
    return sha(plain_json(made_of))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def plain_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def digest_of(payload: Mapping[str, bytes]) -> str:
    """The content digest of a payload without auxiliary files, from its definition."""
    return sha(plain_json(sorted([name, sha(content)] for name, content in payload.items())))


def payload_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "commit.json"
    }


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "commit.json").read_text())
    return record


def forge(folder: Path, **changes: Any) -> None:
    """Change a record and give it the right sha256 again, as somebody with bad intent would."""
    record = {**record_of(folder), **changes}
    del record["record"]
    record = {name: value for name, value in record.items() if value is not None}
    record["record"] = sha(plain_json(record))
    (folder / "commit.json").write_bytes(plain_json(record))


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)


def findings(store: Store, *, full: bool = True) -> list[str]:
    return [f"{f.stage}/{f.key[:6]}: {f.message}" for f in verify(store, full=full)]


def staged(store: Store) -> list[str]:
    return sorted(p.name for p in (store.root / "staging").iterdir() if p.name != "parts")


@contextmanager
def failing(at: int, error: int, *, forever: bool = False) -> Iterator[Callable[[], int]]:
    """Make the `at`-th file operation from here on fail (and all later ones, if `forever`).

    A write that fails leaves half of what was to be written. Yields the count of operations.
    """
    count = 0

    def is_due() -> bool:
        nonlocal count
        count += 1
        return count == at or (forever and count > at)

    def guarded(original: Callable[..., Any], harm: Callable[..., None]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if is_due():
                harm(*args, **options)
                raise OSError(error, os.strerror(error))
            return original(*args, **options)

        return call

    def write_half(path: Path, data: Any, *args: Any, **options: Any) -> None:
        half = data[: len(data) // 2]
        with original_open(path, "w" if isinstance(half, str) else "wb") as file:
            file.write(half)

    original_open = io.open
    with pytest.MonkeyPatch.context() as patch:
        for module, name in OPERATIONS:
            patch.setattr(module, name, guarded(getattr(module, name), lambda *a, **o: None))
        for name in ("write_text", "write_bytes"):
            patch.setattr(Path, name, guarded(getattr(Path, name), write_half))
        yield lambda: count


def break_each(action: Callable[[], object], error: int, *, forever: bool = False) -> Iterator[int]:
    """Do something again and again while its 1st, 2nd, ... file operation fails, up to the last.

    Yields after each try the number of the operation that failed.
    """
    for at in itertools.count(1):
        with failing(at, error, forever=forever) as count:
            try:
                action()
            except OSError as caught:
                if caught.errno != error:
                    raise
        if count() < at:
            return
        yield at


@contextmanager
def unwritable(root: Path, error: int) -> Iterator[None]:
    """Make every attempt to change something below `root` fail, as a read-only mount does."""

    def guarded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            below = any(isinstance(a, (str, Path)) and str(a).startswith(str(root)) for a in args)
            if below and changes(name, args, options):
                raise OSError(error, os.strerror(error), str(args[0]))
            return original(*args, **options)

        return call

    def changes(name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
        if name == "io.open":
            mode = args[1] if len(args) > 1 else options.get("mode", "r")
            return any(letter in mode for letter in "wax+")
        return name != "os.open" or bool(args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    changing = ("open", "mkdir", "rename", "replace", "unlink", "rmdir", "utime")
    with pytest.MonkeyPatch.context() as patch:
        for name in changing:
            patch.setattr(os, name, guarded(f"os.{name}", getattr(os, name)))
        patch.setattr(io, "open", guarded("io.open", io.open))
        yield


def start(code: str, *args: object) -> subprocess.Popen[str]:
    """Run a script in a process of its own; its output comes through a pipe."""
    root = Path(cache.store.__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def at(artifact: Artifact, name: str = "") -> str:
    return f"{artifact.stage}/{artifact.key[:2]}/{artifact.key}/{name}".rstrip("/")


def begun(store: Store) -> list[Path]:
    return list((store.root / "staging").glob("parts/*/*"))


FULL = {**PAYLOAD, "empty.bin": b"", "deep/er/notes.txt": b"n" * 300}
OTHER = {**PAYLOAD, "table.bin": bytes(range(1, 201))}
