"""Digests of files and canonical JSON files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cache.keys import canonical


def file_digest(path: Path | str) -> str:
    """sha256, in hex, of a file's bytes."""
    with open(path, "rb") as file:  # noqa: PTH123 - a path per file of a store is a cost
        return hashlib.file_digest(file, "sha256").hexdigest()


PLAINLY = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""How a file of a store is opened: a link is not followed, and what is no file not waited for."""


def read_plainly(path: str) -> bytes:
    """The bytes of a small file. Raises OSError, also for a link or a folder."""
    descriptor = os.open(path, PLAINLY)
    try:
        content = b""
        while part := os.read(descriptor, 1 << 16):
            content = content + part if content else part
        return content
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a value as canonical JSON with a final newline: the same value, the same bytes."""
    path.write_text(canonical(value) + "\n", encoding="ascii")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
