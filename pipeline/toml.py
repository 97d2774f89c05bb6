"""Writing a configuration as TOML, every field with its line of documentation."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.fields import notes
from pipeline.config import PATHS, SECTIONS, Config


def to_toml(config: Config, *, identity: str) -> str:
    """The resolved configuration of a run: what was used, defaults included, ready to be run.

    The identity of the backbone is written in, so that a colleague who has the cache and not the
    model gets the same keys. Relative paths start at the results folder, where the file lies; a
    path that was given as an absolute one stays so.
    """
    values = {name: dataclasses.asdict(settings) for name, settings in config.sections.items()}
    values["backbone"]["identity"] = identity
    for section, name in (*PATHS, ("backbone", "model")):
        given = values[section][name]
        if isinstance(given, str):
            values[section][name] = _from_results(given, config)
        else:
            values[section][name] = [_from_results(path, config) for path in given]
    return render(values, head="The configuration of this run, with every default written out.")


def _from_results(given: str, config: Config) -> str:
    """A path as it is seen from the results folder, where it was a relative one that exists."""
    path = config.folder / given
    if given and not Path(given).expanduser().is_absolute() and path.exists():
        return Path(os.path.relpath(path, config.results)).as_posix()
    return given


def render(values: Mapping[str, Mapping[str, Any]], *, head: str) -> str:
    """TOML text of these values (defaults where none is given), commented field by field."""
    lines = [f"# {head}", "# recipe: changes the numbers, and so the keys.  knob: does not.", ""]
    for section, settings in SECTIONS.items():
        known = notes(settings)
        if not known:
            continue
        lines.append(f"[{section}]")
        defaults = {f.name: f.default for f in dataclasses.fields(settings)}
        for name, note in known.items():
            value = values.get(section, {}).get(name, defaults[name])
            lines.append(f"{name} = {literal(value)}  # {note.kind}: {note.doc}")
        lines.append("")
    return "\n".join(lines)


def literal(value: Any) -> str:
    """A value in TOML's notation."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's, except for one control character that JSON leaves alone.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    raise TypeError(f"no TOML for a {type(value).__name__}")
