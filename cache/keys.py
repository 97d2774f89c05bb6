"""Keys: what an artifact is made of, in canonical JSON, hashed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

ABSENT = "(absent)"
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)
SCHEMA = 1
"""Version of the key's own layout; a change here makes every key another one."""


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no blanks, ASCII, finite numbers only.

    Raises TypeError for a value that JSON does not have and ValueError for NaN or infinity: a value
    that cannot be written down exactly must never end in a key.
    """
    if not _is_plain(value):
        _check(value, "value")
    return _ENCODER.encode(value)


def hash_of(value: Any) -> str:
    """sha256, in hex, over the canonical JSON of a value."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


class Keymaker:
    """Makes the keys of one stage's items; the part that they share is written once.

    The key of an item is sha256 over the canonical JSON of
    {"inputs": ..., "recipe": ..., "schema": ..., "stage": ..., "version": ...}.
    """

    def __init__(self, stage: str, version: int, recipe: Mapping[str, Any]) -> None:
        shared = {"recipe": dict(recipe), "schema": SCHEMA, "stage": stage, "version": version}
        # "inputs" sorts before the four names above, so the text of an item is a prefix plus this.
        self._tail = b"," + canonical(shared).encode("ascii")[1:]

    def key(self, inputs: Mapping[str, Any]) -> str:
        """The key, 64 hexadecimal digits, of the item with these input digests or values."""
        return self.key_of_text(canonical(inputs))

    def key_of_text(self, inputs: str) -> str:
        """The same for inputs that are canonical JSON already."""
        return hashlib.sha256(b'{"inputs":' + inputs.encode("ascii") + self._tail).hexdigest()


def key_of(stage: str, version: int, recipe: Any, inputs: Any) -> str:
    """The key of one item, of values that were read from JSON; raises ValueError as `canonical`."""
    said = {
        "inputs": inputs,
        "recipe": recipe,
        "schema": SCHEMA,
        "stage": stage,
        "version": version,
    }
    return hashlib.sha256(_ENCODER.encode(said).encode("ascii")).hexdigest()


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Where two JSON values differ: (dotted path, old, new), ABSENT for what one side lacks."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: list[tuple[str, Any, Any]] = []
        for name in sorted({*old, *new}):
            inner = f"{path}.{name}" if path else str(name)
            found += differences(old.get(name, ABSENT), new.get(name, ABSENT), inner)
        return found
    # Compared as text, because 1, 1.0 and True are equal and give other keys.
    return [] if canonical(old) == canonical(new) else [(path, old, new)]


_SCALARS = frozenset({type(None), bool, int, str})


def _is_plain(value: Any) -> bool:
    """Whether a value is made of JSON's own types only; fast, for values with a row per video.

    False does not yet mean that it is wrong: `_check` decides, and names the place.
    """
    kind = type(value)
    if kind is list or kind is tuple:
        return all(type(inner) in _SCALARS or _is_plain(inner) for inner in value)
    if kind is dict:
        return all(
            type(name) is str and (type(inner) in _SCALARS or _is_plain(inner))
            for name, inner in value.items()
        )
    return kind in _SCALARS or (kind is float and math.isfinite(value))


def _check(value: Any, path: str) -> None:
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path} is {value}: only finite numbers can enter a key")
        return
    if isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check(inner, f"{path}[{index}]")
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{path} has the key {name!r}: only text can be a key of JSON")
            _check(inner, f"{path}.{name}")
        return
    raise TypeError(f"{path} is a {type(value).__name__}: it cannot be written as JSON")
