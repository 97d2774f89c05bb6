"""The log of a run."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


class Events:
    """The log of a run: one JSON object per line, appended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_whole = self._ends_whole()

    def add(self, event: str, **fields: object) -> None:
        """Append one event with its UTC time."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"time": stamp, "event": event, **fields})
        with self._path.open("ab") as file:
            # Behind a line that a full disk or a kill has cut short, one of its own.
            start = b"" if self._is_whole else b"\n"
            self._is_whole = False
            file.write(start + f"{line}\n".encode())
        self._is_whole = True

    def _ends_whole(self) -> bool:
        try:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read() == b"\n"
        except OSError:
            return True  # there is none, or it is empty
