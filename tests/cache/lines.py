"""File systems behind a line that breaks."""

from __future__ import annotations

import errno
from typing import Any

from cache.remote import Remote
from tests.cache.remotes import Place


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
