"""Every file operation that Python code does below a folder, counted, and one of them harmed.

The same count serves three harms: the operation fails, the process is killed, the process is
stopped. What is written is harmed half-way: the first half of the bytes reaches the file. Libraries
that write with C code of their own (Parquet) are not seen here; real full disks and random moments
are what attacks these.
"""

from __future__ import annotations

import builtins
import io
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

CHANGING = ("open", "fsync", "rename", "replace", "mkdir", "unlink", "remove", "rmdir", "utime")
LOOKING = ("scandir", "stat", "lstat")

Harm = Callable[[], None]
"""Called in the place of the operation; whatever it raises is what the operation raises."""


class Operations:
    """Counts operations from `arm` on, and calls `harm` at the `at`-th (and at all later ones)."""

    def __init__(self, root: Path, harm: Harm, *, at: int, forever: bool = False) -> None:
        self._root = os.path.realpath(root)
        self._harm, self._at, self._forever = harm, at, forever
        self._count: Iterator[int] | None = None
        self._inside = threading.local()
        self.seen = 0
        """Operations since `arm`."""

    def arm(self) -> None:
        """Begin to count; what is armed already counts on."""
        self._count = self._count or itertools.count(1)

    def is_due(self, where: object) -> bool:
        """Count an operation on a path or an open file, and say whether it is to be harmed."""
        if self._count is None or getattr(self._inside, "busy", False) or not self._is_below(where):
            return False
        self.seen = next(self._count)
        return self.seen == self._at or (self._forever and self.seen > self._at)

    def harm(self) -> None:
        """Do the harm, which is not itself counted."""
        self._inside.busy = True
        try:
            self._harm()
        finally:
            self._inside.busy = False

    def _is_below(self, where: object) -> bool:
        if isinstance(where, int):
            try:
                where = Path(f"/proc/self/fd/{where}").readlink()
            except OSError:
                return False
        if not isinstance(where, (str, os.PathLike)):
            return False
        path = os.path.abspath(os.fspath(where))  # noqa: PTH100 -- resolve would be an operation
        return path == self._root or path.startswith(f"{self._root}/")


class _Raw(io.FileIO):
    """A file whose writes are operations; one that is harmed writes half."""

    operations: Operations

    def write(self, data: Any) -> int:
        if self.operations.is_due(self.fileno()):
            view = memoryview(data).cast("B")
            super().write(view[: len(view) // 2])
            self.operations.harm()
        return super().write(data)


@contextmanager
def harmed(
    operations: Operations, names: Sequence[str] = (*CHANGING, *LOOKING)
) -> Iterator[Operations]:
    """Within this block these operations of this process, and writes, go past `operations`."""
    plain_open = io.open

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            where = args[0] if args else "."
            if options.get("dir_fd") is not None:
                where = options["dir_fd"]
            if operations.is_due(where):
                operations.harm()
            return original(*args, **options)

        return call

    def open_file(
        file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any
    ) -> Any:
        if "open" in names and operations.is_due(file):
            operations.harm()
        if not set(mode) & set("wax+"):
            return plain_open(file, mode, buffering, *args, **options)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), options.get("closefd", True))
        raw.operations = operations
        if buffering == 0:
            return raw
        made: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return made
        words = dict(zip(("encoding", "errors", "newline"), args, strict=False)) | {
            k: v for k, v in options.items() if k in ("encoding", "errors", "newline")
        }
        return io.TextIOWrapper(made, **words)

    with ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(os, name, guarded(getattr(os, name))))
        for module in (io, builtins):
            stack.enter_context(mock.patch.object(module, "open", open_file))
        yield operations


def failing(root: Path, at: int, error: int, *, forever: bool = False) -> Any:
    """The `at`-th operation below `root` fails with `error`, and all later ones if `forever`."""

    def fail() -> None:
        raise OSError(error, os.strerror(error))

    operations = Operations(root, fail, at=at, forever=forever)
    operations.arm()
    return harmed(operations)


def break_each(
    root: Path, action: Callable[[], object], error: int, *, forever: bool = False
) -> Iterator[tuple[int, BaseException | None]]:
    """Do something again and again while its 1st, 2nd, ... operation fails, up to the last.

    Yields after each try which operation failed, and what the action raised, if it did.
    """
    for at in itertools.count(1):
        raised: BaseException | None = None
        with failing(root, at, error, forever=forever) as operations:
            try:
                action()
            except Exception as caught:
                raised = caught
        if operations.seen < at:
            if raised is not None:
                raise raised
            return
        yield at, raised
