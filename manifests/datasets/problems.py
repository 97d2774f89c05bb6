"""What is wrong with a file that a person wrote: all of it, by line, in one error."""

from __future__ import annotations

from pathlib import Path

from cache.errors import ConfigError

SHOWN = 20
"""Problems that are kept as text; the others are only counted."""


class Problems:
    """The problems of one file."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path
        self._shown: list[str] = []

    @property
    def full(self) -> bool:
        """Whether a further problem will only be counted."""
        return len(self._shown) >= SHOWN

    def add(self, line: int | None, text: str) -> None:
        """Take note of one problem; `line` counts from 1, None is the file as a whole."""
        self.count += 1
        if not self.full:
            self._shown.append(text if line is None else f"line {line}: {text}")

    def raise_any(self) -> None:
        """Raise ConfigError that shows the first problems and counts the rest, if there are any."""
        if not self.count:
            return
        hidden = self.count - len(self._shown)
        rest = [f"... and {hidden} more"] if hidden else []
        count = f"{self.count} problem{'s' if self.count > 1 else ''}"
        raise ConfigError("\n  ".join([f"{self._path}: {count}", *self._shown, *rest]))


def read_text(path: Path, what: str, field: str) -> str:
    """The text of a file; raises ConfigError, with what it is and the field that names it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the {what} {path} cannot be read: {error.strerror}; {field}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}: line {line}: the text is not UTF-8; save the file as UTF-8"
        ) from error
