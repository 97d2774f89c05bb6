"""The log of a run."""

from __future__ import annotations

import json
import time
from pathlib import Path


class Events:
    """The log of a run: one JSON object per line, appended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, event: str, **fields: object) -> None:
        """Append one event with its UTC time."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"time": stamp, "event": event, **fields})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
