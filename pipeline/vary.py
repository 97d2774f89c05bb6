"""`hiprobe sweep run.toml --vary A.B=1,2`: a run beside itself with other values of some fields."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cache.errors import ConfigError
from pipeline.comparison import Row, compare, write_comparison
from pipeline.config import Config
from pipeline.progress import Progress
from pipeline.variants import FOLDER, Variant, run_variants

GROUP = "vary"
"""The folder of the variants, beside which their table lies."""


def variants_of(vary: Sequence[str]) -> list[Variant]:
    """The base run and every combination of the values that are given.

    Each of `vary` is "section.field=value,value"; values are TOML, plain words need no quotes.
    Raises ConfigError for anything else.
    """
    fields = dict(_field(text) for text in vary)
    if len(fields) < len(vary):
        raise ConfigError("--vary: give each field once, with all of its values")
    found = [Variant("base", "as the configuration says")]
    for values in itertools.product(*fields.values()):
        overrides = dict(zip(fields, values, strict=True))
        words = [f"{name}={_word(value)}" for name, value in overrides.items()]
        name = ",".join(word.partition(".")[2] for word in words)
        found.append(Variant(name.replace("/", "_"), " ".join(words), overrides))
    return found


def _word(value: Any) -> str:
    return value if isinstance(value, str) else str(value).replace(" ", "")


def _field(text: str) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key and section and values.strip()):
        raise ConfigError(
            f"--vary {text}: expected section.field=value,value such as localize.kappa=0.1,0.2"
        )
    try:
        return name.strip(), list(tomllib.loads(f"v = [{values}]")["v"])
    except tomllib.TOMLDecodeError:
        return name.strip(), [_value(word.strip()) for word in values.split(",")]


def _value(word: str) -> Any:
    """One value: plain words need no quotes on a command line."""
    try:
        return tomllib.loads(f"v = {word}")["v"]
    except tomllib.TOMLDecodeError:
        return word


def run_vary(
    config: Config, variants: Sequence[Variant], progress: Progress | None = None
) -> tuple[list[Row], Path]:
    """Bring the figures of all variants up to date; returns their table and where it was written."""
    rows = compare(run_variants(config, variants, progress, GROUP))
    folder = config.results / FOLDER / GROUP
    folder.mkdir(parents=True, exist_ok=True)
    return rows, write_comparison(folder, rows)
